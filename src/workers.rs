//! The runtimes that sessions live on, and what the bus tells them. Each is a current-thread
//! runtime; the first one is the main runtime, each further one a thread.

mod queue;
mod worker;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;

use self::queue::Notice;
pub(crate) use self::worker::{Host, Worker};
use crate::{
    bus::{BusListener, LogEntry},
    event::{Entry, Event, Exchange, InvalidEvent, Position},
    hub::{Delivery, Interest},
    metrics::Metrics,
    net::listener::Accepted,
    ring::Ring,
};

/// What is read of all logs before the gateway is ready, in bytes: a second or two.
const PAST_MAX: usize = 64 << 20;

/// Sees each event that comes, whoever wants it.
pub(crate) trait Watcher: Send + Sync {
    /// Whether it looks at all; it may begin to at any time.
    fn watches(&self) -> bool;

    fn passed(&self, event: &Event);
}

pub(crate) struct Workers {
    workers: Vec<Worker>,
    /// Connections so far: each goes to the next worker.
    served: AtomicUsize,
    interest: Arc<Interest>,
    ring: Arc<Ring>,
    watcher: Arc<dyn Watcher>,
    metrics: Arc<Metrics>,
}

impl Workers {
    /// There is one at least; `interest` is that of their hubs.
    pub(crate) fn new(
        workers: Vec<Worker>,
        interest: Arc<Interest>,
        ring: Arc<Ring>,
        watcher: Arc<dyn Watcher>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { workers, served: AtomicUsize::new(0), interest, ring, watcher, metrics }
    }

    /// Hands each connection to the next worker.
    pub(crate) async fn serve(&self, accepted: Accepted) -> io::Result<()> {
        let served = self.served.fetch_add(1, Ordering::Relaxed);
        self.workers[served % self.workers.len()].serve(accepted).await
    }

    async fn tell(&self, notice: Notice) {
        for worker in &self.workers {
            worker.notice(&notice).await;
        }
    }
}

#[async_trait]
impl BusListener for Workers {
    fn past_wanted(&self) -> usize {
        PAST_MAX.min(self.ring.capacity()) / self.ring.exchanges()
    }

    fn past(&self, exchange: &Exchange, entry: LogEntry<'_>) {
        self.ring.append(exchange, entry.id, &entry.events);
    }

    fn past_lost(&self, exchange: &Exchange) {
        self.ring.interrupt(exchange, None);
    }

    /// Whoever hears that the gateway is ready may subscribe at once.
    async fn attached(&self, exchange: &Exchange, at: Option<Entry>) {
        let position = at.map(Position::end_of);
        if let Some(at) = at {
            self.ring.append(exchange, at, &[]);
        }
        self.interest.begin(exchange, position);
        self.workers.iter().for_each(|worker| worker.attached(exchange, position));
    }

    async fn entry(&self, exchange: &Exchange, entry: LogEntry<'_>) -> Vec<InvalidEvent> {
        let LogEntry { id, mut events, repeated } = entry;
        let all = events.len() + repeated;
        let up_to = Position::end_of(id);
        // Before anybody may stand behind it.
        self.ring.append(exchange, id, &events);
        // Whoever watches wants all of them.
        let watched = self.watcher.watches();
        let mut invalid = Vec::new();
        if self.interest.pass(exchange, up_to, &mut events, watched) {
            let read = events.iter().map(|event| event.read(exchange));
            let wanted = read.filter_map(|event| event.map_err(|error| invalid.push(error)).ok());
            let deliveries = wanted.map(|event| {
                self.watcher.passed(&event);
                Delivery::new(event)
            });
            let (exchange, deliveries) = (exchange.clone(), deliveries.collect());
            self.tell(Notice::Events { exchange, up_to: Some(up_to), deliveries }).await;
        }
        self.metrics.events_received.inc_by((all - invalid.len()) as u64);
        invalid
    }

    async fn event(&self, event: Event) {
        self.metrics.events_received.inc();
        if self.interest.pass_one(&event.topic, self.watcher.watches()) {
            self.watcher.passed(&event);
            let exchange = event.topic.exchange.clone();
            let deliveries = [Delivery::new(event)].into();
            self.tell(Notice::Events { exchange, up_to: None, deliveries }).await;
        }
    }

    async fn gap(&self, exchange: &Exchange, whole_from: Option<Position>) {
        // Who finds the ring whole again waits for hubs that have told of the gap.
        self.interest.interrupt(exchange, whole_from);
        self.ring.interrupt(exchange, whole_from);
        self.tell(Notice::Gap { exchange: exchange.clone(), whole_from }).await;
    }
}
