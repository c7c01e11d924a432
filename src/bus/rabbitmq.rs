//! The bus of a fleet: for each exchange a RabbitMQ stream, which every replica reads, and
//! for each replica a queue, for the questions of others.
//!
//! Two connections: a broker that runs short of memory freezes whole connections of
//! publishers, acks and heartbeats included, so reading has one of its own.
//!
//! `amqps://` trusts the certificates of the system; `SSL_CERT_FILE` or `SSL_CERT_DIR`
//! names others.

mod connection;
mod driver;
mod ledger;
mod letters;
mod nodes;
mod not_published;
mod poison;
mod publisher;
mod replica_queue;
mod stream;
mod supervisor;
mod topology;
mod url;
mod window;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use lapin::{
    BasicProperties,
    types::{FieldTable, ShortString},
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

pub use self::url::{BrokerUrl, InvalidBrokerUrl};
use self::{
    connection::HELD_BACK,
    publisher::{Message, Publisher},
    replica_queue::ReplicaQueue,
    stream::{Health, Reader, Readers},
    supervisor::{Link, Supervisor},
    window::Window,
};
use super::{
    AskError, BusListener, BusStatus, EventBus, ExchangeConfig, ExchangeStatus, PublishError,
    Skipped,
};
use crate::{
    event::{Exchange, OutgoingEvent},
    ids::ReplicaId,
};

/// From a push to the broker's confirm.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);

pub struct RabbitMqConfig {
    /// The nodes of one cluster; at least one.
    pub urls: Vec<BrokerUrl>,
    pub exchanges: Vec<ExchangeConfig>,
    pub replica: ReplicaId,
    /// In bytes of JSON. What other programs publish beyond it is skipped.
    pub max_event_size: usize,
}

pub struct RabbitMqBus {
    publishing: Link,
    reading: Link,
    window: Window,
    exchanges: HashMap<Exchange, (Publisher, Arc<Health>)>,
    replica_queue: Arc<ReplicaQueue>,
    /// Ended by [`EventBus::close`], or with the bus.
    tasks: Mutex<JoinSet<()>>,
}

impl RabbitMqBus {
    /// Comes back at once; the broker need not be there yet. Must be called inside a Tokio
    /// runtime, which then runs the bus.
    pub fn start(config: RabbitMqConfig, listener: Arc<dyn BusListener>) -> Arc<Self> {
        let RabbitMqConfig { urls, exchanges: configs, replica, max_event_size } = config;
        let urls: Arc<[_]> = urls.into();
        let mut tasks = JoinSet::new();
        let mut connect = |purpose: &str| {
            let name = format!("myxi {replica} {purpose}");
            let (supervisor, link) = Supervisor::new(name, urls.clone());
            tasks.spawn(supervisor.run());
            link
        };
        let (publishing, reading) = (connect("publishing"), connect("reading"));

        let (window, readers) = (Window::new(), Readers::new(urls.len()));
        let mut exchanges = HashMap::new();
        for config in configs {
            let name = config.name.clone();
            let (publisher, driver) =
                Publisher::new(publishing.clone(), window.clone(), Some(config.clone()));
            let reader = Reader::new(
                config,
                reading.clone(),
                publisher.clone(),
                listener.clone(),
                readers.clone(),
                max_event_size,
            );
            exchanges.insert(name, (publisher, reader.health()));
            tasks.spawn(driver.run());
            tasks.spawn(reader.run());
        }

        let (publisher, driver) = Publisher::new(publishing.clone(), window.clone(), None);
        let replica_queue = Arc::new(ReplicaQueue::new(replica, publisher));
        tasks.spawn(driver.run());
        tasks.spawn(replica_queue.clone().run(reading.clone(), listener));

        let tasks = Mutex::new(tasks);
        Arc::new(Self { publishing, reading, window, exchanges, replica_queue, tasks })
    }
}

#[async_trait]
impl EventBus for RabbitMqBus {
    async fn publish(&self, events: Vec<OutgoingEvent>) -> Vec<Result<(), PublishError>> {
        let deadline = Instant::now() + PUBLISH_DEADLINE;
        let admit = |event: OutgoingEvent| {
            let Some((publisher, _)) = self.exchanges.get(&event.topic.exchange) else {
                return Err(PublishError::UnknownExchange(event.topic.exchange));
            };
            Ok((publisher, publisher.admit(event.body.len())?, to_message(event)))
        };
        // All are admitted before the first one waits: closing does not come between them.
        let admitted: Vec<_> = events.into_iter().map(admit).collect();

        let mut enqueued = Vec::with_capacity(admitted.len());
        for admitted in admitted {
            enqueued.push(match admitted {
                Ok((publisher, admission, message)) => {
                    publisher.enqueue(admission, message, deadline).await.map_err(Into::into)
                }
                Err(e) => Err(e),
            });
        }
        let mut results = Vec::with_capacity(enqueued.len());
        for enqueued in enqueued {
            results.push(match enqueued {
                Ok(pending) => pending.outcome(deadline).await.map_err(Into::into),
                Err(e) => Err(e),
            });
        }
        results
    }

    async fn ask(
        &self,
        replica: ReplicaId,
        question: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, AskError> {
        self.replica_queue.ask(replica, question, deadline).await
    }

    fn status(&self) -> BusStatus {
        let healths = || self.exchanges.iter().map(|(name, (_, health))| (name, health));
        let mut problems = Vec::new();
        let links = [("publishing", &self.publishing), ("reading", &self.reading)];
        for (purpose, link) in links {
            problems.extend(link.problem().map(|reason| format!("RabbitMQ, {purpose}: {reason}")));
        }
        let connected = problems.is_empty();
        let blocked = self.publishing.is_blocked();
        if blocked {
            problems.push(HELD_BACK.into());
        }
        if problems.is_empty() {
            for (exchange, (publisher, health)) in &self.exchanges {
                let publishing = publisher.problem().map(|e| ("publishing", e));
                let reading = health.problem.get().map(|e| ("reading", e));
                problems.extend(
                    [publishing, reading]
                        .into_iter()
                        .flatten()
                        .map(|(what, reason)| format!("exchange {exchange}, {what}: {reason}")),
                );
            }
            let queue = self.replica_queue.problem.get();
            problems.extend(queue.map(|reason| format!("the queue of this replica: {reason}")));
        }
        let status = |(name, health): (&Exchange, &Arc<Health>)| ExchangeStatus {
            name: name.clone(),
            attached: connected && health.problem.get().is_none(),
            lag: health.lag.lately(),
        };
        let mut exchanges: Vec<_> = healths().map(status).collect();
        exchanges.sort_by(|a, b| a.name.cmp(&b.name));
        let mut skipped = Skipped::default();
        healths().for_each(|(_, health)| health.skipped.add_to(&mut skipped));
        BusStatus {
            kind: "rabbitmq",
            attached_once: healths().all(|(_, health)| health.attached.load(Ordering::Relaxed)),
            problems,
            connected,
            blocked,
            exchanges,
            reconnects: self.publishing.reconnects() + self.reading.reconnects(),
            skipped,
        }
    }

    async fn close(&self, deadline: Instant) {
        self.window.close(deadline.min(Instant::now() + PUBLISH_DEADLINE)).await;
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let mut reading = self.reading.clone();
        let _ = timeout_at(deadline, self.replica_queue.close(&mut reading)).await;
        tokio::join!(self.publishing.close(deadline), self.reading.close(deadline));
    }
}

fn to_message(event: OutgoingEvent) -> Message {
    // A Topic and an OutgoingEvent are checked to be short strings; were one not, an empty
    // key is better than the panic of `into`.
    let short = |text: &str| ShortString::try_new(text).unwrap_or_default();
    let mut headers = FieldTable::default();
    headers.insert(stream::PUSHED_AT_HEADER.into(), stream::pushed_at_value(event.pushed_at));
    Message {
        exchange: topology::input_exchange(&event.topic.exchange),
        routing_key: short(event.topic.routing_key()),
        properties: BasicProperties::default()
            .with_content_type("application/json".into())
            .with_message_id(short(&event.id)),
        headers,
        body: event.body,
    }
}
