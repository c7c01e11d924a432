//! The keys that sessions hold of exchanges whose events come here key by key. A session holds
//! what it is to be subscribed to, and goes on when that is bound. Whoever reads the exchange
//! binds what is held, all of it anew when the broker may have forgotten it, and unbinds what
//! nobody has held for a while.

mod keys;
mod proofs;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::timeout;

pub(super) use self::keys::{Keys, Numbered};
use crate::event::{Exchange, Position, Topic};

/// From a wish to its binding. One that is under way by then is made all the same, for who asks
/// again.
const BIND_DEADLINE: Duration = Duration::from_secs(5);

/// All exchanges that have bindings. Of others everything comes, and nothing need be held.
#[derive(Debug, Default)]
pub struct Bindings(HashMap<Exchange, Arc<Keys>>);

/// While it lives, what is published to one topic comes here.
#[derive(Debug, Default)]
pub struct Hold(Option<(Arc<Keys>, Arc<str>)>);

/// What of a log is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    Always,
    /// Before, the keys may not have been bound.
    Since(Position),
    Unknown,
}

/// The broker is away, or did not bind in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotBound;

impl Bindings {
    pub fn new(exchanges: impl IntoIterator<Item = Exchange>) -> Arc<Self> {
        let keys = exchanges.into_iter().map(|name| (name, Arc::default()));
        Arc::new(Self(keys.collect()))
    }

    /// Holds these topics of one exchange, once whatever is published to any of them comes here.
    pub async fn hold(&self, topics: &[Topic]) -> Result<Vec<Hold>, NotBound> {
        let Some(keys) = topics.first().and_then(|topic| self.of(&topic.exchange)) else {
            return Ok(topics.iter().map(|_| Hold(None)).collect());
        };
        if !keys.is_open() {
            return Err(NotBound);
        }
        let names = topics.iter().map(Topic::shared_routing_key);
        let hold = |name: Arc<str>| {
            keys.hold(name.clone());
            Hold(Some((keys.clone(), name)))
        };
        let holds = names.map(hold).collect();
        timeout(BIND_DEADLINE, keys.all_bound(topics)).await.unwrap_or(Err(NotBound))?;
        Ok(holds)
    }

    /// From where on nothing is missing in the log of these topics of one exchange; nothing
    /// where that is not known. Of an exchange without bindings nothing ever is.
    pub(crate) fn whole_since(&self, topics: &[Topic]) -> Whole {
        match topics.first().and_then(|topic| self.of(&topic.exchange)) {
            None => Whole::Always,
            Some(keys) => keys.whole_since(topics).map_or(Whole::Unknown, Whole::Since),
        }
    }

    /// Whether this exchange has some.
    pub(crate) fn lead_to(&self, exchange: &Exchange) -> bool {
        self.of(exchange).is_some()
    }

    /// Everything is read, though nobody binds anything.
    #[cfg(test)]
    pub(crate) fn open_all(&self) {
        self.0.values().for_each(|keys| keys.open());
    }

    pub(super) fn of(&self, exchange: &Exchange) -> Option<&Arc<Keys>> {
        self.0.get(exchange)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some((keys, key)) = &self.0 {
            keys.release(key);
        }
    }
}
