//! The bus of a single process: what is published here is delivered here. The default
//! while no RabbitMQ is given; then every replica is an island.

mod log;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use self::log::Log;
use super::{
    AskError, BusListener, BusStatus, EventBus, ExchangeStatus, Lag, LogEntry, PublishError,
    Replicas, SeenIds,
};
use crate::{
    event::{Entry, Exchange, OutgoingEvent, Position, RawBody, RawEvent},
    ids::ReplicaId,
};

/// How long a publisher waits for a listener that is behind.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);

pub struct MemoryBus {
    lanes: HashMap<Exchange, Arc<Lane>>,
    attached: Arc<AtomicUsize>,
    closed: AtomicBool,
    _tasks: JoinSet<()>,
}

/// One exchange.
#[derive(Default)]
struct Lane {
    log: Log,
    lag: Lag,
    /// Events that were pushed again.
    duplicates: AtomicU64,
}

impl MemoryBus {
    /// Attaches every exchange at once. Must be called inside a Tokio runtime.
    pub fn start(exchanges: Vec<Exchange>, listener: Arc<dyn BusListener>) -> Arc<Self> {
        let attached = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let mut lanes = HashMap::new();
        for name in exchanges {
            let lane = Arc::new(Lane::default());
            tasks.spawn(deliver(name.clone(), lane.clone(), listener.clone(), attached.clone()));
            lanes.insert(name, lane);
        }
        Arc::new(Self { lanes, attached, closed: AtomicBool::new(false), _tasks: tasks })
    }

    async fn append(&self, event: OutgoingEvent, deadline: Instant) -> Result<(), PublishError> {
        let exchange = &event.topic.exchange;
        let lane = self.lanes.get(exchange);
        let lane = lane.ok_or_else(|| PublishError::UnknownExchange(exchange.clone()))?;
        timeout_at(deadline, lane.log.append(event))
            .await
            .map_err(|_| PublishError::Overloaded("this replica is behind".into()))
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn publish(&self, events: Vec<OutgoingEvent>) -> Vec<Result<(), PublishError>> {
        if self.closed.load(Ordering::Relaxed) {
            let closed = PublishError::Unavailable("the bus is closed".into());
            return vec![Err(closed); events.len()];
        }
        let deadline = Instant::now() + PUBLISH_DEADLINE;
        let mut results = Vec::with_capacity(events.len());
        for event in events {
            results.push(self.append(event, deadline).await);
        }
        results
    }

    fn status(&self) -> BusStatus {
        let status = |(name, lane): (&Exchange, &Arc<Lane>)| ExchangeStatus {
            name: name.clone(),
            attached: true,
            lag: lane.lag.lately(),
        };
        let duplicates = |lane: &Arc<Lane>| lane.duplicates.load(Ordering::Relaxed);
        let mut exchanges: Vec<_> = self.lanes.iter().map(status).collect();
        exchanges.sort_by(|a, b| a.name.cmp(&b.name));
        BusStatus {
            kind: "memory",
            attached_once: self.attached.load(Ordering::Relaxed) == self.lanes.len(),
            connected: true,
            exchanges,
            duplicates: self.lanes.values().map(duplicates).sum(),
            ..BusStatus::default()
        }
    }

    /// Nobody confirms here: there is nothing to wait for.
    async fn close(&self, _deadline: Instant) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// There is nobody else to ask: whoever had another id was an earlier process.
#[async_trait]
impl Replicas for MemoryBus {
    async fn ask(
        &self,
        replica: ReplicaId,
        _question: Vec<u8>,
        _deadline: Duration,
    ) -> Result<Vec<u8>, AskError> {
        Err(AskError::NoSuchReplica(replica))
    }
}

/// One exchange: its events to the listener, one after another.
async fn deliver(
    exchange: Exchange,
    lane: Arc<Lane>,
    listener: Arc<dyn BusListener>,
    attached: Arc<AtomicUsize>,
) {
    // No process before or after this one has the same.
    let hash = rand::random();
    // The entry that everything comes behind is no event.
    let id = |offset| Entry { offset, hash };
    listener.attached(&exchange, Some(id(0))).await;
    attached.fetch_add(1, Ordering::Relaxed);
    let mut seen = SeenIds::default();
    for offset in 0.. {
        let event = lane.log.read(offset).await;
        lane.lag.read(Some(event.pushed_at));
        let entry = id(offset + 1);
        let repeated = event.deduplicate && !seen.insert(event.id.as_bytes());
        lane.duplicates.fetch_add(repeated.into(), Ordering::Relaxed);
        let entry = LogEntry {
            id: entry,
            events: raw(&event, entry).filter(|_| !repeated).into_iter().collect(),
            repeated: repeated.into(),
        };
        listener.entry(&exchange, entry).await;
        lane.log.done(&event);
    }
}

fn raw(event: &OutgoingEvent, entry: Entry) -> Option<RawEvent<'_>> {
    let (key, body) = (event.topic.routing_key().as_bytes(), RawBody::Valid(&event.body));
    let position = Position::behind(entry, 0);
    // It was checked when it was pushed, by a bound of its own.
    RawEvent::new(key, body, position, Some(event.pushed_at), usize::MAX).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventBody, InvalidEvent, Topic};

    /// Is never done with what it was told first.
    struct Stuck;

    #[async_trait]
    impl BusListener for Stuck {
        async fn attached(&self, _: &Exchange, _: Option<Entry>) {}

        async fn event(&self, _: Event) {}

        async fn entry(&self, _: &Exchange, _: LogEntry<'_>) -> Vec<InvalidEvent> {
            std::future::pending().await
        }

        async fn gap(&self, _: &Exchange, _: Option<Position>) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_publisher_waits_for_a_listener_that_is_behind_and_not_for_ever() {
        let exchange = Exchange::new("widgets").expect("valid");
        let bus = MemoryBus::start(vec![exchange.clone()], Arc::new(Stuck));
        let event = || {
            let topic = Topic::new(exchange.clone(), "k").expect("valid");
            let body = EventBody::new("e", "").expect("valid");
            OutgoingEvent::new(topic, body, "id", 1_000).expect("valid")
        };
        let start = Instant::now();
        let events = (0..2_000).map(|_| event()).collect();
        let results = bus.publish(events).await;
        assert_eq!(start.elapsed(), PUBLISH_DEADLINE, "all of one call wait together");
        let taken = results.iter().take_while(|result| result.is_ok()).count();
        assert!((900..1_100).contains(&taken), "{taken}");
        let behind = PublishError::Overloaded("this replica is behind".into());
        assert!(results[taken..].iter().all(|result| *result == Err(behind.clone())));
    }
}
