use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use async_trait::async_trait;
use tokio::time::sleep;

use super::{
    reading::{PATIENCE, PATIENCE_LEAST},
    *,
};
use crate::{
    bus::LogEntry,
    event::{Entry, RawBody, RawEvent},
};

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
        let shared: Arc<dyn SharedLog> = log.clone();
        ring.share(&shared);
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
async fn who_holds_others_up_is_left_behind_and_may_begin_anew() {
    let world = World::new(0..3 * APART);
    let (slow, at) = world.behind(10).await.expect("there");
    let (fast, cursor) = world.behind(10).await.expect("there");
    assert_eq!(world.begun(), 1);
    let begun = Instant::now();
    let offsets = events((&fast, cursor), 3 * APART as usize - 11, SIZE).await;
    assert_eq!(offsets, Ok((11..3 * APART).collect()));
    let waited = begun.elapsed();
    assert!(waited >= PATIENCE_LEAST && waited < PATIENCE, "{waited:?}");
    assert_eq!(slow.since(&["k"], at, SIZE).err(), Some(NotRead::Hole));
    let (slow, at) = world.behind(10).await.expect("there");
    assert_eq!(events((&slow, at), 3, SIZE).await, Ok((11..14).collect()));
}

#[tokio::test(start_paused = true)]
async fn who_reads_alone_may_take_its_time() {
    let world = World::new(0..3 * APART);
    let (reader, cursor) = world.behind(10).await.expect("there");
    sleep(PATIENCE - Duration::from_secs(1)).await;
    let offsets = events((&reader, cursor), 3 * APART as usize - 11, SIZE).await;
    assert_eq!(offsets, Ok((11..3 * APART).collect()));
}

#[tokio::test(start_paused = true)]
async fn the_others_have_as_long_again_as_half_of_them_took() {
    let world = World::new(0..3 * APART);
    let (mut fast, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        fast.push(world.behind(10).await.expect("there"));
        slow.push(world.behind(10).await.expect("there"));
    }
    let window = 4 << 20;
    sleep(Duration::from_secs(2)).await;
    for (reader, cursor) in &mut fast {
        *cursor = reader.since(&["k"], *cursor, window).expect("there").cursor;
    }
    sleep(Duration::from_secs(5)).await;
    for (reader, cursor) in &slow {
        assert!(reader.since(&["k"], *cursor, window).is_ok(), "{:?}", cursor.position);
    }
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
