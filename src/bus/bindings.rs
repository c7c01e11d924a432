//! The keys that sessions hold of exchanges whose events come here key by key. A session holds
//! what it is to be subscribed to, and goes on when that is bound. Whoever reads the exchange
//! binds what is held, all of it anew when the broker may have forgotten it, and unbinds what
//! nobody has held for a while.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::event::{Exchange, Topic};

/// From a wish to its binding. One that takes longer is made all the same, for who asks again.
const BIND_DEADLINE: Duration = Duration::from_secs(5);

/// Pages come and go, and a client that lost its connection is back soon.
const UNBIND_AFTER: Duration = Duration::from_secs(30);

/// All exchanges that have bindings. Of others everything comes, and nothing need be held.
#[derive(Debug, Default)]
pub struct Bindings(HashMap<Exchange, Arc<Keys>>);

/// While it lives, what is published to one topic comes here.
#[derive(Debug, Default)]
pub struct Hold(Option<(Arc<Keys>, Arc<str>)>);

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
        if !keys.lock().open {
            return Err(NotBound);
        }
        let holds = topics.iter().map(|topic| keys.hold(topic)).collect();
        keys.due.notify_one();
        timeout(BIND_DEADLINE, keys.all_bound(topics)).await.unwrap_or(Err(NotBound))?;
        Ok(holds)
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

/// The keys of one exchange. Its reader is the only one who binds them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    table: Mutex<Table>,
    /// Something is to be bound.
    due: Notify,
    /// Something was, or nothing can be any more.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// Those that are held, bound, or both.
    keys: HashMap<Arc<str>, Key>,
    /// To be bound, each once.
    wanted: VecDeque<Arc<str>>,
    /// What is bound is read.
    open: bool,
}

#[derive(Debug, Default)]
struct Key {
    holders: usize,
    /// Nobody has held it since.
    idle_since: Option<Instant>,
    bound: bool,
    /// It is among those to be bound, or being bound.
    wanted: bool,
}

impl Keys {
    fn hold(self: &Arc<Self>, topic: &Topic) -> Hold {
        let name = topic.shared_routing_key();
        let mut table = self.lock();
        let key = table.keys.entry(name.clone()).or_default();
        key.holders += 1;
        key.idle_since = None;
        if !key.bound && !std::mem::replace(&mut key.wanted, true) {
            table.wanted.push_back(name.clone());
        }
        Hold(Some((self.clone(), name)))
    }

    fn release(&self, name: &str) {
        if let Some(key) = self.lock().keys.get_mut(name) {
            key.holders -= 1;
            key.idle_since = (key.holders == 0).then(Instant::now);
        }
    }

    async fn all_bound(&self, topics: &[Topic]) -> Result<(), NotBound> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let table = self.lock();
                if !table.open {
                    return Err(NotBound);
                }
                let bound = |topic: &Topic| table.is_bound(topic.routing_key());
                if topics.iter().all(bound) {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// Nothing is bound any more, and what is held is to be. Until [`Self::open`] nobody is told
    /// that it is.
    pub(super) fn begin_anew(&self) {
        let mut table = self.lock();
        table.open = false;
        table.keys.retain(|_, key| key.holders > 0);
        for key in table.keys.values_mut() {
            (key.bound, key.wanted) = (false, true);
        }
        table.wanted = table.keys.keys().cloned().collect();
        drop(table);
        self.changed.notify_waiters();
    }

    /// What is bound is read from now on.
    pub(super) fn open(&self) {
        self.lock().open = true;
        self.changed.notify_waiters();
    }

    /// Some that are to be bound, so many at most.
    pub(super) fn take_wanted(&self, most: usize) -> Vec<Arc<str>> {
        let mut table = self.lock();
        let count = most.min(table.wanted.len());
        table.wanted.drain(..count).collect()
    }

    pub(super) fn bound(&self, names: &[Arc<str>]) {
        let mut table = self.lock();
        for name in names {
            // None is forgotten on its way.
            if let Some(key) = table.keys.get_mut(name) {
                (key.bound, key.wanted) = (true, false);
            }
        }
        drop(table);
        self.changed.notify_waiters();
    }

    /// Some that nobody has held for a while: not bound any more, as far as anybody is told.
    pub(super) fn take_idle(&self, most: usize) -> Vec<Arc<str>> {
        let is_idle = |key: &Key| {
            key.bound && key.idle_since.is_some_and(|since| since.elapsed() >= UNBIND_AFTER)
        };
        let mut table = self.lock();
        let idle = table.keys.iter().filter(|(_, key)| is_idle(key));
        let idle: Vec<_> = idle.take(most).map(|(name, _)| name.clone()).collect();
        for name in &idle {
            table.keys.remove(name);
        }
        idle
    }

    /// Resolves when something is to be bound.
    pub(super) async fn due(&self) {
        self.due.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}

impl Table {
    fn is_bound(&self, name: &str) -> bool {
        self.keys.get(name).is_some_and(|key| key.bound)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    struct World {
        bindings: Arc<Bindings>,
        keys: Arc<Keys>,
    }

    impl World {
        fn new() -> Self {
            let exchange = Exchange::new("widgets").expect("valid");
            let bindings = Bindings::new([exchange.clone()]);
            let keys = bindings.of(&exchange).expect("it has some").clone();
            keys.begin_anew();
            keys.open();
            Self { bindings, keys }
        }

        /// What a reader does.
        fn bind(&self) -> Vec<Arc<str>> {
            let mut wanted = self.keys.take_wanted(usize::MAX);
            self.keys.bound(&wanted);
            wanted.sort();
            wanted
        }

        /// Of keys that are bound already.
        fn hold(&self, names: &[&str]) -> Vec<Hold> {
            let held = self.bindings.hold(&topics(names)).now_or_never();
            held.expect("at once").expect("bound")
        }
    }

    fn topics(names: &[&str]) -> Vec<Topic> {
        let topic = |name: &&str| Topic::new(Exchange::new("widgets").expect("valid"), name);
        names.iter().map(|name| topic(name).expect("valid")).collect()
    }

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_a_key_waits_until_it_is_bound_and_not_for_ever() {
        let world = World::new();
        let asked = topics(&["1", "2"]);
        let mut holding = std::pin::pin!(world.bindings.hold(&asked));
        assert!(holding.as_mut().now_or_never().is_none());
        assert_eq!(world.bind(), names(&["1", "2"]));
        assert_eq!(holding.await.expect("bound").len(), 2);

        let began = Instant::now();
        let other = world.bindings.hold(&topics(&["1", "3"])).await;
        assert_eq!((other.err(), began.elapsed()), (Some(NotBound), BIND_DEADLINE));
        assert_eq!(world.bind(), names(&["3"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_bound_once_and_unbound_when_nobody_has_held_it_for_a_while() {
        let world = World::new();
        let asked = topics(&["1"]);
        let holding = (world.bindings.hold(&asked), world.bindings.hold(&asked));
        let both = async { tokio::join!(holding.0, holding.1) };
        let (first, second) = tokio::join!(both, async {
            tokio::task::yield_now().await;
            assert_eq!(world.bind(), names(&["1"]));
        })
        .0;
        drop(first);
        tokio::time::advance(2 * UNBIND_AFTER).await;
        assert_eq!(world.keys.take_idle(9), names(&[]));
        drop(second);
        assert_eq!(world.keys.take_idle(9), names(&[]));
        tokio::time::advance(UNBIND_AFTER / 2).await;
        drop(world.hold(&["1"]));
        tokio::time::advance(UNBIND_AFTER / 2).await;
        assert_eq!(world.keys.take_idle(9), names(&[]));
        tokio::time::advance(UNBIND_AFTER / 2).await;
        assert_eq!(world.keys.take_idle(9), names(&["1"]));
        // Whoever comes now needs another binding.
        assert!(world.bindings.hold(&asked).now_or_never().is_none());
        assert_eq!(world.bind(), names(&["1"]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_bound_anew_and_nobody_waits_meanwhile() {
        let world = World::new();
        let asked = topics(&["1", "2"]);
        let (held, _) = tokio::join!(world.bindings.hold(&asked), async {
            tokio::task::yield_now().await;
            world.bind()
        });
        let mut held = held.expect("bound");
        drop(held.pop());
        let waits = topics(&["3"]);
        let (refused, ()) = tokio::join!(world.bindings.hold(&waits), async {
            world.keys.begin_anew();
        });
        assert_eq!(refused.err(), Some(NotBound));
        let refused = world.bindings.hold(&asked).now_or_never();
        assert_eq!(refused.expect("at once").err(), Some(NotBound));
        assert_eq!(world.bind(), names(&["1", "3"]));
        world.keys.open();
        world.hold(&["1"]);
    }

    #[tokio::test]
    async fn of_other_exchanges_nothing_need_be_held() {
        let held = Bindings::default().hold(&topics(&["1", "2"])).now_or_never();
        assert_eq!(held.expect("at once").expect("held").len(), 2);
    }
}
