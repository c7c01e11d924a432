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
    bus::BusListener,
    event::{Event, Exchange, RawEvent},
    hub::{Delivery, Interest},
    metrics::Metrics,
    net::listener::Accepted,
};

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
    watcher: Arc<dyn Watcher>,
    metrics: Arc<Metrics>,
}

impl Workers {
    /// There is one at least; `interest` is that of their hubs.
    pub(crate) fn new(
        workers: Vec<Worker>,
        interest: Arc<Interest>,
        watcher: Arc<dyn Watcher>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { workers, served: AtomicUsize::new(0), interest, watcher, metrics }
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
    /// Whoever hears that the gateway is ready may subscribe at once.
    async fn attached(&self, exchange: &Exchange) {
        self.workers.iter().for_each(|worker| worker.attached(exchange));
    }

    /// Whoever watches wants all of them.
    fn keep_wanted(&self, exchange: &Exchange, events: &mut Vec<RawEvent<'_>>) {
        if !self.watcher.watches() {
            self.interest.keep_wanted(exchange, events);
        }
    }

    async fn events(&self, _exchange: &Exchange, wanted: Vec<Event>, unwanted: usize) {
        self.metrics.events_received.inc_by((wanted.len() + unwanted) as u64);
        if !wanted.is_empty() {
            wanted.iter().for_each(|event| self.watcher.passed(event));
            self.tell(Notice::Events(wanted.into_iter().map(Delivery::new).collect())).await;
        }
    }

    async fn gap(&self, exchange: &Exchange) {
        self.tell(Notice::Gap(exchange.clone())).await;
    }
}
