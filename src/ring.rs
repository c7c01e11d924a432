//! The latest entries of each exchange's log, in memory, for clients that come back: raw, as
//! they were read, with an index by routing key. What nobody comes back for costs a look-up of
//! its key and a copy, and is never parsed.
//!
//! A part of the log without a hole: at a gap it begins anew. So whoever stands where it reaches
//! back to gets everything that came since.

mod event;
mod held;
mod lane;
mod log;
mod reach;
mod waiters;

use std::{
    collections::HashMap,
    ops::RangeBounds,
    sync::{Arc, OnceLock, Weak},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{self, Notify},
    time::Instant,
};

pub(crate) use self::held::Held;
pub use self::{
    event::RingEvent,
    lane::{Cursor, Place, Span},
    log::{LogReader, NoReading},
};
use self::{lane::Lane, log::Readings, waiters::Waiters};
pub use crate::bus::NotRead;
use crate::{
    bus::SharedLog,
    event::{Entry, Exchange, Position, RawEvent},
};

/// What each exchange may keep, however much others use.
const LEAST: usize = 1 << 20;

pub struct Ring {
    kept: Mutex<Kept>,
    /// Bytes of all exchanges together.
    most: usize,
    appended: Notify,
    /// Which has this ring, too.
    shared: OnceLock<Weak<dyn SharedLog>>,
    catching_up: HashMap<Exchange, CatchingUp>,
}

/// What those share who come back to one exchange and are ahead, or far behind.
#[derive(Default)]
struct CatchingUp {
    ahead: Waiters,
    /// When the marker was written, at the earliest, that was read here last.
    marked: sync::Mutex<Option<Instant>>,
    readings: Arc<Readings>,
}

#[derive(Debug)]
struct Kept {
    lanes: HashMap<Exchange, Lane>,
    /// Entries that were appended to any of them: whose oldest one is the oldest of all.
    appended: u64,
}

/// It does not reach back so far, or there was a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl Ring {
    /// Keeps about so many bytes, in these exchanges.
    pub fn new(exchanges: impl IntoIterator<Item = Exchange>, most: usize) -> Self {
        let exchanges: Vec<_> = exchanges.into_iter().collect();
        let catching_up = exchanges.iter().map(|name| (name.clone(), Default::default()));
        let catching_up = catching_up.collect();
        let lanes = exchanges.into_iter().map(|name| (name, Lane::default())).collect();
        let kept = Mutex::new(Kept { lanes, appended: 0 });
        let (appended, shared) = Default::default();
        Self { kept, most, appended, shared, catching_up }
    }

    /// The log's next entry.
    pub fn append(&self, exchange: &Exchange, entry: Entry, events: &[RawEvent<'_>]) {
        let mut kept = self.lock();
        kept.appended += 1;
        let age = kept.appended;
        let Some(lane) = kept.lanes.get_mut(exchange) else { return };
        let new = lane.offsets_up_to(entry);
        lane.append(entry, age, events);
        kept.forget(self.most);
        drop(kept);
        self.appended.notify_waiters();
        self.wake(exchange, new);
    }

    /// Entries may be missing here. It is whole again from this position, where that is known.
    pub fn interrupt(&self, exchange: &Exchange, whole_from: Option<Position>) {
        if let Some(lane) = self.lock().lanes.get_mut(exchange) {
            lane.interrupt(whole_from);
        }
        self.wake(exchange, ..);
    }

    /// Those who are ahead so far.
    fn wake(&self, exchange: &Exchange, offsets: impl RangeBounds<u64>) {
        if let Some(CatchingUp { ahead, .. }) = self.catching_up.get(exchange) {
            ahead.wake(offsets);
        }
    }

    /// So many gaps there were. Positions from before and behind one may be of two logs.
    pub fn gaps(&self, exchange: &Exchange) -> u64 {
        self.lock().lanes.get(exchange).map_or(0, Lane::gaps)
    }

    /// What there is behind the position.
    pub fn find(&self, exchange: &Exchange, position: Position) -> Place {
        self.lock().lanes.get(exchange).map_or(Place::Unknown, |lane| lane.find(position))
    }

    /// The events of these keys behind the cursor, in the log's order: as many as their frames
    /// take so many bytes, or one.
    pub fn since(
        &self,
        exchange: &Exchange,
        keys: &[&str],
        from: Cursor,
        bytes: usize,
    ) -> Result<Span, Lost> {
        self.lock().lanes.get(exchange).ok_or(Lost)?.since(keys, from, bytes)
    }

    /// The latest events of each key, so many or as many as there are, in the log's order.
    /// `None`: their frames take more bytes than these.
    pub fn latest(
        &self,
        exchange: &Exchange,
        keys: &[&str],
        number: usize,
        bytes: usize,
    ) -> Result<Option<Span>, Lost> {
        self.lock().lanes.get(exchange).ok_or(Lost)?.latest(keys, number, bytes)
    }

    /// What it may hold, in bytes.
    pub fn capacity(&self) -> usize {
        self.most
    }

    /// How many share that, at least one.
    pub fn exchanges(&self) -> usize {
        self.lock().lanes.len().max(1)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock()
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.lanes.values().map(Lane::size).sum()
    }

    /// The oldest entries, until there is room for all.
    fn forget(&mut self, most: usize) {
        while self.bytes() > most {
            let ample = self.lanes.values_mut().filter(|lane| lane.size() > LEAST);
            let oldest = ample.filter_map(|lane| Some((lane.oldest()?, lane)));
            match oldest.min_by_key(|(age, _)| *age) {
                Some((_, lane)) => lane.forget_oldest(),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::RawBody;

    const MOST: usize = 3 << 20;

    /// So many KiB of it.
    fn fill(ring: &Ring, exchange: &Exchange, kib: u64) {
        let body = "x".repeat(1_024);
        for offset in 0..kib {
            let id = Entry { offset, hash: 0 };
            let (position, body) = (Position::behind(id, 0), RawBody::Json(body.as_bytes()));
            let event = RawEvent::new(b"k", body, position, None, 2_048).expect("valid");
            ring.append(exchange, id, &[event]);
        }
    }

    fn sizes(ring: &Ring, exchanges: &[Exchange]) -> Vec<usize> {
        let kept = ring.lock();
        exchanges.iter().map(|exchange| kept.lanes[exchange].size()).collect()
    }

    #[test]
    fn an_exchange_has_what_it_uses_and_each_has_the_least() {
        let exchanges = ["one", "other", "none"].map(|name| Exchange::new(name).expect("valid"));
        let ring = Ring::new(exchanges.clone(), MOST);
        fill(&ring, &exchanges[0], 10 << 10);
        let all = sizes(&ring, &exchanges);
        assert!(all[0] <= MOST && all[0] > MOST - (4 << 10), "{all:?}");
        fill(&ring, &exchanges[1], 10 << 10);
        let all = sizes(&ring, &exchanges);
        assert!(all[0].abs_diff(LEAST) < 4 << 10, "{all:?}");
        assert!(all[0] + all[1] <= MOST && all[0] + all[1] > MOST - (4 << 10), "{all:?}");
        // What is used beyond the bound is the least of each.
        let ring = Ring::new(exchanges.clone(), 0);
        exchanges.iter().for_each(|exchange| fill(&ring, exchange, 5 << 10));
        for size in sizes(&ring, &exchanges) {
            assert!(size.abs_diff(LEAST) < 4 << 10, "{size}");
        }
    }
}
