//! Reading on behind the ring: what it does not hold any more may stand in the log.
//!
//! A reading is a window on the log. A task fills it at its end, and forgets at its beginning
//! what all of its readers have passed. Whoever comes back to a position that a window holds
//! reads along: so a thousand clients that lost their replica cost one reading. A reader that
//! holds the others up for too long is left behind.

mod reading;
#[cfg(test)]
mod tests;

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use parking_lot::Mutex;
use tokio::{
    sync::{self, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

pub use self::reading::LogReader;
use self::reading::{Reading, WINDOW};
use super::{CatchingUp, Cursor, Ring, lane::Lane, waiters::Waiters};
use crate::{
    bus::{LogReading, NotRead, SharedLog},
    event::{Exchange, Position},
    protocol::NotRecovered,
};

/// At a time, of one exchange.
const READINGS: usize = 4;

/// To begin is to read up to 2,000 entries before a position.
const BEGINNING: Duration = Duration::from_secs(20);

/// The readings of one exchange's log.
pub(super) struct Readings {
    open: Mutex<Vec<Arc<Reading>>>,
    /// Clients: as many as there are, each for as long as its patience lasts.
    waiting: Waiters,
    permits: Arc<Semaphore>,
    /// They are begun one at a time: what one begins, the next may share.
    turn: sync::Mutex<()>,
}

/// Why it is not read behind a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReading {
    /// It would be of no use.
    NotRecovered(NotRecovered),
    /// The log cannot be read for now.
    Unavailable,
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
        let shared = self.shared().zip(self.catching_up.get(exchange));
        let (log, CatchingUp { readings, .. }) = shared.ok_or(NotRecovered::Expired)?;
        let until = Instant::now() + patience;
        let along = readings.along(position);
        let anew = async {
            let turn = timeout_at(until, readings.turn()).await;
            let (_turn, permit) = turn.map_err(|_| readings.no_turn())?;
            // With as much time as it takes, for the next to come would begin anew.
            let beginning = readings.begin(&*log, exchange, position, permit);
            timeout(BEGINNING, beginning).await.unwrap_or(Err(NoReading::Unavailable))
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

impl Default for Readings {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(READINGS));
        let (open, waiting, turn) = Default::default();
        Self { open, waiting, permits, turn }
    }
}

impl Readings {
    /// Those that are being begun, too.
    pub(super) fn under_way(&self) -> usize {
        READINGS - self.permits.available_permits()
    }

    /// As soon as some window holds the position.
    async fn along(&self, position: Position) -> (LogReader, Cursor) {
        self.waiting.until(position.entry().offset, || self.find(position)).await
    }

    fn find(&self, position: Position) -> Option<(LogReader, Cursor)> {
        self.open.lock().iter().find_map(|reading| reading.join(position))
    }

    /// As soon as one may be begun, and nobody else begins one.
    async fn turn(&self) -> (sync::MutexGuard<'_, ()>, Option<OwnedSemaphorePermit>) {
        let turn = self.turn.lock().await;
        (turn, self.permits.clone().acquire_owned().await.ok())
    }

    /// Why nobody had a turn: there are as many readings as may be, or one cannot be begun.
    fn no_turn(&self) -> NoReading {
        match self.permits.available_permits() {
            0 => NotRecovered::TooMany.into(),
            _ => NoReading::Unavailable,
        }
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
        let reading = Reading::new(lane);
        let found = reading.join(position).ok_or(NotRecovered::Unknown)?;
        self.open.lock().push(reading.clone());
        self.waiting.wake(..=position.entry().offset);
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
            self.waiting.wake(reading.append(entry));
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
