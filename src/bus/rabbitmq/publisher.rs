//! Publishes to one exchange, pipelined, with confirms: a caller learns of each message
//! whether the broker has it. Never publishes anything twice.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{
    StreamExt,
    future::{Either, poll_immediate, ready},
    stream::FuturesUnordered,
};
use lapin::{
    BasicProperties, Channel,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    connection::{BrokerConnection, BrokerError, within},
    ledger::Ledger,
    not_published::NotPublished,
    supervisor::{Backoff, Link},
    topology,
    window::{Admission, MAX_UNCONFIRMED, Slot, Window},
};
use crate::bus::ExchangeConfig;

/// A channel that confirms nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(30);

/// How long a broken channel may take to say what became of its messages.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);

/// Tells one message from another when the broker returns it; see [`Ledger`].
const SEQUENCE_HEADER: &str = "x-myxi-seq";

/// A message on its way to the broker.
pub struct Message {
    pub exchange: ShortString,
    pub routing_key: ShortString,
    /// Their headers are those below.
    pub properties: BasicProperties,
    pub headers: FieldTable,
    pub body: Vec<u8>,
}

type Outcome = Result<(), NotPublished>;

struct Job {
    message: Message,
    receipt: Receipt,
}

/// The driver's half of a job: tells the outcome and gives the slot back.
struct Receipt {
    outcome: oneshot::Sender<Outcome>,
    _slot: Slot,
}

impl Receipt {
    fn settle(self, outcome: Outcome) {
        // A caller who has stopped waiting was told "unconfirmed".
        let _ = self.outcome.send(outcome);
    }
}

/// The caller's half.
pub struct Pending(oneshot::Receiver<Outcome>);

impl Pending {
    pub async fn outcome(self, deadline: Instant) -> Outcome {
        match timeout_at(deadline, self.0).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(NotPublished::Unconfirmed),
        }
    }
}

/// Takes messages and hands them, in order, to its [`Driver`].
#[derive(Clone)]
pub struct Publisher {
    jobs: mpsc::Sender<Job>,
    /// Why nothing can be published now, if so.
    problem: watch::Receiver<Option<String>>,
    /// What the broker has confirmed, and not returned.
    confirmed: Arc<AtomicU64>,
    link: Link,
    window: Window,
}

impl Publisher {
    /// With an `exchange`, its place on the broker is repaired when it breaks.
    pub fn new(link: Link, window: Window, exchange: Option<ExchangeConfig>) -> (Self, Driver) {
        // No job is sent without a slot: this never fills.
        let (jobs, queue) = mpsc::channel(MAX_UNCONFIRMED);
        let (problem_sender, problem) =
            watch::channel(Some("not connected to the broker yet".into()));
        let confirmed = Arc::<AtomicU64>::default();
        let driver = Driver {
            link: link.clone(),
            exchange,
            queue,
            problem: problem_sender,
            confirmed: confirmed.clone(),
        };
        (Self { jobs, problem, confirmed, link, window }, driver)
    }

    /// Whether a message of this size may be published now. Does not wait.
    pub fn admit(&self, size: usize) -> Result<Admission, NotPublished> {
        if self.link.is_blocked() {
            return Err(NotPublished::Overloaded("the broker holds publishers back"));
        }
        if let Some(reason) = self.problem() {
            return Err(NotPublished::Unavailable(reason));
        }
        self.window.admit(size)
    }

    /// Comes back when the message has its place in the order.
    pub async fn enqueue(
        &self,
        admission: Admission,
        message: Message,
        deadline: Instant,
    ) -> Result<Pending, NotPublished> {
        let slot = admission.slot(deadline).await?;
        let (outcome, pending) = oneshot::channel();
        let job = Job { message, receipt: Receipt { outcome, _slot: slot } };
        self.jobs.try_send(job).map_err(|e| NotPublished::Unavailable(e.to_string()))?;
        Ok(Pending(pending))
    }

    pub async fn publish(&self, message: Message, deadline: Instant) -> Outcome {
        let admission = self.admit(message.body.len())?;
        self.enqueue(admission, message, deadline).await?.outcome(deadline).await
    }

    pub fn problem(&self) -> Option<String> {
        self.link.problem().or_else(|| self.problem.borrow().clone())
    }

    /// How many messages the broker has confirmed, and not returned, so far.
    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Relaxed)
    }

    /// Waits until something can be published.
    pub async fn ready(&self) {
        // An error means that the bus is closed, which publishing then tells.
        let _ = self.problem.clone().wait_for(Option::is_none).await;
    }
}

/// Owns the channel, and opens another when it breaks.
pub struct Driver {
    link: Link,
    exchange: Option<ExchangeConfig>,
    queue: mpsc::Receiver<Job>,
    problem: watch::Sender<Option<String>>,
    confirmed: Arc<AtomicU64>,
}

/// Why a channel is left.
enum Left {
    ConnectionLost,
    /// The exchange, its log or the binding may be missing.
    Broken(String),
}

impl Driver {
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut repair = false;
        loop {
            let (mut link, exchange) = (self.link.clone(), self.exchange.clone());
            let opening = async {
                let connection = link.connection().await?;
                let channel = open(&connection, exchange.as_ref().filter(|_| repair)).await;
                Some((connection, channel))
            };
            let Some(Some((connection, opened))) = self.refuse_during(opening).await else {
                return;
            };
            let left = match opened {
                Ok(channel) => {
                    backoff.reset();
                    self.problem.send_replace(None);
                    self.drive(&connection, &channel).await
                }
                Err(e) => Left::Broken(e.to_string()),
            };
            let reason = match left {
                Left::ConnectionLost => "the connection to the broker was lost".into(),
                Left::Broken(reason) => reason,
            };
            repair = self.link.problem().is_none();
            self.problem.send_replace(Some(reason));
            if self.refuse_during(backoff.wait()).await.is_none() {
                return;
            }
        }
    }

    /// Answers whoever comes while nothing can be published. `None` when nobody can come
    /// any more.
    async fn refuse_during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                job = self.queue.recv() => {
                    let reason = self.problem.borrow().clone().unwrap_or_default();
                    job?.receipt.settle(Err(NotPublished::Unavailable(reason)));
                }
            }
        }
    }

    async fn drive(&mut self, connection: &Arc<BrokerConnection>, channel: &Channel) -> Left {
        let link = self.link.clone();
        let mut lost = pin!(link.lost(connection));
        let mut in_flight = FuturesUnordered::new();
        let mut ledger = Ledger::default();
        let mut leaving = None;
        let mut patience = Instant::now() + STALLED;
        loop {
            if in_flight.is_empty()
                && let Some(left) = leaving
            {
                return left;
            }
            tokio::select! {
                biased;
                Some(first) = in_flight.next() => {
                    patience = Instant::now() + if leaving.is_none() { STALLED } else { LEAVE_DEADLINE };
                    let mut written = vec![first];
                    while let Some(Some(more)) = poll_immediate(in_flight.next()).await {
                        written.push(more);
                    }
                    if let Some(reason) = self.settle(&mut ledger, written) {
                        leaving.get_or_insert(Left::Broken(reason));
                    }
                }
                () = &mut lost, if leaving.is_none() => {
                    patience = Instant::now() + LEAVE_DEADLINE;
                    leaving = Some(Left::ConnectionLost);
                }
                job = self.queue.recv(), if leaving.is_none() => match job {
                    Some(Job { message, receipt }) => {
                        if in_flight.is_empty() {
                            patience = Instant::now() + STALLED;
                        }
                        let sequence = ledger.expect(receipt);
                        let mut writing = Box::pin(write(channel.clone(), sequence, message));
                        // The first poll hands it to lapin: here, so that order is kept.
                        let confirm = match poll_immediate(&mut writing).await {
                            Some(done) => Either::Left(ready(done)),
                            None => Either::Right(writing),
                        };
                        in_flight.push(confirm);
                    }
                    None => leaving = Some(Left::Broken("the bus is closed".into())),
                },
                () = sleep_until(patience), if !in_flight.is_empty() => match leaving {
                    Some(left) => return left,
                    None if connection.is_blocked() => patience = Instant::now() + STALLED,
                    None => return Left::Broken("the broker confirms nothing".into()),
                },
            }
        }
    }

    /// Settles what can be settled; answers why the channel is to be left, if so.
    fn settle(&self, ledger: &mut Ledger<Receipt>, written: Vec<(u64, Written)>) -> Option<String> {
        let (mut confirms, mut leave) = (Vec::with_capacity(written.len()), None);
        for (sequence, written) in written {
            let (carried, outcome, reason) = match written {
                Written::Confirmed { acked: true, carried } => {
                    confirms.push((sequence, carried));
                    continue;
                }
                // What the broker could not take care of it may still have in part.
                Written::Confirmed { acked: false, carried } => {
                    (carried, NotPublished::Unconfirmed, None)
                }
                Written::Lost(reason) => (None, NotPublished::Unconfirmed, Some(reason)),
                Written::No(reason) => {
                    (None, NotPublished::Unavailable(reason.clone()), Some(reason))
                }
            };
            if let Some(receipt) = ledger.give_up(sequence, carried) {
                receipt.settle(Err(outcome));
            }
            leave = leave.or(reason);
        }
        // A return is how the broker tells of a queue that is gone, and no fault; but an
        // exchange should always lead to its log.
        if self.exchange.is_some() && confirms.iter().any(|(_, carried)| carried.is_some()) {
            leave.get_or_insert_with(|| "the broker returns what is published".into());
        }
        for (receipt, published) in ledger.confirm(&confirms) {
            self.confirmed.fetch_add(u64::from(published), Relaxed);
            receipt.settle(if published { Ok(()) } else { Err(NotPublished::Unroutable) });
        }
        leave
    }
}

async fn open(
    connection: &BrokerConnection,
    repair: Option<&ExchangeConfig>,
) -> Result<Channel, BrokerError> {
    if let Some(config) = repair {
        topology::ensure(connection, config).await?;
    }
    let channel = connection.channel().await?;
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    within("asking for confirms", confirms).await?;
    Ok(channel)
}

/// What became of one message, as far as lapin tells.
enum Written {
    /// Not a complete message went out.
    No(String),
    /// It went out, and then the channel broke.
    Lost(String),
    /// `carried` is a returned message: some message's, not always this one's.
    Confirmed { acked: bool, carried: Option<u64> },
}

async fn write(channel: Channel, sequence: u64, message: Message) -> (u64, Written) {
    let Message { exchange, routing_key, properties, mut headers, body } = message;
    headers.insert(SEQUENCE_HEADER.into(), AMQPValue::Timestamp(sequence));
    let properties = properties.with_headers(headers);
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let confirm =
        match channel.basic_publish(exchange, routing_key, options, &body, properties).await {
            Ok(confirm) => confirm,
            Err(e) => return (sequence, Written::No(e.to_string())),
        };
    let written = match confirm.await {
        Ok(confirmation) => {
            let acked = confirmation.is_ack();
            let returned = confirmation.take_message();
            Written::Confirmed {
                acked,
                carried: returned.map(|message| sequence_of(&message.properties)),
            }
        }
        Err(e) => Written::Lost(e.to_string()),
    };
    (sequence, written)
}

fn sequence_of(properties: &BasicProperties) -> u64 {
    let headers = properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(SEQUENCE_HEADER)) {
        Some(AMQPValue::Timestamp(sequence)) => *sequence,
        // No message has it.
        _ => 0,
    }
}
