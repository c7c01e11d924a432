//! The log of one exchange in this process: its last events, each at its offset. Publishers
//! append; a reader goes along by the offsets, at its own pace. Publishers wait while it is
//! too far behind, so that nothing is dropped before it was read.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::event::OutgoingEvent;

/// What is kept: whichever bound is met first. The last event is kept, whatever its size.
const ENTRIES: usize = 10_000;
const BYTES: usize = 16 << 20;

/// How far the reader may be behind.
const UNREAD_ENTRIES: usize = 1_000;
const UNREAD_BYTES: usize = BYTES / 2;

/// Beside an event's texts, about.
const ENTRY: usize = 256;

#[derive(Debug)]
pub(super) struct Log {
    kept: Mutex<Kept>,
    /// Bytes that may still be appended before the reader has gone on.
    room: Semaphore,
    appended: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Arc<OutgoingEvent>>,
    /// The offset of the oldest.
    first: u64,
    bytes: usize,
}

impl Default for Log {
    fn default() -> Self {
        let room = Semaphore::new(UNREAD_BYTES);
        Self { kept: Mutex::default(), room, appended: Notify::new() }
    }
}

impl Log {
    /// Waits while the reader is too far behind; those who wait are served in turn.
    pub(super) async fn append(&self, event: OutgoingEvent) {
        if let Ok(room) = self.room.acquire_many(weight(&event)).await {
            // Until it has been read.
            room.forget();
        }
        self.kept.lock().push(event);
        self.appended.notify_one();
    }

    /// The entry at this offset, as soon as there is one. For one reader, who asks for every
    /// offset and says of each entry when it is done with it.
    pub(super) async fn read(&self, offset: u64) -> Arc<OutgoingEvent> {
        loop {
            if let Some(entry) = self.kept.lock().get(offset) {
                return entry;
            }
            self.appended.notified().await;
        }
    }

    pub(super) fn done(&self, entry: &OutgoingEvent) {
        self.room.add_permits(weight(entry) as usize);
    }
}

impl Kept {
    fn push(&mut self, event: OutgoingEvent) {
        self.bytes += size(&event);
        self.entries.push_back(Arc::new(event));
        while self.entries.len() > ENTRIES || self.bytes > BYTES && self.entries.len() > 1 {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= size(&oldest);
            self.first += 1;
        }
    }

    fn get(&self, offset: u64) -> Option<Arc<OutgoingEvent>> {
        let place = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.entries.get(place).cloned()
    }
}

/// Of what an entry takes in memory, about.
fn size(event: &OutgoingEvent) -> usize {
    let OutgoingEvent { topic, body, id, .. } = event;
    let texts = [topic.routing_key(), &body.name, body.payload.get(), id];
    ENTRY + texts.iter().map(|text| text.len()).sum::<usize>()
}

/// Of the room for what was not read: one that is larger takes all of it.
fn weight(event: &OutgoingEvent) -> u32 {
    size(event).clamp(UNREAD_BYTES / UNREAD_ENTRIES, UNREAD_BYTES) as u32
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::event::{EventBody, Exchange, Topic};

    fn event(name: &str, bytes: usize) -> OutgoingEvent {
        let topic = Topic::new(Exchange::new("widgets").expect("valid"), "k").expect("valid");
        let payload = format!("\"{}\"", "x".repeat(bytes));
        let body = EventBody::new(name, &payload).expect("valid");
        OutgoingEvent::new(topic, body, "id", usize::MAX).expect("valid")
    }

    /// Whether there is room for it at once.
    fn append(log: &Log, name: &str, bytes: usize) -> bool {
        log.append(event(name, bytes)).now_or_never().is_some()
    }

    fn read(log: &Log, offset: u64) -> Option<String> {
        let entry = log.read(offset).now_or_never()?;
        log.done(&entry);
        Some(entry.body.name.to_string())
    }

    #[test]
    fn entries_are_read_at_the_offsets_of_their_order() {
        let log = Log::default();
        assert_eq!(read(&log, 0), None);
        for offset in 0..3 * ENTRIES as u64 {
            let name = offset.to_string();
            assert!(append(&log, &name, 1));
            assert_eq!(read(&log, offset), Some(name));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_entries_and_bytes() {
        for (bytes, kept) in [(1, ENTRIES), (100_000, BYTES / 100_000), (2 * BYTES, 1)] {
            let log = Log::default();
            for offset in 0..(kept + 10) as u64 {
                assert!(append(&log, "e", bytes));
                assert!(read(&log, offset).is_some());
            }
            let state = log.kept.lock();
            assert!(state.entries.len().abs_diff(kept) <= 1, "{bytes}: {}", state.entries.len());
            let sum: usize = state.entries.iter().map(|entry| size(entry)).sum();
            assert_eq!(state.bytes, sum);
            assert!(sum <= BYTES || kept == 1, "{sum}");
        }
    }

    #[test]
    fn nothing_is_dropped_before_it_was_read() {
        for bytes in [1, 1_000, 100_000, UNREAD_BYTES, 2 * BYTES] {
            let log = Log::default();
            let appended = (0..).take_while(|n| append(&log, &n.to_string(), bytes)).count();
            assert!((1..=UNREAD_ENTRIES).contains(&appended), "{bytes}: {appended}");
            for offset in 0..appended as u64 {
                assert_eq!(read(&log, offset), Some(offset.to_string()), "{bytes}");
            }
            assert!(append(&log, "again", bytes), "{bytes}");
        }
    }

    #[tokio::test]
    async fn who_waits_for_room_is_served_in_turn() {
        let log = Arc::new(Log::default());
        while append(&log, "before", UNREAD_BYTES / 2) {}
        let mut waiting = Vec::new();
        for name in ["one", "two", "three"] {
            let log = log.clone();
            waiting.push(tokio::spawn(async move { log.append(event(name, 1_000_000)).await }));
            tokio::task::yield_now().await;
        }
        let mut names = Vec::new();
        while names.last().is_none_or(|name| name != "three") {
            let entry = log.read(names.len() as u64).await;
            log.done(&entry);
            names.push(entry.body.name.to_string());
        }
        let names: Vec<_> = names.iter().filter(|name| *name != "before").collect();
        assert_eq!(names, ["one", "two", "three"]);
        for one in waiting {
            one.await.expect("no panic");
        }
    }
}
