//! Waiting for what a client has seen on another replica, which may be ahead of this one.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use tokio::time::timeout;

use super::{Place, Ring};
use crate::{
    bus::SharedLog,
    event::{Exchange, Position},
};

impl Ring {
    /// Others write the logs too, through this.
    pub fn share(&self, log: Arc<dyn SharedLog>) {
        let _ = self.shared.set(log);
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
        let Some(log) = self.shared.get() else { return Place::Unknown };
        let reached = self.until(|| match self.find(exchange, position) {
            Place::Ahead => None,
            place => Some(place),
        });
        let passed = async {
            let Some(marker) = log.mark(exchange).await else {
                return std::future::pending().await;
            };
            let mut seen = 0;
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
