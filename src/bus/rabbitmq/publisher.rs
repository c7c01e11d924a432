//! Publishes to one exchange, pipelined, with confirms: a caller learns of each message
//! whether the broker has it. Never publishes anything twice.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
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
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout_at},
};

use super::{
    connection::{BrokerConnection, BrokerError, HELD_BACK, within},
    ledger::Ledger,
    marker,
    not_published::NotPublished,
    supervisor::{Backoff, Link, NOT_CONNECTED_YET, Problem},
    topology,
    window::{Admission, MAX_UNCONFIRMED, Slot, Window},
};
use crate::bus::ExchangeConfig;

/// While messages wait: seconds without a confirm after which they are given up.
const STALLED_SECONDS: u32 = 10;

/// Attempts to open a channel that may go unanswered on one connection, 5 s each.
const UNANSWERED: u32 = 2;

/// How long a broken channel may take to say what became of its messages.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);

/// Tells one message from another when the broker returns it; see [`Ledger`].
const SEQUENCE_HEADER: &str = "x-myxi-seq";

/// Messages to a log between two markers that go with them.
const MARKER_EVERY: u32 = 250;

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
    _slot: Option<Slot>,
}

impl Receipt {
    /// For a message that nobody waits for.
    fn unheard() -> Self {
        Self { outcome: oneshot::channel().0, _slot: None }
    }

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
    /// Whether there is a channel to publish on.
    open: watch::Receiver<bool>,
    problem: Arc<Problem>,
    confirmed: Arc<AtomicU64>,
    link: Link,
    window: Window,
}

impl Publisher {
    /// With an `exchange`, its place on the broker is repaired when it breaks.
    pub fn new(link: Link, window: Window, exchange: Option<ExchangeConfig>) -> (Self, Driver) {
        // No job is sent without a slot: this never fills.
        let (jobs, queue) = mpsc::channel(MAX_UNCONFIRMED);
        let (open_sender, open) = watch::channel(false);
        let problem = Arc::new(Problem::new(match &exchange {
            Some(ExchangeConfig { name, .. }) => format!("exchange {name}, publishing"),
            None => "publishing to other replicas".into(),
        }));
        problem.not_yet(NOT_CONNECTED_YET);
        let confirmed = Arc::<AtomicU64>::default();
        let driver = Driver {
            link: link.clone(),
            exchange,
            queue,
            open: open_sender,
            problem: problem.clone(),
            confirmed: confirmed.clone(),
            unmarked: 0,
            backoff: Backoff::default(),
            refused: false,
        };
        (Self { jobs, open, problem, confirmed, link, window }, driver)
    }

    /// Whether a message of this size may be published now. Does not wait.
    pub fn admit(&self, size: usize) -> Result<Admission, NotPublished> {
        if self.link.is_blocked() {
            return Err(NotPublished::Overloaded("the broker holds publishers back"));
        }
        if let Some(reason) = self.link.problem() {
            return Err(NotPublished::Unavailable(reason));
        }
        // Beside an open channel a problem is one that only publishing shows to be over.
        if !*self.open.borrow() {
            let reason = self.problem.get().unwrap_or_else(|| NOT_CONNECTED_YET.into());
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
        let job = Job { message, receipt: Receipt { outcome, _slot: Some(slot) } };
        self.jobs.try_send(job).map_err(|e| NotPublished::Unavailable(e.to_string()))?;
        Ok(Pending(pending))
    }

    pub async fn publish(&self, message: Message, deadline: Instant) -> Outcome {
        let admission = self.admit(message.body.len())?;
        self.enqueue(admission, message, deadline).await?.outcome(deadline).await
    }

    pub fn problem(&self) -> Option<String> {
        self.link.problem().or_else(|| self.problem.get())
    }

    /// How many messages the broker has confirmed, and not returned, so far.
    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// Waits until something can be published.
    pub async fn ready(&self) {
        // An error means that the bus is closed, which publishing then tells.
        let _ = self.open.clone().wait_for(|open| *open).await;
    }
}

/// Owns the channel, and opens another when it breaks.
pub struct Driver {
    link: Link,
    exchange: Option<ExchangeConfig>,
    queue: mpsc::Receiver<Job>,
    open: watch::Sender<bool>,
    problem: Arc<Problem>,
    confirmed: Arc<AtomicU64>,
    /// Messages written since the last marker of this driver's.
    unmarked: u32,
    /// Starts anew when something was published.
    backoff: Backoff,
    /// The problem is the fate of something that was published: it lasts until something
    /// else fares better, however many channels are opened meanwhile.
    refused: bool,
}

/// Why a channel is left.
enum Left {
    /// A matter of the whole connection, which is told by whoever keeps it.
    Connection(&'static str),
    /// It could not be used, or not any more.
    Broken(String),
    /// The broker did not want what was published: the exchange, its log, the binding or a
    /// right may be missing.
    Refused(String),
    Closed,
}

const CONNECTION_LOST: Left = Left::Connection("the connection to the broker was lost");

impl Driver {
    pub async fn run(mut self) {
        let mut unanswered = 0;
        let mut repair = false;
        loop {
            let (mut link, exchange) = (self.link.clone(), self.exchange.clone());
            let opening = async {
                let connection = link.connection().await?;
                // Nothing is sent on a connection that is blocked.
                connection.unblocked().await;
                let opened = open(&connection, exchange.as_ref().filter(|_| repair)).await;
                Some((connection, opened))
            };
            let Some(Some((connection, opened))) = self.refuse_during(opening).await else {
                return;
            };
            let left = match opened {
                Ok((channel, unbound)) => {
                    unanswered = 0;
                    self.opened(unbound);
                    let left = self.drive(&connection, &channel).await;
                    self.open.send_replace(false);
                    left
                }
                Err(e) if e.is_of_the_connection() => CONNECTION_LOST,
                Err(_) if connection.is_blocked() => Left::Connection(HELD_BACK),
                Err(e) => {
                    let silent = matches!(e, BrokerError::Timeout(_));
                    unanswered = if silent { unanswered + 1 } else { 0 };
                    if unanswered >= UNANSWERED && !has_confirmed_lately(&connection) {
                        unanswered = 0;
                        connection.give_up(format!("no channel could be opened on it: {e}"));
                    }
                    Left::Broken(e.to_string())
                }
            };
            repair = matches!(left, Left::Broken(_) | Left::Refused(_));
            match left {
                Left::Connection(reason) => {
                    self.backoff.reset();
                    if !self.refused {
                        self.problem.not_yet(reason);
                    }
                }
                Left::Broken(reason) => self.problem.set(Some(reason)),
                Left::Refused(reason) => {
                    self.refused = true;
                    self.problem.set(Some(reason));
                }
                Left::Closed => return,
            }
            let pause = self.backoff.next();
            if self.refuse_during(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    fn opened(&mut self, unbound: Option<BrokerError>) {
        if !self.refused {
            self.problem.set(None);
        } else if let Some(e) = unbound {
            let reason = format!("what is published leads nowhere, and cannot be bound: {e}");
            self.problem.set(Some(reason));
        }
        self.open.send_replace(true);
    }

    /// Answers whoever comes while nothing can be published. `None` when nobody can come
    /// any more.
    async fn refuse_during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                job = self.queue.recv() => {
                    let reason = self.problem.get().unwrap_or_default();
                    job?.receipt.settle(Err(NotPublished::Unavailable(reason)));
                }
            }
        }
    }

    async fn drive(&mut self, connection: &Arc<BrokerConnection>, channel: &Channel) -> Left {
        let link = self.link.clone();
        let mut lost = pin!(link.lost(connection));
        let mut in_flight = FuturesUnordered::new();
        let mut letters = Letters::default();
        let mut leaving = None;
        let mut leave_by = Instant::now();
        // Counted, not looked up on a clock: if this process was stopped, that is not the
        // broker's fault.
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stalled = 0;
        loop {
            if in_flight.is_empty()
                && let Some(left) = leaving
            {
                return letters.give_up_lost().map_or(left, Left::Refused);
            }
            tokio::select! {
                biased;
                Some(first) = in_flight.next() => {
                    stalled = 0;
                    let mut written = vec![first];
                    while let Some(Some(more)) = poll_immediate(in_flight.next()).await {
                        written.push(more);
                    }
                    let left = self.settle(&mut letters, written, connection);
                    if let Some(left) = left && leaving.is_none() {
                        leaving = Some(left);
                        leave_by = Instant::now() + LEAVE_DEADLINE;
                    }
                }
                () = &mut lost, if leaving.is_none() => {
                    leaving = Some(CONNECTION_LOST);
                    leave_by = Instant::now() + LEAVE_DEADLINE;
                }
                () = sleep_until(leave_by), if leaving.is_some() => {
                    return leaving.unwrap_or(CONNECTION_LOST);
                }
                // The first one goes alone. If the broker refuses it, it certainly was not
                // published, and neither was any behind it.
                job = self.queue.recv(), if leaving.is_none()
                    && (letters.any_confirmed || in_flight.is_empty()) =>
                {
                    match job {
                        Some(Job { message, receipt }) => {
                            if in_flight.is_empty() {
                                stalled = 0;
                            }
                            in_flight.push(hand_over(channel, &mut letters, message, receipt).await);
                            if let Some(marker) = self.marker_due() {
                                let unheard = Receipt::unheard();
                                in_flight.push(hand_over(channel, &mut letters, marker, unheard).await);
                            }
                        }
                        None => {
                            leaving = Some(Left::Closed);
                            leave_by = Instant::now() + LEAVE_DEADLINE;
                        }
                    }
                }
                _ = seconds.tick(), if leaving.is_none() => {
                    if in_flight.is_empty() || connection.is_blocked() {
                        stalled = 0;
                    } else if stalled < STALLED_SECONDS {
                        stalled += 1;
                    } else if has_confirmed_lately(connection) {
                        // Others are well there.
                        return Left::Broken("the broker confirms nothing".into());
                    } else {
                        connection
                            .give_up(format!("it confirmed nothing for {STALLED_SECONDS} s"));
                        stalled = 0;
                    }
                }
            }
        }
    }

    /// Readers ask for markers too, but theirs would stand behind all that waits here.
    fn marker_due(&mut self) -> Option<Message> {
        self.unmarked += 1;
        let due = self.exchange.as_ref().filter(|_| self.unmarked >= MARKER_EVERY)?;
        self.unmarked = 0;
        Some(marker::new(&due.name).0)
    }

    /// Settles what can be settled; answers why the channel is to be left, if so.
    fn settle(
        &mut self,
        letters: &mut Letters,
        written: Vec<(u64, Written)>,
        connection: &BrokerConnection,
    ) -> Option<Left> {
        let (mut confirms, mut left) = (Vec::with_capacity(written.len()), None);
        for (sequence, written) in written {
            match written {
                Written::Confirmed { acked: true, carried } => confirms.push((sequence, carried)),
                // What the broker could not take care of it may still have in part.
                Written::Confirmed { acked: false, carried } => {
                    letters.any_confirmed = true;
                    letters.give_up(sequence, carried, NotPublished::Unconfirmed);
                }
                Written::Lost(e) => {
                    letters.lost.push(sequence);
                    if e.is_refusal() {
                        letters.refusal.get_or_insert(e.to_string());
                    }
                    left.get_or_insert(left_for(&e));
                }
                Written::No(e) => {
                    let reason = letters.refusal.clone().unwrap_or_else(|| e.to_string());
                    letters.give_up(sequence, None, NotPublished::Unavailable(reason));
                    left.get_or_insert(left_for(&e));
                }
            }
        }
        if confirms.is_empty() {
            return left;
        }
        // A node that is cut off from its cluster confirms what its own queues take.
        if self.exchange.is_some() {
            connection.has_confirmed();
        }
        letters.any_confirmed = true;
        // A return is how the broker tells of a replica out of reach, and no fault; but an
        // exchange should always lead to its log.
        if self.exchange.is_some() && confirms.iter().any(|(_, carried)| carried.is_some()) {
            left.get_or_insert_with(|| {
                Left::Refused("the broker returns what is published".into())
            });
        }
        let settled = letters.ledger.confirm(&confirms);
        let taken = settled.iter().filter(|(_, published)| *published).count();
        self.confirmed.fetch_add(taken as u64, Ordering::Relaxed);
        for (receipt, published) in settled {
            receipt.settle(if published { Ok(()) } else { Err(NotPublished::Unroutable) });
        }
        if taken > 0 {
            self.backoff.reset();
            if self.refused && left.is_none() {
                self.refused = false;
                self.problem.set(None);
            }
        }
        left
    }
}

/// What was published on one channel and is not settled.
#[derive(Default)]
struct Letters {
    ledger: Ledger<Receipt>,
    /// The broker has answered one of them.
    any_confirmed: bool,
    /// Written, and then the channel was closed.
    lost: Vec<u64>,
    /// Why the broker closed the channel, where it was over one of them.
    refusal: Option<String>,
}

impl Letters {
    fn give_up(&mut self, sequence: u64, carried: Option<u64>, why: NotPublished) {
        if let Some(receipt) = self.ledger.give_up(sequence, carried) {
            receipt.settle(Err(why));
        }
    }

    /// Tells what became of those that were lost, once there are no more of them; answers
    /// why the broker refused, if so.
    ///
    /// A broker that refuses a message closes the channel before it routes it, and takes
    /// nothing from the channel that comes behind. It does not say which message it was, and
    /// what came before that one it may have taken without a chance to confirm it. So the
    /// last one is certain: it was refused, or was behind.
    fn give_up_lost(&mut self) -> Option<String> {
        let last = self.lost.iter().max().copied();
        for sequence in std::mem::take(&mut self.lost) {
            let why = match &self.refusal {
                Some(reason) if Some(sequence) == last => NotPublished::Unavailable(reason.clone()),
                _ => NotPublished::Unconfirmed,
            };
            self.give_up(sequence, None, why);
        }
        self.refusal.take()
    }
}

fn left_for(error: &BrokerError) -> Left {
    match error.is_of_the_connection() {
        true => CONNECTION_LOST,
        false => Left::Broken(error.to_string()),
    }
}

/// The one place where something is published. The first poll hands it to lapin: here, so
/// that order is kept.
async fn hand_over(
    channel: &Channel,
    letters: &mut Letters,
    message: Message,
    receipt: Receipt,
) -> impl Future<Output = (u64, Written)> + use<> {
    let sequence = letters.ledger.expect(receipt);
    let mut writing = Box::pin(write(channel.clone(), sequence, message));
    match poll_immediate(&mut writing).await {
        Some(done) => Either::Left(ready(done)),
        None => Either::Right(writing),
    }
}

fn has_confirmed_lately(connection: &BrokerConnection) -> bool {
    connection.confirmed_within(Duration::from_secs(STALLED_SECONDS.into()))
}

async fn open(
    connection: &BrokerConnection,
    repair: Option<&ExchangeConfig>,
) -> Result<(Channel, Option<BrokerError>), BrokerError> {
    let unbound = match repair {
        Some(config) => topology::ensure(connection, config).await?,
        None => None,
    };
    let channel = connection.channel().await?;
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    within("asking for confirms", confirms).await?;
    Ok((channel, unbound))
}

/// What became of one message, as far as lapin tells.
enum Written {
    /// Not a complete message went out.
    No(BrokerError),
    /// It went out, and then the channel broke.
    Lost(BrokerError),
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
            Err(e) => return (sequence, Written::No(e.into())),
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
        Err(e) => Written::Lost(e.into()),
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
