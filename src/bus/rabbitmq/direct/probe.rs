//! A message to the exchange that only this replica's queue is bound to: whether it comes shows
//! that the binding is still there, and with it all others, and that the queue is read.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use lapin::{BasicProperties, message::Delivery, types::ShortString};
use tokio::time::{Instant, timeout};

use crate::{
    bus::rabbitmq::{
        PUBLISH_DEADLINE, message::Message, not_published::NotPublished, publisher::Publisher,
        topology,
    },
    event::Exchange,
};

const PROBE: &str = "myxi.probe";

pub(super) struct Probe {
    publisher: Publisher,
    exchange: ShortString,
    /// Nothing else is published under it.
    key: ShortString,
    /// Taken by the broker, and put into the queue.
    confirmed: AtomicU64,
    /// One was not.
    returned: AtomicBool,
}

impl Probe {
    pub(super) fn new(publisher: Publisher, exchange: &Exchange, key: ShortString) -> Arc<Self> {
        let exchange = topology::direct_exchange(exchange);
        let (confirmed, returned) = Default::default();
        Arc::new(Self { publisher, exchange, key, confirmed, returned })
    }

    /// Returns when it is in the queue.
    pub(super) async fn publish(&self) -> Result<(), NotPublished> {
        let _ = timeout(PUBLISH_DEADLINE, self.publisher.ready()).await;
        let probe = Message {
            exchange: self.exchange.clone(),
            routing_key: self.key.clone(),
            properties: BasicProperties::default().with_type(PROBE.into()),
            headers: Default::default(),
            body: Vec::new(),
            mandatory: true,
        };
        let published = self.publisher.publish(probe, Instant::now() + PUBLISH_DEADLINE).await;
        match published {
            Ok(()) => drop(self.confirmed.fetch_add(1, Relaxed)),
            Err(NotPublished::Unroutable) => self.returned.store(true, Relaxed),
            // Says nothing, and there will be another.
            Err(_) => {}
        }
        published
    }

    pub(super) fn publish_meanwhile(self: &Arc<Self>) {
        let probe = self.clone();
        tokio::spawn(async move { probe.publish().await });
    }

    pub(super) fn is(&self, delivery: &Delivery) -> bool {
        delivery.routing_key == self.key
    }

    /// How many were put into the queue.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.load(Relaxed)
    }

    /// The binding is gone.
    pub(super) fn leads_nowhere(&self) -> bool {
        self.returned.load(Relaxed)
    }
}
