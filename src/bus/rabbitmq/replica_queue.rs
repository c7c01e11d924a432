//! Questions from one replica to another.
//!
//! Each replica has a queue, which one exchange for all of them leads to by the replica's
//! id, and which goes with the connection that it lives on. So a question to a replica
//! that was killed comes back at once. It proves no more than that: the replica may be cut
//! off from the broker, and serve its clients.

mod inbox;
mod waiting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use lapin::{
    BasicProperties,
    message::Delivery,
    options::BasicAckOptions,
    types::{FieldTable, ShortString},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use self::{
    inbox::{Binding, Home, Inbox},
    waiting::Waiting,
};
use super::{
    connection::{BrokerConnection, BrokerError},
    message::Message,
    not_published::NotPublished,
    publisher::Publisher,
    supervisor::{Link, NOT_CONNECTED_YET, Problem, backoff},
    topology,
};
use crate::{
    bus::{Answers, AskError},
    ids::ReplicaId,
};

/// Longest life of an answer, and of the work for it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// For letting go of the queue and answering what has come by then.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// How often the replica sees to it that it can be reached, and how long that may take.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

const QUESTION: &str = "myxi.question";
const ANSWER: &str = "myxi.answer";

/// This replica's questions, and its queue for those of others.
pub(super) struct ReplicaQueue {
    replica: ReplicaId,
    publisher: Publisher,
    waiting: Waiting,
    pub problem: Problem,
    closing: watch::Sender<bool>,
    /// Answers that did not reach the replica that asked.
    in_vain: AtomicU64,
}

impl ReplicaQueue {
    pub(super) fn new(replica: ReplicaId, publisher: Publisher) -> Self {
        let problem = Problem::new("the queue of this replica");
        problem.not_yet(NOT_CONNECTED_YET);
        let (waiting, in_vain) = Default::default();
        Self { replica, publisher, waiting, problem, closing: watch::Sender::default(), in_vain }
    }

    /// Why other replicas cannot be asked or answered now, if so.
    pub(super) fn asking_problem(&self) -> Option<String> {
        self.publisher.problem()
    }

    pub(super) async fn ask(
        &self,
        replica: ReplicaId,
        question: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, AskError> {
        if let Some(problem) = self.problem.get() {
            let problem = format!("no answer would reach this replica: {problem}");
            return Err(AskError::Unavailable(problem));
        }
        let until = Instant::now() + deadline;
        let Some((asked, mut answer)) = self.waiting.register() else {
            return Err(AskError::Unavailable("too many questions wait for an answer".into()));
        };
        let properties = BasicProperties::default()
            .with_type(QUESTION.into())
            .with_reply_to(topology::replica_key(self.replica))
            .with_correlation_id(asked.id.as_str().into())
            .with_expiration(expiration(deadline));
        let message = to_replica(topology::replica_key(replica), properties, question);
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
            Err(NotPublished::Unroutable) => Err(AskError::Unreachable(replica)),
            Err(NotPublished::Unavailable(reason)) => Err(AskError::Unavailable(reason)),
            Err(NotPublished::Overloaded(reason)) => Err(AskError::Unavailable(reason.into())),
        }
    }

    /// Answers until it is closed, on a connection that nobody else uses.
    pub(super) async fn run(self: Arc<Self>, mut link: Link, answers: Arc<dyn Answers>) {
        let mut closing = self.closing.subscribe();
        let mut answering = JoinSet::new();
        let mut attached = None;
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => {}
            () = self.read(&mut link, &mut attached, &mut answering, &answers) => {}
        }
        if let Some(inbox) = attached
            && let Err(e) = inbox.delete().await
        {
            tracing::debug!("left to go with its connection: {e}");
        }
        while answering.join_next().await.is_some() {}
    }

    /// Lets go of the queue, so that who asks from now on is told at once, and returns
    /// when what came before is answered.
    pub(super) async fn close(&self, deadline: Instant) {
        self.closing.send_replace(true);
        let _ =
            timeout_at(deadline.min(Instant::now() + CLOSE_DEADLINE), self.closing.closed()).await;
    }

    /// Reads the questions of others, and the answers to ours. Returns when the bus has
    /// been closed.
    async fn read(
        self: &Arc<Self>,
        link: &mut Link,
        attached: &mut Option<Inbox>,
        answering: &mut JoinSet<()>,
        answers: &Arc<dyn Answers>,
    ) {
        let mut backoff = backoff();
        let mut last = None;
        while let Some(connection) = link.connection().await {
            let home = Home::on(connection, self.replica, &mut last);
            let error = match Inbox::open(home).await {
                Ok(inbox) => {
                    backoff.reset();
                    self.problem.set(None);
                    let binding = inbox.binding();
                    tokio::select! {
                        error = self.serve(attached.insert(inbox), answering, answers) => error,
                        error = self.watch(&binding, &home.connection) => error,
                    }
                }
                Err(e) => e,
            };
            *attached = None;
            error.show(&self.problem);
            // It may be of no use, whatever its state: another one, or another broker, may be.
            if matches!(error, BrokerError::Timeout(_)) {
                home.connection.give_up(format!("the queue of this replica: {error}"));
            }
            backoff.wait().await;
        }
    }

    async fn serve(
        self: &Arc<Self>,
        inbox: &mut Inbox,
        answering: &mut JoinSet<()>,
        answers: &Arc<dyn Answers>,
    ) -> BrokerError {
        loop {
            let delivery = tokio::select! {
                Some(_) = answering.join_next() => continue,
                delivery = inbox.next() => match delivery {
                    Ok(delivery) => delivery,
                    Err(e) => return e,
                },
            };
            match delivery.properties.kind().as_ref().map(ShortString::as_str) {
                // One that comes again may have been answered, and acted on, before.
                Some(QUESTION) if !delivery.redelivered => {
                    answering.spawn(self.clone().answer(delivery, answers.clone()));
                    continue;
                }
                Some(ANSWER) => self.resolve(&delivery),
                _ => {}
            }
            acknowledge(&delivery).await;
        }
    }

    /// Sees to it that this replica can be reached; returns when it cannot.
    ///
    /// Nobody tells the owner of a queue that its binding was deleted, or the exchange with
    /// all of them. And a node that is cut off from its cluster, or was, serves the queue as
    /// ever, but the others do not know of it.
    async fn watch(&self, binding: &Binding, connection: &BrokerConnection) -> BrokerError {
        loop {
            sleep(CHECK_INTERVAL).await;
            if let Err(e) = binding.make().await {
                return e;
            }
            // Once may be bad luck: a queue that is bound again, a process that was stopped.
            if self.is_reached().await == Some(false) && self.is_reached().await == Some(false) {
                let reason = "what is sent to this replica does not come to this node";
                connection.give_up(reason.into());
                return BrokerError::Unexpected(reason.into());
            }
        }
    }

    /// Sends itself an answer that nobody gave. `None` if it could not be sent, which says
    /// nothing of the way back.
    async fn is_reached(&self) -> Option<bool> {
        let (asked, answer) = self.waiting.register()?;
        let until = Instant::now() + CHECK_INTERVAL;
        let properties = answer_to(asked.id.as_str().into());
        let message = to_replica(topology::replica_key(self.replica), properties, Vec::new());
        match self.publisher.publish(message, until).await {
            Ok(()) => Some(matches!(timeout_at(until, answer).await, Ok(Ok(_)))),
            Err(NotPublished::Unroutable) => Some(false),
            Err(_) => None,
        }
    }

    /// Has one question answered. Unacknowledged until then, which bounds how many there are.
    async fn answer(self: Arc<Self>, question: Delivery, answers: Arc<dyn Answers>) {
        let until = Instant::now() + ANSWER_DEADLINE;
        let properties = &question.properties;
        let (reply_to, id) = (properties.reply_to().clone(), properties.correlation_id().clone());
        let answered = timeout_at(until, answers.answer(question.data.clone())).await;
        if let (Ok(answer), Some(reply_to), Some(id)) = (answered, reply_to, id) {
            let answer = to_replica(reply_to, answer_to(id), answer);
            if let Err(e) = self.publisher.publish(answer, until).await {
                self.answered_in_vain(&e);
            }
        }
        acknowledge(&question).await;
    }

    /// Who asked is told that no answer came. Logs less and less: there may be many.
    fn answered_in_vain(&self, error: &NotPublished) {
        let in_vain = self.in_vain.fetch_add(1, Relaxed) + 1;
        if in_vain.is_power_of_two() {
            tracing::warn!(in_vain, "an answer did not reach the replica that asked: {error}");
        }
    }

    fn resolve(&self, answer: &Delivery) {
        if let Some(id) = answer.properties.correlation_id() {
            self.waiting.resolve(id.as_str(), &answer.data);
        }
    }
}

/// A failure means that the channel is gone, and with it what was to be acknowledged.
async fn acknowledge(delivery: &Delivery) {
    let _ = timeout(ANSWER_DEADLINE, delivery.ack(BasicAckOptions::default())).await;
}

fn to_replica(key: ShortString, properties: BasicProperties, body: Vec<u8>) -> Message {
    let headers = FieldTable::default();
    let exchange = topology::replicas_exchange();
    Message { exchange, routing_key: key, properties, headers, body, mandatory: true }
}

fn answer_to(id: ShortString) -> BasicProperties {
    BasicProperties::default()
        .with_type(ANSWER.into())
        .with_correlation_id(id)
        .with_expiration(expiration(ANSWER_DEADLINE))
}

fn expiration(after: Duration) -> ShortString {
    after.as_millis().to_string().into()
}
