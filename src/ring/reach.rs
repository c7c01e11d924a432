//! Waiting for what a client has seen on another replica, which may be ahead of this one.

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout};

use super::{CatchingUp, Place, Ring, lane::Lane};
use crate::{
    bus::SharedLog,
    event::{Exchange, Position},
};

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
        let look = || Some(self.find(exchange, position)).filter(|place| *place != Place::Ahead);
        if let Some(place) = look() {
            return place;
        }
        let shared = self.shared().zip(self.catching_up.get(exchange));
        let Some((log, catching_up)) = shared else { return Place::Unknown };
        let came = Instant::now();
        let reached = catching_up.ahead.until(position.entry().offset, look);
        let passed = async {
            if !self.marked(&*log, exchange, catching_up, came).await {
                return pending().await;
            }
            look().unwrap_or(Place::Unknown)
        };
        match timeout(patience, select(pin!(reached), pin!(passed))).await {
            Ok(Either::Left((place, _)) | Either::Right((place, _))) => place,
            Err(_) => Place::Ahead,
        }
    }

    /// Resolves when everything behind the position is here.
    pub async fn reached(&self, exchange: &Exchange, position: Position) {
        let Some(CatchingUp { ahead, .. }) = self.catching_up.get(exchange) else { return };
        let look = || matches!(self.find(exchange, position), Place::Here(_)).then_some(());
        ahead.until(position.entry().offset, look).await;
    }

    /// Resolves when an entry was read that was written since, or with false where none can be
    /// written. One does for all who came before it, and one at a time waits for it.
    async fn marked(
        &self,
        log: &dyn SharedLog,
        exchange: &Exchange,
        catching_up: &CatchingUp,
        since: Instant,
    ) -> bool {
        let mut marked = catching_up.marked.lock().await;
        if marked.is_some_and(|written| written >= since) {
            return true;
        }
        let (written, mut seen) = (Instant::now(), self.age(exchange));
        let Some(hash) = log.mark(exchange).await else { return false };
        self.until(|| self.holds_since(exchange, hash, &mut seen).then_some(())).await;
        *marked = Some(written);
        true
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
