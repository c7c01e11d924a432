//! Waiting for what a client has seen on another replica, which may be ahead of this one.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout};

use super::{Place, Ring, lane::Lane};
use crate::{
    bus::SharedLog,
    event::{Exchange, Position},
};

/// The entry that was written last to see how far a log is read.
pub(super) struct Mark {
    /// Not before this.
    written_from: Instant,
    hash: u64,
}

impl Ring {
    /// Others write the logs too, through this.
    pub fn share(&self, log: &Arc<dyn SharedLog>) {
        let _ = self.shared.set(Arc::downgrade(log));
    }

    pub(super) fn shared(&self) -> Option<Arc<dyn SharedLog>> {
        self.shared.get()?.upgrade()
    }

    /// As [`Ring::find`]; what is ahead is waited for, so long. An entry that is written when the
    /// position is known already, and read before it was reached, shows that it is none of this
    /// log.
    pub async fn reach(
        &self,
        exchange: &Exchange,
        position: Position,
        patience: Duration,
    ) -> Place {
        let place = self.find(exchange, position);
        if place != Place::Ahead {
            return place;
        }
        let Some(log) = self.shared() else { return Place::Unknown };
        let (came, mut seen) = (Instant::now(), self.age(exchange));
        let reached = self.until(|| match self.find(exchange, position) {
            Place::Ahead => None,
            place => Some(place),
        });
        let passed = async {
            let Some(marker) = self.mark(&*log, exchange, came).await else {
                return std::future::pending().await;
            };
            self.until(|| self.holds_since(exchange, marker, &mut seen).then_some(())).await;
            match self.find(exchange, position) {
                Place::Ahead => Place::Unknown,
                place => place,
            }
        };
        match timeout(patience, select(pin!(reached), pin!(passed))).await {
            Ok(Either::Left((place, _)) | Either::Right((place, _))) => place,
            Err(_) => Place::Ahead,
        }
    }

    /// Resolves when everything behind the position is here.
    pub async fn reached(&self, exchange: &Exchange, position: Position) {
        self.until(|| matches!(self.find(exchange, position), Place::Here(_)).then_some(())).await;
    }

    /// An entry that was written when this client was here: one does for all who came before it.
    async fn mark(&self, log: &dyn SharedLog, exchange: &Exchange, came: Instant) -> Option<u64> {
        let mut last = self.marks.get(exchange)?.lock().await;
        match *last {
            Some(Mark { written_from, hash }) if written_from >= came => Some(hash),
            _ => {
                let written_from = Instant::now();
                let hash = log.mark(exchange).await?;
                *last = Some(Mark { written_from, hash });
                Some(hash)
            }
        }
    }

    /// Of the entry that was appended last.
    fn age(&self, exchange: &Exchange) -> u64 {
        self.lock().lanes.get(exchange).map_or(0, Lane::age)
    }

    /// Looks again whenever an entry was appended.
    async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let appended = self.appended.notified();
            if let Some(found) = look() {
                return found;
            }
            appended.await;
        }
    }

    /// Whether there is such an entry among those that were not looked at yet.
    fn holds_since(&self, exchange: &Exchange, hash: u64, seen: &mut u64) -> bool {
        self.lock().lanes.get(exchange).is_some_and(|lane| lane.holds_since(hash, seen))
    }
}
