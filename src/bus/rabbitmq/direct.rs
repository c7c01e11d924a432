//! Reads a direct exchange, which forwards to this replica's queue what is published to the keys
//! that somebody here holds. It is what the Ruby original publishes to.
//!
//! There is no log behind it. What is published while no queue of this replica is there, or while
//! its bindings are not, is gone; so is what the broker drops because this replica is too slow.
//! A gap is told of each, when what comes next is sure to be read. Nobody says that an exchange
//! was deleted, and all bindings with it, and publishers make it again at once: so a probe is
//! published where nothing comes, which must find its way back.

mod binder;
mod feeder;
mod message;
mod probe;
mod queue;

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use lapin::message::Delivery;
use tokio::time::Instant;

use self::{
    binder::{Binder, Target},
    probe::Probe,
    queue::{Dropped, Overflow, Queue},
};
pub(super) use self::{
    feeder::{Feeder, Feeding},
    message::outgoing,
};
use super::{
    ExchangeConfig, PUBLISH_DEADLINE,
    connection::{BrokerConnection, BrokerError},
    health::Health,
    publisher::Publisher,
    supervisor::{Link, backoff},
    topology,
    watchdog::{Advice, TICK, Watchdog},
};
use crate::{
    bus::{BusListener, Keys},
    ids::ReplicaId,
    net::backoff::Backoff,
};

pub(super) struct Reader {
    pub config: ExchangeConfig,
    pub replica: ReplicaId,
    pub link: Link,
    pub publisher: Publisher,
    pub listener: Arc<dyn BusListener>,
    pub keys: Arc<Keys>,
    pub max_event_size: usize,
    pub health: Arc<Health>,
}

/// All that is read with.
struct Attached {
    queue: Queue,
    overflow: Overflow,
    probe: Arc<Probe>,
    binder: Binder,
}

impl Reader {
    pub(super) async fn run(self) {
        let (mut link, mut backoff) = (self.link.clone(), backoff());
        while let Some(connection) = link.connection().await {
            let error = self.read(&connection, &mut backoff).await;
            // Whoever subscribes from now on is told that it cannot be.
            self.keys.begin_anew();
            error.show(&self.health.problem);
            if matches!(error, BrokerError::Timeout(_) | BrokerError::Stuck) {
                connection.give_up(error.to_string());
            }
            backoff.wait().await;
        }
    }

    /// Until that fails.
    async fn read(&self, connection: &BrokerConnection, backoff: &mut Backoff) -> BrokerError {
        let Attached { mut queue, mut overflow, probe, binder } =
            match self.attach(connection).await {
                Ok(attached) => attached,
                Err(error) => return error,
            };
        backoff.reset();
        self.health.problem.set(None);
        let dropped = overflow.dropped();
        tokio::select! {
            error = binder.run() => error,
            error = overflow.watch() => error,
            Err(error) = self.follow(&mut queue, &dropped, &probe) => error,
        }
    }

    /// Begins to read, binds what is held, and makes sure that it comes.
    async fn attach(&self, connection: &BrokerConnection) -> Result<Attached, BrokerError> {
        // Nothing is bound that no probe could follow: an alarm may last, and each attempt costs.
        self.publisher.may_publish(Instant::now() + PUBLISH_DEADLINE).await?;
        topology::ensure(connection, &self.config).await?;
        let exchange = &self.config.name;
        let name = topology::new_direct_queue(exchange, self.replica);
        let (mut queue, overflow) = Queue::open(connection, name.clone()).await?;
        let keys = self.keys.clone();
        let target = Target::Queue(name.clone());
        let binder = Binder::new(connection.channel().await?, exchange, target, keys);
        // Under a key that nobody else knows.
        binder.bind_beside(name.as_str()).await?;
        binder.bind_wanted().await?;
        let probe = Probe::new(self.publisher.clone(), exchange, name);
        probe.publish().await?;
        queue.pass_until(|delivery| probe.is(delivery)).await?;
        self.keys.open();
        if self.health.attached.load(Relaxed) {
            self.tell_gap().await;
        } else {
            // What differs is said once.
            topology::warn_of_differences(connection, &self.config).await?;
            self.listener.attached(exchange, None).await;
            self.health.attached.store(true, Relaxed);
        }
        Ok(Attached { queue, overflow, probe, binder })
    }

    /// Delivers until reading fails.
    async fn follow(
        &self,
        queue: &mut Queue,
        dropped: &Dropped,
        probe: &Arc<Probe>,
    ) -> Result<Infallible, BrokerError> {
        let mut watchdog = Watchdog::new();
        loop {
            let delivery = queue.next(Instant::now() + TICK).await?;
            if dropped.anything() {
                // What is here came before what was dropped, but may be told no more behind it.
                queue.begin_anew().await?;
                tracing::warn!(exchange = %self.config.name, "too slow: the broker dropped events");
                dropped.told();
                self.tell_gap().await;
                continue;
            }
            match delivery {
                Some(delivery) => {
                    watchdog.heard();
                    if !probe.is(&delivery) {
                        self.deliver(&delivery).await;
                    }
                }
                None => match watchdog.tick(probe.confirmed()) {
                    Advice::Wait => {}
                    Advice::PublishMarker => probe.publish_meanwhile(),
                    Advice::Stuck => {
                        self.health.stalls.fetch_add(1, Relaxed);
                        return Err(BrokerError::Stuck);
                    }
                },
            }
            if probe.leads_nowhere() {
                return Err(BrokerError::Unexpected("the exchange was made anew".into()));
            }
        }
    }

    async fn deliver(&self, delivery: &Delivery) {
        let exchange = &self.config.name;
        match message::event(delivery, exchange, self.max_event_size) {
            Ok(event) => {
                self.health.lag.read(event.pushed_at);
                self.listener.event(event).await;
            }
            Err(error) => self.health.skip(exchange, None, (&error).into()),
        }
    }

    async fn tell_gap(&self) {
        self.health.gaps.fetch_add(1, Relaxed);
        self.listener.gap(&self.config.name, None).await;
    }
}
