//! The runtimes that sessions live on, and what the bus tells them. Each is a current-thread
//! runtime; the first one is the main runtime, each further one a thread.

mod worker;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;

use self::worker::Notice;
pub use self::worker::{Host, Worker};
use crate::{
    bus::BusListener,
    event::{Event, Exchange},
    hub::Delivery,
    metrics::Metrics,
    net::listener::Accepted,
};

/// Sees each event that comes, whoever wants it.
pub trait Watcher: Send + Sync {
    fn passed(&self, event: &Event);
}

pub struct Workers {
    workers: Vec<Worker>,
    /// Connections so far: each goes to the next worker.
    served: AtomicUsize,
    watcher: Arc<dyn Watcher>,
    metrics: Arc<Metrics>,
}

impl Workers {
    /// There is one at least.
    pub fn new(workers: Vec<Worker>, watcher: Arc<dyn Watcher>, metrics: Arc<Metrics>) -> Self {
        Self { workers, served: AtomicUsize::new(0), watcher, metrics }
    }

    /// Hands each connection to the next worker.
    pub async fn serve(&self, accepted: Accepted) -> io::Result<()> {
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

    async fn event(&self, event: Event) {
        self.metrics.events_received.inc();
        self.watcher.passed(&event);
        self.tell(Notice::Event(Arc::new(Delivery::new(event)))).await;
    }

    async fn gap(&self, exchange: &Exchange) {
        self.tell(Notice::Gap(exchange.clone())).await;
    }
}
