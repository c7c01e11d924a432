//! The bus of a single process: what is published here is delivered here. The default
//! while no RabbitMQ is given; then every replica is an island.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    AskError, BusListener, BusStatus, EventBus, ExchangeStatus, Lag, PublishError, Replicas,
};
use crate::{
    event::{Event, EventBody, Exchange, OutgoingEvent, Position, PushedAt, Topic},
    ids::ReplicaId,
};

/// Events of one exchange that wait for a listener that is behind.
const QUEUE: usize = 1_000;

/// How long a publisher waits for room in that queue.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);

pub struct MemoryBus {
    queues: HashMap<Exchange, Queue>,
    attached: Arc<AtomicUsize>,
    closed: AtomicBool,
    _tasks: JoinSet<()>,
}

struct Queue {
    events: mpsc::Sender<Waiting>,
    lag: Arc<Lag>,
}

/// An event that waits for its listener.
type Waiting = (Topic, EventBody, PushedAt);

impl MemoryBus {
    /// Attaches every exchange at once. Must be called inside a Tokio runtime.
    pub fn start(exchanges: Vec<Exchange>, listener: Arc<dyn BusListener>) -> Arc<Self> {
        let attached = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let mut queues = HashMap::new();
        for name in exchanges {
            let (events, waiting) = mpsc::channel(QUEUE);
            let lag = Arc::new(Lag::default());
            let delivering =
                deliver(name.clone(), waiting, lag.clone(), listener.clone(), attached.clone());
            tasks.spawn(delivering);
            queues.insert(name, Queue { events, lag });
        }
        Arc::new(Self { queues, attached, closed: AtomicBool::new(false), _tasks: tasks })
    }

    async fn enqueue(&self, event: OutgoingEvent, deadline: Instant) -> Result<(), PublishError> {
        let OutgoingEvent { topic, body, pushed_at, .. } = event;
        let Some(queue) = self.queues.get(&topic.exchange) else {
            return Err(PublishError::UnknownExchange(topic.exchange));
        };
        match timeout_at(deadline, queue.events.send((topic, body, pushed_at))).await {
            Ok(sent) => sent.map_err(|_| PublishError::Unavailable("the bus is closed".into())),
            Err(_) => Err(PublishError::Overloaded("this replica is behind".into())),
        }
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
            results.push(self.enqueue(event, deadline).await);
        }
        results
    }

    fn status(&self) -> BusStatus {
        let status = |(name, queue): (&Exchange, &Queue)| ExchangeStatus {
            name: name.clone(),
            attached: true,
            lag: queue.lag.lately(),
        };
        let mut exchanges: Vec<_> = self.queues.iter().map(status).collect();
        exchanges.sort_by(|a, b| a.name.cmp(&b.name));
        BusStatus {
            kind: "memory",
            attached_once: self.attached.load(Ordering::Relaxed) == self.queues.len(),
            connected: true,
            exchanges,
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
    mut waiting: mpsc::Receiver<Waiting>,
    lag: Arc<Lag>,
    listener: Arc<dyn BusListener>,
    attached: Arc<AtomicUsize>,
) {
    listener.attached(&exchange).await;
    attached.fetch_add(1, Ordering::Relaxed);
    let mut position = 0;
    while let Some((topic, body, pushed_at)) = waiting.recv().await {
        let pushed_at = Some(pushed_at);
        lag.read(pushed_at);
        let event = Event { topic, body, position: Some(Position(position)), pushed_at };
        listener.event(event).await;
        position += 1;
    }
}
