//! Who is subscribed to what, and the hand-over of each event to them. A hub serves the
//! sessions of one runtime; it knows no bus and no socket.

mod interest;
pub(crate) mod outbox;
mod wakeups;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::task::yield_now;

pub use self::interest::Interest;
use self::wakeups::Wakeups;
use crate::{
    event::{Event, Exchange, PushedAt, Topic},
    hub::outbox::{Outbox, Turns},
    ids::SessionId,
    metrics::Metrics,
    protocol::{self, Frame, KeyForm, RoutingKey, Tag},
};

/// Frames that are queued in one go, unless one event is more: a millisecond or two, in which
/// nothing else is done.
const QUEUED_AT_ONCE: usize = 16_384;

#[derive(Debug)]
pub struct Hub {
    exchanges: Mutex<Exchanges>,
    interest: Arc<Interest>,
    turns: Turns,
    wakeups: Wakeups,
    metrics: Arc<Metrics>,
}

type Exchanges = HashMap<Exchange, Subscribers>;

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
    event: Event,
    frame: OnceLock<Frame>,
}

/// Where a pass over some deliveries ended.
enum Pass {
    Over,
    /// Before this delivery, whose frame has no room of so many bytes in this round.
    NoRoom(usize, usize),
    /// Before this delivery: others have waited long enough.
    Enough(usize),
}

impl Delivery {
    pub fn new(event: Event) -> Self {
        Self { event, frame: OnceLock::new() }
    }

    /// What it takes in memory, more or less, before it is encoded.
    pub fn bytes(&self) -> usize {
        let Event { topic, body, .. } = &self.event;
        size_of::<Self>() + topic.routing_key().len() + body.name.len() + body.payload.get().len()
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
    /// For sessions whose outboxes hold `max_outbox` bytes. Knows the exchanges of `interest`.
    pub fn new(interest: Arc<Interest>, max_outbox: usize, metrics: Arc<Metrics>) -> Self {
        let exchanges = interest.exchanges().map(|name| (name.clone(), Subscribers::default()));
        let exchanges = Mutex::new(exchanges.collect());
        let (turns, wakeups) = (Turns::new(max_outbox), Wakeups::default());
        Self { exchanges, interest, turns, wakeups, metrics }
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
        if of_key.is_empty() {
            self.interest.add(topic);
        }
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
            self.interest.remove(topic);
        }
    }

    /// How many sessions of this hub are subscribed to the topic.
    pub fn subscribers(&self, topic: &Topic) -> usize {
        of_key(&self.lock(), topic).len()
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

    /// Queues the events for everyone who is subscribed, in order, as far as their turns leave
    /// room for it: as a rule in one pass. They are woken by [`Hub::wake`]. To be called by
    /// one task, as is [`Hub::gap`].
    pub async fn deliver(&self, mut deliveries: &[Delivery]) {
        loop {
            let next = match self.pass(deliveries) {
                Pass::Over => return,
                Pass::NoRoom(next, bytes) => {
                    self.turns.room_for(bytes).await;
                    next
                }
                Pass::Enough(next) => {
                    yield_now().await;
                    next
                }
            };
            deliveries = &deliveries[next..];
        }
    }

    fn pass(&self, deliveries: &[Delivery]) -> Pass {
        let exchanges = self.lock();
        let mut wakeups = self.wakeups.adding();
        let mut queued = 0;
        for (at, delivery) in deliveries.iter().enumerate() {
            let of_key = of_key(&exchanges, &delivery.event.topic);
            if of_key.is_empty() {
                continue;
            }
            let bytes = Outbox::cost(&delivery.frame());
            if !self.turns.has_room_for(bytes) {
                return Pass::NoRoom(at, bytes);
            }
            if queued > 0 && queued + of_key.len() > QUEUED_AT_ONCE {
                return Pass::Enough(at);
            }
            if let Some((outbox, pushed_at)) = delivery.to_follow(of_key) {
                outbox.follow_next(pushed_at);
            }
            let fed = |to: &Subscriber| to.outbox.feed(delivery.frame(), &self.turns);
            wakeups.extend(of_key.iter().filter_map(fed));
            queued += of_key.len();
            self.metrics.deliveries.inc_by(of_key.len() as u64);
        }
        Pass::Over
    }

    /// Wakes, for ever, the sessions that events were queued for.
    pub async fn wake(&self) {
        self.wakeups.run().await;
    }

    /// Tells each subscription of the exchange that events may be missing. Many of one
    /// session are a burst as well; whoever subscribes during it may be told needlessly.
    pub async fn gap(&self, exchange: &Exchange) {
        for key in self.keys(exchange) {
            let gap = |form| protocol::gap(exchange, RoutingKey { text: &key, form });
            self.turns.room_for(Outbox::cost(&gap(KeyForm::String))).await;
            let exchanges = self.lock();
            let Some(of_key) = exchanges[exchange].by_key.get(&key) else { continue };
            let fed = |to: &Subscriber| to.outbox.feed(gap(to.form), &self.turns);
            self.wakeups.adding().extend(of_key.iter().filter_map(fed));
        }
    }

    fn keys(&self, exchange: &Exchange) -> Vec<Arc<str>> {
        let keys = |of: &Subscribers| of.by_key.keys().cloned().collect();
        self.lock().get(exchange).map(keys).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Exchanges> {
        self.exchanges.lock()
    }
}

fn of_key<'a>(exchanges: &'a Exchanges, topic: &Topic) -> &'a [Subscriber] {
    let of_exchange = exchanges.get(&topic.exchange);
    of_exchange.and_then(|of| of.by_key.get(topic.routing_key())).map_or(&[], Vec::as_slice)
}
