//! Who is subscribed to what, and the hand-over of each event to them. A hub serves the
//! sessions of one runtime; it knows no bus and no socket.

mod delivery;
mod interest;
mod joining;
pub(crate) mod outbox;
mod wakeups;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::task::yield_now;

pub use self::{delivery::Delivery, interest::Interest, joining::Expected};
use self::{joining::Here, wakeups::Wakeups};
use crate::{
    event::{Exchange, Position, Topic},
    hub::outbox::{Outbox, Turns},
    ids::SessionId,
    metrics::Metrics,
    protocol::{self, Frame, KeyForm, Recovered, RoutingKey, Tag},
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

/// What one session is subscribed to in one exchange.
type Keys = Vec<(Arc<str>, KeyForm)>;

/// The subscribers of one exchange.
#[derive(Debug, Default)]
struct Subscribers {
    /// Whether the bus delivers this exchange yet.
    attached: bool,
    /// Sorted by session id: found by halving, and new sessions come last.
    by_key: HashMap<Arc<str>, Vec<Subscriber>>,
    /// So many entries and gaps were handed to this hub,
    handed: u64,
    /// and all events up to here are queued, where there is a log.
    position: Option<Position>,
}

#[derive(Debug)]
struct Subscriber {
    outbox: Arc<Outbox>,
    form: KeyForm,
    /// What was handed over up to then is not for it, though it may wait here still: what nobody
    /// had wanted by then would be missing in it.
    since: u64,
}

/// Where a pass over some deliveries ended.
enum Pass {
    Over,
    /// Before this delivery, whose frame has no room of so many bytes in this round.
    NoRoom(usize, usize),
    /// Before this delivery: others have waited long enough.
    Enough(usize),
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
    pub fn subscribe(
        &self,
        topic: &Topic,
        form: KeyForm,
        outbox: &Arc<Outbox>,
        tag: Option<&Tag>,
        recovered: Option<Recovered>,
    ) {
        let mut exchanges = self.lock();
        let Some(subscribers) = exchanges.get_mut(&topic.exchange) else { return };
        let id = self.position(&topic.exchange, subscribers);
        outbox.push(protocol::subscribed(tag, topic, form, id, recovered));
        self.register(subscribers, topic, form, outbox, None);
    }

    /// For what is handed over when so much was, or from now on.
    fn register(
        &self,
        subscribers: &mut Subscribers,
        topic: &Topic,
        form: KeyForm,
        outbox: &Arc<Outbox>,
        since: Option<u64>,
    ) {
        let of_key = subscribers.by_key.entry(topic.shared_routing_key()).or_default();
        if of_key.is_empty() {
            self.interest.add(topic);
        }
        let since = since.unwrap_or_else(|| self.interest.handed(&topic.exchange));
        let at = of_key.partition_point(|other| other.outbox.session() < outbox.session());
        of_key.insert(at, Subscriber { outbox: outbox.clone(), form, since });
        self.metrics.subscriptions.inc();
    }

    /// Queues a frame that says where each of these exchanges is: whoever is subscribed has, or
    /// will read before it, all events up to there.
    pub fn tell_positions(
        &self,
        exchanges: impl IntoIterator<Item = Exchange>,
        outbox: &Outbox,
        frame: impl FnOnce(&BTreeMap<Exchange, Position>) -> Frame,
    ) {
        let mut of_hub = self.lock();
        let position = |exchange: Exchange| {
            let position = self.position(&exchange, of_hub.get_mut(&exchange)?)?;
            Some((exchange, position))
        };
        outbox.push(frame(&exchanges.into_iter().filter_map(position).collect()));
    }

    /// Up to here all that subscribers want is queued. What nobody wanted is not handed over:
    /// behind it is where a hub stands that was handed everything else, and stays once it said so.
    fn position(&self, exchange: &Exchange, subscribers: &mut Subscribers) -> Option<Position> {
        let up_to = self.interest.up_to(exchange, subscribers.handed);
        subscribers.position = up_to.or(subscribers.position);
        subscribers.position
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
        self.lock().get(&topic.exchange).map_or(0, |of| of.of_key(topic.routing_key()).len())
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

    /// At this position of its log, where it has one.
    pub fn attached(&self, exchange: &Exchange, at: Option<Position>) {
        if let Some(subscribers) = self.lock().get_mut(exchange) {
            (subscribers.attached, subscribers.position) = (true, at);
        }
    }

    /// Queues the events of an entry, which is behind them, for everyone who is subscribed, in
    /// order, as far as their turns leave room for it: as a rule in one pass. They are woken by
    /// [`Hub::wake`]. To be called by one task, as is [`Hub::gap`].
    pub async fn deliver(
        &self,
        exchange: &Exchange,
        mut deliveries: &[Delivery],
        up_to: Option<Position>,
    ) {
        loop {
            let next = match self.pass(exchange, deliveries, up_to) {
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

    fn pass(&self, exchange: &Exchange, deliveries: &[Delivery], up_to: Option<Position>) -> Pass {
        let mut exchanges = self.lock();
        let Some(subscribers) = exchanges.get_mut(exchange) else { return Pass::Over };
        let number = subscribers.handed;
        let mut wakeups = self.wakeups.adding();
        let mut queued = 0;
        for (at, delivery) in deliveries.iter().enumerate() {
            let of_key = subscribers.of_key(delivery.routing_key());
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
            if let Some((to, pushed_at)) = delivery.to_follow(of_key)
                && to.since <= number
            {
                to.outbox.follow_next(pushed_at);
            }
            let mut due = 0;
            let fed = |to: &Subscriber| {
                due += 1;
                to.outbox.feed(delivery.frame(), &self.turns)
            };
            wakeups.extend(of_key.iter().filter(|to| to.since <= number).filter_map(fed));
            queued += of_key.len();
            self.metrics.deliveries.inc_by(due);
            // It may be left in the midst of an entry.
            subscribers.position = delivery.position().or(subscribers.position);
        }
        subscribers.passed(up_to);
        Pass::Over
    }

    /// Wakes, for ever, the sessions that events were queued for.
    pub async fn wake(&self) {
        self.wakeups.run().await;
    }

    /// Tells each subscription of the exchange that events may be missing, and each session, by
    /// the last of its own, where all is there again: whoever was told of a part only must not
    /// think so. Many of one session are a burst as well; whoever subscribes during it may be told
    /// needlessly.
    pub async fn gap(&self, exchange: &Exchange, whole_from: Option<Position>) {
        for (outbox, keys) in self.sessions(exchange) {
            let last = keys.len() - 1;
            for (at, (key, form)) in keys.iter().enumerate() {
                let id = whole_from.filter(|_| at == last);
                let gap = protocol::gap(exchange, RoutingKey { text: key, form: *form }, id);
                self.turns.room_for(Outbox::cost(&gap)).await;
                let exchanges = self.lock();
                if exchanges[exchange].holds(key, outbox.session()) {
                    let fed = outbox.feed(gap, &self.turns);
                    self.wakeups.adding().extend(fed.into_iter());
                }
            }
        }
        if let Some(subscribers) = self.lock().get_mut(exchange) {
            subscribers.passed(whole_from);
        }
    }

    /// The sessions that are subscribed and can be told of a gap, and to what.
    fn sessions(&self, exchange: &Exchange) -> Vec<(Arc<Outbox>, Keys)> {
        let exchanges = self.lock();
        let mut sessions = BTreeMap::new();
        let of_exchange = exchanges.get(exchange).into_iter().flat_map(|of| &of.by_key);
        for (key, of_key) in of_exchange {
            let told = of_key.iter().filter(|one| one.outbox.dialect().has_hints());
            for Subscriber { outbox, form, .. } in told {
                let (_, keys) = sessions
                    .entry(outbox.session())
                    .or_insert_with(|| (outbox.clone(), Vec::new()));
                keys.push((key.clone(), *form));
            }
        }
        sessions.into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Exchanges> {
        self.exchanges.lock()
    }
}

impl Subscribers {
    fn of_key(&self, key: &str) -> &[Subscriber] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    fn holds(&self, key: &str, session: SessionId) -> bool {
        let of_key = self.of_key(key);
        of_key.binary_search_by_key(&session, |other| other.outbox.session()).is_ok()
    }

    /// What was handed over is queued.
    fn passed(&mut self, up_to: Option<Position>) {
        self.handed += 1;
        self.position = up_to.or(self.position);
    }
}
