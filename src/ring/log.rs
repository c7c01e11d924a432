//! Reading on behind the ring: what it does not hold any more may stand in the log.
//!
//! A reading is a window on the log. A task fills it at its end, and forgets at its beginning
//! what all of its readers have passed. Whoever comes back to a position that a window holds
//! reads along: so a thousand clients that lost their replica cost one reading. A reader that
//! holds the others up for too long is left behind.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{self, Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{Cursor, Lost, Place, Ring, Span, lane::Lane};
use crate::{
    bus::{LogEntry, LogReading, NotRead, SharedLog},
    event::{Exchange, Position},
    protocol::NotRecovered,
};

/// At a time, of one exchange.
const READINGS: usize = 4;

/// Clients that may wait for one, of one exchange.
const WAITING: usize = 1_000;

/// What a window holds, in bytes: so many, or one entry.
const WINDOW: usize = 4 << 20;

/// What is left of a full one when it moves on.
const WINDOW_LEFT: usize = WINDOW / 4 * 3;

/// How long it may take the slowest reader to let it move on.
const PATIENCE: Duration = Duration::from_secs(10);

/// The readings of one exchange's log.
pub(super) struct Readings {
    open: Mutex<Vec<Arc<Reading>>>,
    /// Something was read.
    read: Notify,
    permits: Arc<Semaphore>,
    /// They are begun one at a time: what one begins, the next may share.
    turn: sync::Mutex<()>,
    waiting: Semaphore,
}

struct Reading {
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

/// Why it is not read behind a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReading {
    /// It would be of no use.
    NotRecovered(NotRecovered),
    /// The log cannot be read for now.
    Unavailable,
}

/// A place in a reading.
pub struct LogReader {
    reading: Arc<Reading>,
    number: u64,
}

impl Ring {
    /// Begins to read behind a position that stands in the log before what is here, or reads
    /// along; there may be others to wait for, so long.
    pub async fn read_log(
        &self,
        exchange: &Exchange,
        position: Position,
        patience: Duration,
    ) -> Result<(LogReader, Cursor), NoReading> {
        let shared = self.shared.get().zip(self.readings.get(exchange));
        let (log, readings) = shared.ok_or(NotRecovered::Expired)?;
        let _place = readings.waiting.try_acquire().map_err(|_| NotRecovered::TooMany)?;
        let until = Instant::now() + patience;
        let along = readings.along(position);
        let anew = async {
            let turn = timeout_at(until, readings.turn()).await;
            let (_turn, permit) = turn.map_err(|_| NotRecovered::TooMany)?;
            let beginning = readings.begin(&**log, exchange, position, permit);
            timeout_at(until, beginning).await.unwrap_or(Err(NoReading::Unavailable))
        };
        match select(pin!(along), pin!(anew)).await {
            Either::Left((reader, _)) => Ok(reader),
            Either::Right((begun, _)) => begun,
        }
    }
}

impl From<NotRecovered> for NoReading {
    fn from(why: NotRecovered) -> Self {
        Self::NotRecovered(why)
    }
}

impl From<NotRead> for NoReading {
    fn from(why: NotRead) -> Self {
        match why {
            NotRead::Unavailable => Self::Unavailable,
            NotRead::Hole => NotRecovered::Expired.into(),
        }
    }
}

impl Readings {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            read: Notify::new(),
            permits: Arc::new(Semaphore::new(READINGS)),
            turn: sync::Mutex::default(),
            waiting: Semaphore::new(WAITING),
        })
    }

    /// As soon as some window holds the position.
    async fn along(&self, position: Position) -> (LogReader, Cursor) {
        loop {
            let read = self.read.notified();
            if let Some(found) = self.find(position) {
                return found;
            }
            read.await;
        }
    }

    fn find(&self, position: Position) -> Option<(LogReader, Cursor)> {
        self.open.lock().iter().find_map(|reading| reading.join(position))
    }

    /// As soon as one may be begun, and nobody else begins one.
    async fn turn(&self) -> (sync::MutexGuard<'_, ()>, Option<OwnedSemaphorePermit>) {
        let turn = self.turn.lock().await;
        (turn, self.permits.clone().acquire_owned().await.ok())
    }

    async fn begin(
        self: &Arc<Self>,
        log: &dyn SharedLog,
        exchange: &Exchange,
        position: Position,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(LogReader, Cursor), NoReading> {
        let mut log = log.read(exchange, position.entry().offset).await?;
        let lane = match up_to(position, &mut *log).await {
            Ok(lane) => lane,
            Err(why) => {
                log.close().await;
                return Err(why);
            }
        };
        let window = Mutex::new(Window { lane, ..Window::default() });
        let (read, passed) = Default::default();
        let reading = Arc::new(Reading { window, read, passed });
        let found = reading.join(position).ok_or(NotRecovered::Unknown)?;
        self.open.lock().push(reading.clone());
        self.read.notify_waiters();
        tokio::spawn(self.clone().run(reading, log, permit));
        Ok(found)
    }

    /// Until nobody reads any more, or the log cannot be read on.
    async fn run(
        self: Arc<Self>,
        reading: Arc<Reading>,
        mut log: Box<dyn LogReading>,
        _permit: Option<OwnedSemaphorePermit>,
    ) {
        let mut why = NotRead::Hole;
        while reading.has_room().await {
            let entry = {
                let (next, abandoned) = (pin!(log.next()), pin!(reading.abandoned()));
                match select(next, abandoned).await {
                    Either::Left((Ok(entry), _)) => entry,
                    Either::Left((Err(not_read), _)) => {
                        why = not_read;
                        break;
                    }
                    Either::Right(_) => break,
                }
            };
            reading.append(entry);
            self.read.notify_waiters();
        }
        reading.end(why);
        self.open.lock().retain(|open| !Arc::ptr_eq(open, &reading));
        log.close().await;
    }
}

/// Reads up to the entry of the position, which must be there.
async fn up_to(position: Position, log: &mut dyn LogReading) -> Result<Lane, NoReading> {
    let mut lane = Lane::default();
    let mut first = true;
    loop {
        let entry = log.next().await?;
        let id = entry.id;
        if id.offset > position.entry().offset && first {
            // Nobody can say what stood there.
            return Err(NotRecovered::Expired.into());
        }
        if id.offset >= position.entry().offset && id != position.entry() {
            return Err(NotRecovered::Unknown.into());
        }
        first = false;
        lane.append(id, 0, &entry.events);
        while lane.size() > WINDOW && lane.oldest_end().is_some() {
            lane.forget_oldest();
        }
        if id == position.entry() {
            return Ok(lane);
        }
    }
}

impl Reading {
    /// Where the position is in its window.
    fn join(self: &Arc<Self>, position: Position) -> Option<(LogReader, Cursor)> {
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
    async fn has_room(&self) -> bool {
        if self.lock().lane.size() <= WINDOW {
            return !self.end_if_abandoned();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let passed = self.passed.notified();
            if self.end_if_abandoned() {
                return false;
            }
            if self.lock().move_on() {
                return true;
            }
            if timeout_at(until, passed).await.is_err() {
                self.lock().leave_behind();
            }
        }
    }

    fn append(&self, entry: LogEntry<'_>) {
        self.lock().lane.append(entry.id, 0, &entry.events);
        self.read.notify_waiters();
    }

    async fn abandoned(&self) {
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

    fn end(&self, why: NotRead) {
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
        let span = window.lane.since(keys, from, bytes).map_err(|Lost| NotRead::Hole)?;
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
        }
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.reading.lock().readers.remove(&self.number);
        self.reading.passed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ops::Range,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use async_trait::async_trait;
    use tokio::time::sleep;

    use super::*;
    use crate::event::{Entry, RawBody, RawEvent};

    /// In bytes, of each event.
    const SIZE: usize = 40_000;

    /// More than a window holds.
    const APART: u64 = 200;

    /// An entry for each of these offsets, with an event of the key `k`.
    struct TestLog {
        offsets: Range<u64>,
        begun: AtomicUsize,
    }

    struct TestReading {
        offsets: Range<u64>,
        body: Vec<u8>,
    }

    fn id(offset: u64) -> Entry {
        Entry { offset, hash: offset }
    }

    #[async_trait]
    impl SharedLog for TestLog {
        async fn mark(&self, _: &Exchange) -> Option<u64> {
            None
        }

        async fn read(&self, _: &Exchange, offset: u64) -> Result<Box<dyn LogReading>, NotRead> {
            self.begun.fetch_add(1, Relaxed);
            let from = offset.saturating_sub(3).max(self.offsets.start);
            let body = format!(r#"{{"event":"E","payload":"{}"}}"#, "x".repeat(SIZE));
            let reading = TestReading { offsets: from..self.offsets.end, body: body.into_bytes() };
            Ok(Box::new(reading))
        }
    }

    #[async_trait]
    impl LogReading for TestReading {
        async fn next(&mut self) -> Result<LogEntry<'_>, NotRead> {
            tokio::task::yield_now().await;
            let Some(offset) = self.offsets.next() else {
                sleep(Duration::from_secs(3_600)).await;
                return Err(NotRead::Unavailable);
            };
            let position = Position::behind(id(offset), 0);
            let event = RawEvent::new(b"k", RawBody::Json(&self.body), position, None, 2 * SIZE);
            Ok(LogEntry { id: id(offset), events: vec![event.expect("valid")], repeated: 0 })
        }

        async fn close(self: Box<Self>) {}
    }

    struct World {
        ring: Ring,
        exchange: Exchange,
        log: Arc<TestLog>,
    }

    impl World {
        fn new(offsets: Range<u64>) -> Self {
            let exchange = Exchange::new("widgets").expect("valid");
            let ring = Ring::new([exchange.clone()], 1 << 20);
            let log = Arc::new(TestLog { offsets, begun: AtomicUsize::new(0) });
            ring.share(log.clone());
            Self { ring, exchange, log }
        }

        async fn read(&self, from: Position) -> Result<(LogReader, Cursor), NoReading> {
            self.ring.read_log(&self.exchange, from, Duration::from_secs(1)).await
        }

        async fn behind(&self, offset: u64) -> Result<(LogReader, Cursor), NoReading> {
            self.read(Position::end_of(id(offset))).await
        }

        fn begun(&self) -> usize {
            self.log.begun.load(Relaxed)
        }
    }

    /// The offsets of so many events behind the cursor, in parts of this size.
    async fn events(
        (reader, mut cursor): (&LogReader, Cursor),
        count: usize,
        part: usize,
    ) -> Result<Vec<u64>, NotRead> {
        let mut offsets = Vec::new();
        while offsets.len() < count {
            let span = reader.since(&["k"], cursor, part)?;
            offsets.extend(span.events.iter().map(|event| event.position().entry().offset));
            cursor = span.cursor;
            if span.is_all && offsets.len() < count {
                reader.more(cursor.position).await;
            }
        }
        Ok(offsets)
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_stands_behind_a_position_is_read_in_order() {
        let world = World::new(0..3 * APART);
        let (reader, cursor) = world.behind(10).await.expect("there");
        let offsets = events((&reader, cursor), 3 * APART as usize - 11, 3 * SIZE).await;
        assert_eq!(offsets, Ok((11..3 * APART).collect()));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_back_to_places_near_each_other_read_together() {
        let world = World::new(0..3 * APART);
        let (first, second) = tokio::join!(world.behind(10), world.behind(9));
        let (first, second) = (first.expect("there"), second.expect("there"));
        assert_eq!(world.begun(), 1);
        let (count, part) = (2 * APART as usize, SIZE);
        let read = tokio::join!(
            events((&first.0, first.1), count, part),
            events((&second.0, second.1), count, 3 * part),
        );
        assert_eq!(read.0.map(|offsets| offsets[0]), Ok(11));
        assert_eq!(read.1.map(|offsets| offsets[0]), Ok(10));
        assert!(world.behind(9).await.is_ok(), "it has moved on");
        assert_eq!(world.begun(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_others_up_is_left_behind() {
        let world = World::new(0..3 * APART);
        let (slow, at) = world.behind(10).await.expect("there");
        let (fast, cursor) = world.behind(10).await.expect("there");
        assert_eq!(world.begun(), 1);
        let begun = Instant::now();
        let offsets = events((&fast, cursor), 3 * APART as usize - 11, SIZE).await;
        assert_eq!(offsets, Ok((11..3 * APART).collect()));
        assert!(begun.elapsed() >= PATIENCE, "it was waited for");
        assert_eq!(slow.since(&["k"], at, SIZE).err(), Some(NotRead::Hole));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_read_at_a_time_and_others_wait_for_their_turn() {
        let world = World::new(0..10 * APART);
        let mut readers = Vec::new();
        // The last one first: no window comes to where another begins.
        for place in (1..=READINGS as u64).rev() {
            readers.push(world.behind(place * APART).await.expect("there"));
        }
        assert_eq!(world.behind(0).await.err(), Some(NotRecovered::TooMany.into()));
        assert_eq!(world.begun(), READINGS);
        let waiting = world.behind(0);
        let over = async {
            sleep(Duration::from_millis(500)).await;
            readers.pop();
        };
        assert!(tokio::join!(waiting, over).0.is_ok());
        assert_eq!(world.begun(), READINGS + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_gone_costs_no_reading() {
        let world = World::new(0..10 * APART);
        for place in 0..10 {
            assert!(world.behind(place * APART).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_position_is_held_against_what_stands_there() {
        let world = World::new(100..200);
        let other = Position::end_of(Entry { offset: 150, hash: 0 });
        assert_eq!(world.read(other).await.err(), Some(NotRecovered::Unknown.into()));
        assert_eq!(world.behind(99).await.err(), Some(NotRecovered::Expired.into()));
        assert!(world.behind(100).await.is_ok());
        let nobody = Ring::new([world.exchange.clone()], 1 << 20);
        let read = nobody.read_log(&world.exchange, other, Duration::from_secs(1)).await;
        assert_eq!(read.err(), Some(NotRecovered::Expired.into()), "no log is shared");
    }
}
