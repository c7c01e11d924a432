//! The bus of a fleet: for each exchange a RabbitMQ stream, which every replica reads, or a
//! direct exchange; and for each replica a queue, for the questions of others.
//!
//! A broker that runs short of memory freezes whole connections of publishers, acks and
//! heartbeats included; and what cannot be read in one log, or a node that has no copy of it,
//! costs the connection that reads it. So there is one connection for publishing, one for each
//! exchange that is read ([`lane`]), and one for questions, as the queue of a replica lives as
//! long as its connection.
//!
//! `amqps://` trusts the certificates of the system; `SSL_CERT_FILE` or `SSL_CERT_DIR`
//! names others.

pub mod batch;
mod connection;
mod direct;
mod entry;
mod exchange;
mod health;
mod lane;
mod marker;
mod message;
mod nodes;
mod not_published;
mod product;
mod publisher;
mod push;
mod replica_queue;
mod stream;
mod supervisor;
mod tail;
mod topology;
mod trial;
mod url;
mod watchdog;
mod window;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use self::{
    connection::HELD_BACK,
    lane::{Lane, Shared, connect},
    publisher::{Published, Publisher},
    replica_queue::ReplicaQueue,
    stream::Past,
    supervisor::Link,
    window::Window,
};
pub use self::{
    exchange::{ExchangeConfig, ExchangeKind},
    url::{BrokerUrl, InvalidBrokerUrl},
};
pub(crate) use self::{
    product::product,
    topology::log_stream,
    trial::{Barrier, NotConnected, NotDone, Trial},
};
use super::{
    Answers, AskError, Bindings, BusListener, BusStatus, EventBus, LogReading, NotRead,
    PublishError, Replicas, SharedLog, Skipped,
};
use crate::{
    event::{Exchange, OutgoingEvent},
    ids::ReplicaId,
};

/// For a connection over which a log can be read from before.
const PAST_DEADLINE: Duration = Duration::from_secs(5);

/// From a push to the broker's confirm.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);

pub struct RabbitMqConfig {
    /// The nodes of one cluster; at least one.
    pub urls: Vec<BrokerUrl>,
    pub exchanges: Vec<ExchangeConfig>,
    /// What is held of exchanges that have bindings.
    pub bindings: Arc<Bindings>,
    pub replica: ReplicaId,
    /// In bytes of JSON. What other programs publish beyond it is skipped.
    pub max_event_size: usize,
}

pub struct RabbitMqBus {
    publishing: Link,
    questions: Link,
    window: Window,
    /// Of questions and answers: they do not wait behind events, nor take from their share.
    questions_window: Window,
    published: Arc<Published>,
    exchanges: HashMap<Exchange, Lane>,
    replica_queue: Arc<ReplicaQueue>,
    max_event_size: usize,
    /// Ended by [`EventBus::close`], or with the bus.
    tasks: Mutex<JoinSet<()>>,
}

impl RabbitMqBus {
    /// Returns at once; the broker need not be there yet. Must be called inside a Tokio
    /// runtime, which then runs the bus.
    pub fn start(
        config: RabbitMqConfig,
        listener: Arc<dyn BusListener>,
        answers: Arc<dyn Answers>,
    ) -> Arc<Self> {
        let RabbitMqConfig { urls, exchanges, bindings, replica, max_event_size } = config;
        let urls: Arc<[_]> = urls.into();
        let mut tasks = JoinSet::new();
        let publishing = connect(&urls, replica, "publishing", &mut tasks);
        let questions = connect(&urls, replica, "questions", &mut tasks);
        let (window, published) = (Window::new(), Arc::<Published>::default());

        let questions_window = Window::new();
        let quota = questions_window.quota();
        let (asking, driver) = Publisher::new(publishing.clone(), quota, None, published.clone());
        let replica_queue = Arc::new(ReplicaQueue::new(replica, asking.clone()));
        tasks.spawn(driver.run());
        tasks.spawn(replica_queue.clone().run(questions.clone(), answers));

        let shared = Shared {
            urls,
            replica,
            publishing,
            asking,
            window,
            published,
            bindings,
            listener,
            max_event_size,
        };
        let mut start = |config: ExchangeConfig| {
            (config.name.clone(), Lane::start(config, &shared, &mut tasks))
        };
        let exchanges = exchanges.into_iter().map(&mut start).collect();
        let Shared { publishing, window, published, .. } = shared;
        let tasks = Mutex::new(tasks);
        Arc::new(Self {
            publishing,
            questions,
            window,
            questions_window,
            published,
            exchanges,
            replica_queue,
            max_event_size,
            tasks,
        })
    }
}

#[async_trait]
impl EventBus for RabbitMqBus {
    async fn publish(&self, events: Vec<OutgoingEvent>) -> Vec<Result<(), PublishError>> {
        let publisher = |exchange: &Exchange| Some(&self.exchanges.get(exchange)?.publisher);
        push::push(events, publisher, Instant::now() + PUBLISH_DEADLINE).await
    }

    fn status(&self) -> BusStatus {
        let mut problems = self.connection_problems();
        let connected = problems.is_empty();
        let blocked = self.publishing.is_blocked();
        if blocked {
            problems.push(HELD_BACK.into());
        }
        if problems.is_empty() {
            problems = self.other_problems();
        }
        let lanes = || self.exchanges.values();
        let mut exchanges: Vec<_> =
            self.exchanges.iter().map(|(name, lane)| lane.status(name)).collect();
        exchanges.sort_by(|a, b| a.name.cmp(&b.name));
        let mut skipped = Skipped::default();
        lanes().for_each(|lane| lane.health.skipped.add_to(&mut skipped));
        BusStatus {
            kind: "rabbitmq",
            attached_once: lanes().all(Lane::attached_once),
            problems,
            connected,
            blocked,
            exchanges,
            reconnects: self.links().map(|(_, link)| link.reconnects()).sum(),
            gaps: lanes().map(|lane| lane.health.gaps.load(Relaxed)).sum(),
            stalls: lanes().map(|lane| lane.health.stalls.load(Relaxed)).sum(),
            skipped,
            duplicates: lanes().map(|lane| lane.health.duplicates.load(Relaxed)).sum(),
            published: self.published.so_far(),
        }
    }

    async fn close(&self, deadline: Instant) {
        // Before publishing ends, so that what this replica was asked is answered.
        self.replica_queue.close(deadline).await;
        let until = deadline.min(Instant::now() + PUBLISH_DEADLINE);
        tokio::join!(self.window.close(until), self.questions_window.close(until));
        self.tasks.lock().abort_all();
        join_all(self.exchanges.values().map(|lane| lane.leave(deadline))).await;
        join_all(self.links().map(|(_, link)| link.close(deadline))).await;
    }
}

#[async_trait]
impl Replicas for RabbitMqBus {
    async fn ask(
        &self,
        replica: ReplicaId,
        question: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, AskError> {
        self.replica_queue.ask(replica, question, deadline).await
    }
}

#[async_trait]
impl SharedLog for RabbitMqBus {
    async fn mark(&self, exchange: &Exchange) -> Option<u64> {
        let publisher = &self.exchanges.get(exchange)?.publisher;
        let id = marker::publish(publisher, exchange).await.ok()?;
        Some(entry::marker_hash(&id))
    }

    async fn read(&self, exchange: &Exchange, offset: u64) -> Result<Box<dyn LogReading>, NotRead> {
        let lane = self.exchanges.get(exchange).ok_or(NotRead::Unavailable)?;
        let mut link = lane.reading.clone();
        let connection = timeout(PAST_DEADLINE, link.connection()).await.ok().flatten();
        let connection = connection.ok_or(NotRead::Unavailable)?;
        let past = Past::leading_to(offset, &connection, exchange, self.max_event_size).await;
        let past = past.map_err(|error| stream::not_read(exchange, &error))?;
        Ok(Box::new(past))
    }
}

impl RabbitMqBus {
    /// All connections, with their purpose.
    fn links(&self) -> impl Iterator<Item = (&'static str, &Link)> {
        let own = [("publishing", &self.publishing), ("questions", &self.questions)];
        own.into_iter().chain(self.exchanges.values().flat_map(Lane::links))
    }

    /// As a rule they share one reason, which is told once for each purpose.
    fn connection_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (purpose, link) in self.links() {
            let problem = link.problem().map(|reason| format!("RabbitMQ, {purpose}: {reason}"));
            problems.extend(problem.filter(|problem| !problems.contains(problem)));
        }
        problems
    }

    /// What is wrong where all connections are up.
    fn other_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (exchange, lane) in &self.exchanges {
            let told = |(what, reason)| format!("exchange {exchange}, {what}: {reason}");
            problems.extend(lane.problems().map(told));
        }
        let queue = self.replica_queue.problem.get();
        problems.extend(queue.map(|reason| format!("the queue of this replica: {reason}")));
        let asking = self.replica_queue.asking_problem();
        problems.extend(asking.map(|reason| format!("publishing to other replicas: {reason}")));
        problems
    }
}
