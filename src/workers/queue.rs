//! What waits for one worker, bounded in bytes: a notice may be a few words, or a batch of
//! hundreds of events, or one event of the greatest size.

use std::{ops::Deref, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    event::{Exchange, Position},
    hub::Delivery,
};

/// What may wait, with what is being done; the bus waits when it is full. What is larger by
/// itself waits until nothing else does.
const BYTES: usize = 1 << 20;

/// What a notice counts beside its events.
const NOTICE_BYTES: usize = 256;

/// What the bus told, in the form that all workers share.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    /// Of one entry of a log, in order, which is behind them; or one, where there is no log.
    Events { exchange: Exchange, up_to: Option<Position>, deliveries: Arc<[Delivery]> },
    /// Whole again from there, where that is known.
    Gap { exchange: Exchange, whole_from: Option<Position> },
}

impl Notice {
    fn bytes(&self) -> usize {
        let events = match self {
            Self::Events { deliveries, .. } => deliveries.iter().map(Delivery::bytes).sum(),
            Self::Gap { .. } => 0,
        };
        NOTICE_BYTES + events
    }
}

/// The bus's end.
pub(super) struct Notices {
    notices: mpsc::Sender<Waits>,
    room: Arc<Semaphore>,
}

/// The worker's end.
pub(super) struct Waiting(mpsc::Receiver<Waits>);

/// A notice, with its place in the queue.
pub(super) struct Waits {
    notice: Notice,
    _place: OwnedSemaphorePermit,
}

pub(super) fn bounded() -> (Notices, Waiting) {
    let (notices, waiting) = mpsc::channel(BYTES / NOTICE_BYTES);
    let room = Arc::new(Semaphore::new(BYTES));
    (Notices { notices, room }, Waiting(waiting))
}

impl Notices {
    /// Waits while much else does. Of a worker that is gone nothing is awaited.
    pub(super) async fn send(&self, notice: Notice) {
        let bytes = notice.bytes().min(BYTES) as u32;
        let Ok(place) = self.room.clone().acquire_many_owned(bytes).await else { return };
        let _ = self.notices.send(Waits { notice, _place: place }).await;
    }
}

impl Waiting {
    /// Its place is free when it is dropped.
    pub(super) async fn next(&mut self) -> Option<Waits> {
        self.0.recv().await
    }
}

impl Deref for Waits {
    type Target = Notice;

    fn deref(&self) -> &Notice {
        &self.notice
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::event::{Entry, Event, EventBody, Topic};

    /// So many events with payloads of so many bytes.
    fn batch(events: usize, bytes: usize) -> Notice {
        let delivery = |_| {
            let topic = Topic::new(exchange(), "1").expect("valid");
            let payload = format!("\"{}\"", "x".repeat(bytes - 2));
            let body = EventBody::new("E", &payload).expect("valid");
            Delivery::new(Event { topic, body, position: Some(position()), pushed_at: None })
        };
        let deliveries = (0..events).map(delivery).collect();
        Notice::Events { exchange: exchange(), up_to: Some(position()), deliveries }
    }

    fn exchange() -> Exchange {
        Exchange::new("widgets").expect("valid")
    }

    fn position() -> Position {
        Position::end_of(Entry { offset: 0, hash: 0 })
    }

    /// How many of these find room at once.
    fn find_room(notices: &Notices, notice: &Notice) -> usize {
        (0..10_000).take_while(|_| notices.send(notice.clone()).now_or_never().is_some()).count()
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        for (events, bytes, least, most) in
            [(1, 250_000, 4, 4), (256, 200, 10, 20), (1, 100, 1_000, 4_000)]
        {
            let (notices, _waiting) = bounded();
            let found = find_room(&notices, &batch(events, bytes));
            assert!((least..=most).contains(&found), "{found} of {events} times {bytes} bytes");
        }
        let (notices, _waiting) = bounded();
        let gap = Notice::Gap { exchange: exchange(), whole_from: None };
        assert_eq!(find_room(&notices, &gap), BYTES / NOTICE_BYTES);
    }

    #[test]
    fn what_is_larger_than_the_bound_passes_alone() {
        let (notices, mut waiting) = bounded();
        let large = batch(1, 3 * BYTES);
        assert_eq!(find_room(&notices, &large), 1);
        assert_eq!(find_room(&notices, &batch(1, 10)), 0);
        drop(waiting.next().now_or_never());
        assert_eq!(find_room(&notices, &large), 1);
    }

    #[test]
    fn what_is_being_done_still_counts() {
        let (notices, mut waiting) = bounded();
        assert_eq!(find_room(&notices, &batch(1, BYTES)), 1);
        let doing = waiting.next().now_or_never();
        assert_eq!(find_room(&notices, &batch(1, 10)), 0);
        drop(doing);
        assert_eq!(find_room(&notices, &batch(1, BYTES)), 1);
    }
}
