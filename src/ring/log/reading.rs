//! One reading: a window on the log, and those who read in it. It is filled at its end, and forgets
//! at its beginning what all of its readers have passed; one that holds the others up for too long
//! is left behind.

use std::{collections::HashMap, ops::RangeInclusive, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    bus::{LogEntry, NotRead},
    event::Position,
    ring::{Cursor, Place, Span, lane::Lane},
};

/// What a window holds, in bytes: so many, or one entry.
pub(super) const WINDOW: usize = 4 << 20;

/// What is left of a full one when it moves on.
const WINDOW_LEFT: usize = WINDOW / 4 * 3;

/// How long a full one waits for its slowest reader.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Where half of the readers wait for more, the others have as long again as these took, so many
/// times, and this at least.
const AS_LONG_AGAIN: u32 = 3;
pub(super) const PATIENCE_LEAST: Duration = Duration::from_secs(1);

/// Whoever has read everything lets some more come before it looks: there are many entries, and
/// may be many readers.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) struct Reading {
    window: Mutex<Window>,
    /// Something was read, or nothing more will be.
    read: Notify,
    /// A reader has come further, or is gone.
    passed: Notify,
}

#[derive(Default)]
struct Window {
    lane: Lane,
    /// What each reader has yet to read stands behind its position.
    readers: HashMap<u64, Position>,
    /// How many there were.
    numbered: u64,
    over: Option<NotRead>,
}

/// A place in a reading.
pub struct LogReader {
    reading: Arc<Reading>,
    number: u64,
}

impl Reading {
    /// Which has come so far.
    pub(super) fn new(lane: Lane) -> Arc<Self> {
        let window = Mutex::new(Window { lane, ..Window::default() });
        let (read, passed) = Default::default();
        Arc::new(Self { window, read, passed })
    }

    /// Where the position is in its window.
    pub(super) fn join(self: &Arc<Self>, position: Position) -> Option<(LogReader, Cursor)> {
        let mut window = self.lock();
        let Place::Here(cursor) = window.lane.find(position) else { return None };
        if window.over.is_some() {
            return None;
        }
        window.numbered += 1;
        let number = window.numbered;
        window.readers.insert(number, position);
        Some((LogReader { reading: self.clone(), number }, cursor))
    }

    /// Once there is, whoever has to be left behind for it. Answers false where nobody reads.
    pub(super) async fn has_room(&self) -> bool {
        if self.lock().lane.size() <= WINDOW {
            return !self.end_if_abandoned();
        }
        let full = Instant::now();
        let (mut until, mut half_wait) = (full + PATIENCE, false);
        loop {
            let passed = self.passed.notified();
            if self.end_if_abandoned() {
                return false;
            }
            if self.lock().move_on() {
                return true;
            }
            if !half_wait && self.lock().half_wait() {
                half_wait = true;
                let again = (full.elapsed() * AS_LONG_AGAIN).max(PATIENCE_LEAST);
                until = until.min(Instant::now() + again);
            }
            if timeout_at(until, passed).await.is_err() {
                self.lock().leave_behind();
            }
        }
    }

    /// Answers the offsets that are new.
    pub(super) fn append(&self, entry: LogEntry<'_>) -> RangeInclusive<u64> {
        let mut window = self.lock();
        let new = window.lane.offsets_up_to(entry.id);
        window.lane.append(entry.id, 0, &entry.events);
        drop(window);
        self.read.notify_waiters();
        new
    }

    /// Resolves when nobody reads any more.
    pub(super) async fn abandoned(&self) {
        while !self.end_if_abandoned() {
            self.passed.notified().await;
        }
    }

    fn end_if_abandoned(&self) -> bool {
        let mut window = self.lock();
        if window.readers.is_empty() {
            window.over = Some(NotRead::Hole);
        }
        window.over.is_some()
    }

    pub(super) fn end(&self, why: NotRead) {
        self.lock().over.get_or_insert(why);
        self.read.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock()
    }
}

impl Window {
    /// Forgets what all readers have passed. Whether that was enough.
    fn move_on(&mut self) -> bool {
        let slowest = self.readers.values().min().copied();
        while self.lane.size() > WINDOW_LEFT {
            let Some(oldest) = self.lane.oldest_end() else { return true };
            if slowest.is_some_and(|slowest| slowest < oldest) {
                return false;
            }
            self.lane.forget_oldest();
        }
        true
    }

    /// Whether no fewer readers wait for more than still read.
    fn half_wait(&self) -> bool {
        let end = self.lane.end();
        let waiting = self.readers.values().filter(|position| Some(**position) == end).count();
        2 * waiting >= self.readers.len()
    }

    /// Whoever has not come so far reads no more.
    fn leave_behind(&mut self) {
        while !self.move_on() {
            let Some(oldest) = self.lane.oldest_end() else { return };
            self.readers.retain(|_, position| *position >= oldest);
        }
    }
}

impl LogReader {
    /// As [`Ring::since`]. Behind the last that was read there may be more to come. Whoever was
    /// left behind finds a hole.
    pub fn since(&self, keys: &[&str], from: Cursor, bytes: usize) -> Result<Span, NotRead> {
        let mut window = self.reading.lock();
        let span = window.lane.since(keys, from, bytes).map_err(|_| NotRead::Hole)?;
        if let Some(why) = window.over
            && span.cursor == from
        {
            return Err(why);
        }
        window.readers.insert(self.number, span.cursor.position);
        drop(window);
        self.reading.passed.notify_one();
        Ok(span)
    }

    /// Resolves when there is more, or nothing more will come.
    pub async fn more(&self, behind: Position) {
        loop {
            let read = self.reading.read.notified();
            {
                let window = self.reading.lock();
                if window.over.is_some() || window.lane.end().is_some_and(|end| end > behind) {
                    return;
                }
            }
            read.await;
            sleep(PAUSE).await;
        }
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.reading.lock().readers.remove(&self.number);
        self.reading.passed.notify_one();
    }
}
