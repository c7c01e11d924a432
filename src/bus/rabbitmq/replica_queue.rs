//! Questions from one replica to another, through a queue that each replica has.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions,
        QueueDeleteOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    connection::{BrokerConnection, BrokerError, within},
    not_published::NotPublished,
    publisher::{Message, Publisher},
    supervisor::{Backoff, Link, Problem},
    topology,
};
use crate::{
    bus::{AskError, BusListener},
    ids::ReplicaId,
};

/// A queue without a reader goes after this long: its replica is gone.
const QUEUE_EXPIRES_MS: i32 = 60_000;

/// What waits in a queue of a replica that does not read.
const QUEUE_LENGTH: i32 = 1_000;

/// Questions that are answered at the same time; also what lapin holds of them.
const PREFETCH: u16 = 64;

/// Questions of this replica that wait for an answer.
const MAX_ASKED: usize = 1_000;

/// Longest life of an answer, and of the work for it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

const QUESTION: &str = "myxi.question";
const ANSWER: &str = "myxi.answer";

/// The questions that wait for an answer, by correlation id.
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Vec<u8>>>>>;

/// This replica's questions, and its queue for those of others.
pub struct ReplicaQueue {
    replica: ReplicaId,
    publisher: Publisher,
    waiting: Waiting,
    pub problem: Problem,
}

impl ReplicaQueue {
    pub fn new(replica: ReplicaId, publisher: Publisher) -> Self {
        let problem = Problem::default();
        problem.set(Some("not connected to the broker yet".into()));
        Self { replica, publisher, waiting: Arc::default(), problem }
    }

    pub async fn ask(
        &self,
        replica: ReplicaId,
        question: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, AskError> {
        if let Some(problem) = self.problem.get() {
            return Err(AskError::Unavailable(problem));
        }
        let until = Instant::now() + deadline;
        let Some((asked, mut answer)) = Asked::register(&self.waiting) else {
            return Err(AskError::Unavailable("too many questions wait for an answer".into()));
        };
        let properties = BasicProperties::default()
            .with_type(QUESTION.into())
            .with_reply_to(topology::replica_queue(self.replica))
            .with_correlation_id(asked.id.as_str().into())
            .with_expiration(expiration(deadline));
        let message = to_queue(topology::replica_queue(replica), properties, question);
        let outcome = tokio::select! {
            biased;
            // An answer says more than the broker's confirm.
            Ok(answer) = &mut answer => return Ok(answer),
            outcome = self.publisher.publish(message, until) => outcome,
        };
        match outcome {
            Ok(()) | Err(NotPublished::Unconfirmed) => match timeout_at(until, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                _ => Err(AskError::NoAnswer(replica)),
            },
            Err(NotPublished::Unroutable) => Err(AskError::NoSuchReplica(replica)),
            Err(NotPublished::Unavailable(reason)) => Err(AskError::Unavailable(reason)),
            Err(NotPublished::Overloaded(reason)) => Err(AskError::Unavailable(reason.into())),
        }
    }

    pub async fn run(self: Arc<Self>, mut link: Link, listener: Arc<dyn BusListener>) {
        let mut backoff = Backoff::default();
        let mut answering = JoinSet::new();
        let mut purge = false;
        while let Some(connection) = link.connection().await {
            let error = match self.attach(&connection, purge).await {
                Ok(mut consumer) => {
                    backoff.reset();
                    self.problem.set(None);
                    self.serve(&mut consumer, &listener, &mut answering).await
                }
                Err(e) => e,
            };
            // Whatever cost the connection may be in this queue, and would come again.
            purge = error.unreadable().is_some();
            self.problem.set(Some(error.to_string()));
            backoff.wait().await;
        }
    }

    /// Lets go of the queue, so that who asks from now on is told at once.
    pub async fn close(&self, link: &mut Link) {
        if link.problem().is_some() {
            return;
        }
        let Some(connection) = link.connection().await else { return };
        if let Ok(channel) = connection.channel().await {
            let queue = topology::replica_queue(self.replica);
            let deleting = channel.queue_delete(queue, QueueDeleteOptions::default());
            if let Err(e) = within("deleting this replica's queue", deleting).await {
                tracing::debug!("left to expire: {e}");
            }
        }
    }

    async fn attach(
        &self,
        connection: &BrokerConnection,
        purge: bool,
    ) -> Result<Consumer, BrokerError> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(QUEUE_EXPIRES_MS));
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(QUEUE_LENGTH));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        let name = topology::replica_queue(self.replica);
        let channel = connection.channel().await?;
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let declaring = channel.queue_declare(name.clone(), options, arguments);
        within("declaring this replica's queue", declaring).await?;
        if purge {
            let purging = channel.queue_purge(name.clone(), QueuePurgeOptions::default());
            within("emptying this replica's queue", purging).await?;
        }
        within("setting a prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default()))
            .await?;
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(name, "".into(), options, FieldTable::default());
        within("reading this replica's queue", consuming).await
    }

    async fn serve(
        &self,
        consumer: &mut Consumer,
        listener: &Arc<dyn BusListener>,
        answering: &mut JoinSet<()>,
    ) -> BrokerError {
        loop {
            let delivery = tokio::select! {
                Some(_) = answering.join_next() => continue,
                delivery = consumer.next() => match delivery {
                    Some(Ok(delivery)) => delivery,
                    Some(Err(e)) => return e.into(),
                    None => return BrokerError::Unexpected("the broker ended the reading".into()),
                },
            };
            match delivery.properties.kind().as_ref().map(ShortString::as_str) {
                // One that comes again may have been answered, and acted on, before.
                Some(QUESTION) if !delivery.redelivered => {
                    answering.spawn(answer(delivery, listener.clone(), self.publisher.clone()));
                    continue;
                }
                Some(ANSWER) => self.resolve(&delivery),
                _ => {}
            }
            acknowledge(&delivery).await;
        }
    }

    fn resolve(&self, delivery: &Delivery) {
        let id = delivery.properties.correlation_id().as_ref().map(ShortString::as_str);
        let asked = id.and_then(|id| lock(&self.waiting).remove(id));
        if let Some(asked) = asked {
            // Nobody waits any more: too late.
            let _ = asked.send(delivery.data.clone());
        }
    }
}

/// One question that waits for its answer; forgotten on drop.
struct Asked {
    id: String,
    waiting: Waiting,
}

impl Asked {
    /// `None` when too many wait already.
    fn register(waiting: &Waiting) -> Option<(Self, oneshot::Receiver<Vec<u8>>)> {
        let id = format!("{:032x}", rand::random::<u128>());
        let (sender, answer) = oneshot::channel();
        let mut map = lock(waiting);
        if map.len() >= MAX_ASKED {
            return None;
        }
        map.insert(id.clone(), sender);
        Some((Self { id, waiting: waiting.clone() }, answer))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        lock(&self.waiting).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has one question answered. Unacknowledged until then, which bounds how many there are.
async fn answer(question: Delivery, listener: Arc<dyn BusListener>, publisher: Publisher) {
    let until = Instant::now() + ANSWER_DEADLINE;
    let properties = &question.properties;
    let (reply_to, id) = (properties.reply_to().clone(), properties.correlation_id().clone());
    let answered = timeout_at(until, listener.question(question.data.clone())).await;
    if let (Ok(answer), Some(reply_to), Some(id)) = (answered, reply_to, id) {
        let properties = BasicProperties::default()
            .with_type(ANSWER.into())
            .with_correlation_id(id)
            .with_expiration(expiration(ANSWER_DEADLINE));
        let published = publisher.publish(to_queue(reply_to, properties, answer), until).await;
        if let Err(e) = published {
            tracing::warn!("another replica's question was answered in vain: {e}");
        }
    }
    acknowledge(&question).await;
}

/// A failure means that the channel is gone, and with it what was to be acknowledged.
async fn acknowledge(delivery: &Delivery) {
    let _ = timeout(ANSWER_DEADLINE, delivery.ack(BasicAckOptions::default())).await;
}

/// Through the default exchange, which leads to the queue of that name.
fn to_queue(queue: ShortString, properties: BasicProperties, body: Vec<u8>) -> Message {
    let headers = FieldTable::default();
    Message { exchange: "".into(), routing_key: queue, properties, headers, body }
}

fn expiration(after: Duration) -> ShortString {
    after.as_millis().to_string().into()
}
