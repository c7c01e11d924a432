//! Who is subscribed to what, and the hand-over of each event to them. A hub serves the
//! sessions of one runtime; it knows no bus and no socket.

mod wakeups;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use self::wakeups::Wakeups;
use crate::{
    event::{Event, Exchange, PushedAt, Topic},
    ids::SessionId,
    metrics::Metrics,
    outbox::Outbox,
    protocol::{self, Frame, KeyForm, RoutingKey, Tag},
};

#[derive(Debug)]
pub struct Hub {
    exchanges: Mutex<HashMap<Exchange, Subscribers>>,
    wakeups: Wakeups,
    metrics: Arc<Metrics>,
}

/// The subscribers of one exchange.
#[derive(Debug, Default)]
struct Subscribers {
    /// Whether the bus delivers this exchange yet.
    attached: bool,
    /// Sorted by session id: found by halving, and new sessions come last.
    by_key: HashMap<Arc<str>, Vec<Subscriber>>,
}

#[derive(Debug)]
struct Subscriber {
    outbox: Arc<Outbox>,
    form: KeyForm,
}

/// One event on its way to the hubs of all runtimes. It is encoded once, and only if
/// somebody wants it.
#[derive(Debug)]
pub struct Delivery {
    event: Arc<Event>,
    frame: OnceLock<Frame>,
}

impl Delivery {
    pub fn new(event: Arc<Event>) -> Self {
        Self { event, frame: OnceLock::new() }
    }

    /// Which of a hub's subscribers is to be timed: one, as an event takes each of them the
    /// same way, and not always the one that is served first.
    fn to_follow<'a>(&self, subscribers: &'a [Subscriber]) -> Option<(&'a Outbox, PushedAt)> {
        let pushed_at = self.event.pushed_at?;
        // Microseconds are as good as drawn.
        let at = pushed_at.0.checked_rem(subscribers.len() as u64)?;
        Some((&subscribers[at as usize].outbox, pushed_at))
    }

    fn frame(&self) -> Frame {
        self.frame.get_or_init(|| protocol::pushed_event(&self.event)).clone()
    }
}

/// What a client may expect of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeState {
    Unknown,
    /// Configured, but the bus has not attached to it yet: events could be missed.
    Unavailable,
    Ready,
}

impl Hub {
    pub fn new(exchanges: impl IntoIterator<Item = Exchange>, metrics: Arc<Metrics>) -> Self {
        let exchanges = exchanges.into_iter().map(|name| (name, Subscribers::default()));
        let exchanges = Mutex::new(exchanges.collect());
        Self { exchanges, wakeups: Wakeups::default(), metrics }
    }

    pub fn exchange_state(&self, exchange: &Exchange) -> ExchangeState {
        match self.lock().get(exchange) {
            None => ExchangeState::Unknown,
            Some(subscribers) if subscribers.attached => ExchangeState::Ready,
            Some(_) => ExchangeState::Unavailable,
        }
    }

    /// Acknowledges and registers in one step: `Subscribed` precedes every event, and an
    /// event pushed after it was sent is delivered. The session is not yet subscribed.
    pub fn subscribe(&self, topic: &Topic, form: KeyForm, outbox: &Arc<Outbox>, tag: Option<&Tag>) {
        let routing_key = RoutingKey { text: topic.routing_key(), form };
        let acknowledgement = protocol::subscribed(tag, &topic.exchange, routing_key);
        let mut exchanges = self.lock();
        let Some(subscribers) = exchanges.get_mut(&topic.exchange) else { return };
        let of_key = subscribers.by_key.entry(topic.shared_routing_key()).or_default();
        let at = of_key.partition_point(|other| other.outbox.session() < outbox.session());
        outbox.push(acknowledgement);
        of_key.insert(at, Subscriber { outbox: outbox.clone(), form });
        self.metrics.subscriptions.inc();
    }

    /// After this no event of the topic is queued for the session any more.
    pub fn unsubscribe(&self, topic: &Topic, session: SessionId) {
        let mut exchanges = self.lock();
        let Some(subscribers) = exchanges.get_mut(&topic.exchange) else { return };
        let Some(of_key) = subscribers.by_key.get_mut(topic.routing_key()) else { return };
        if let Ok(at) = of_key.binary_search_by_key(&session, |other| other.outbox.session()) {
            of_key.remove(at);
            self.metrics.subscriptions.dec();
        }
        if of_key.is_empty() {
            subscribers.by_key.remove(topic.routing_key());
        }
    }

    /// How many sessions of this hub are subscribed to the topic.
    pub fn subscribers(&self, topic: &Topic) -> usize {
        let exchanges = self.lock();
        let of_key =
            exchanges.get(&topic.exchange).and_then(|of| of.by_key.get(topic.routing_key()));
        of_key.map_or(0, Vec::len)
    }

    /// How many topics somebody is subscribed to.
    pub fn topic_count(&self) -> usize {
        self.lock().values().map(|subscribers| subscribers.by_key.len()).sum()
    }

    /// These topics, each exchange's keys with the number of their subscribers: all, or
    /// `max` of them.
    pub fn topics(&self, max: usize) -> Vec<(Exchange, Arc<str>, usize)> {
        let exchanges = self.lock();
        let keys = exchanges.iter().flat_map(|(exchange, subscribers)| {
            let keys = subscribers.by_key.iter();
            keys.map(|(key, of_key)| (exchange.clone(), key.clone(), of_key.len()))
        });
        keys.take(max).collect()
    }

    pub fn attached(&self, exchange: &Exchange) {
        if let Some(subscribers) = self.lock().get_mut(exchange) {
            subscribers.attached = true;
        }
    }

    /// Queues the event for everyone who is subscribed. They are woken by [`Hub::wake`].
    pub fn deliver(&self, delivery: &Delivery) {
        let topic = &delivery.event.topic;
        let exchanges = self.lock();
        let Some(subscribers) = exchanges.get(&topic.exchange) else { return };
        let Some(of_key) = subscribers.by_key.get(topic.routing_key()) else { return };
        if let Some((outbox, pushed_at)) = delivery.to_follow(of_key) {
            outbox.follow_next(pushed_at);
        }
        let pushed = |to: &Subscriber| to.outbox.push_without_waking(delivery.frame());
        self.wakeups.add(of_key.iter().filter_map(pushed));
        self.metrics.deliveries.inc_by(of_key.len() as u64);
    }

    /// Wakes, for ever, the sessions that events were queued for.
    pub async fn wake(&self) {
        self.wakeups.run().await;
    }

    /// Tells each subscription of the exchange that events may be missing.
    pub fn gap(&self, exchange: &Exchange) {
        let exchanges = self.lock();
        let Some(subscribers) = exchanges.get(exchange) else { return };
        for (text, of_key) in &subscribers.by_key {
            for Subscriber { outbox, form } in of_key {
                outbox.push(protocol::gap(exchange, RoutingKey { text, form: *form }));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Exchange, Subscribers>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
