//! Drives one exchange's publishing: owns the channel, opens another when it breaks, and
//! leaves a connection that is of no use.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::poll_immediate, stream::FuturesUnordered};
use lapin::{Channel, options::ConfirmSelectOptions};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    Job, Publisher, Receipt,
    letters::{Letters, Written},
};
use crate::{
    bus::rabbitmq::{
        ExchangeConfig,
        connection::{BrokerConnection, BrokerError, HELD_BACK, within},
        entry,
        not_published::NotPublished,
        supervisor::{Link, Problem, backoff},
        topology,
    },
    net::backoff::Backoff,
};

/// While messages wait: seconds without a confirm after which they are given up.
const STALLED_SECONDS: u32 = 10;

/// Attempts to open a channel that may go unanswered on one connection, 5 s each.
const UNANSWERED: u32 = 2;

/// Messages to a log between two markers that go with them.
const MARKER_EVERY: u32 = 250;

/// How long a broken channel may take to say what became of its messages.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);

/// See the top of this file.
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
    /// Of this publisher and its clones.
    pub fn new(
        publisher: &Publisher,
        exchange: Option<ExchangeConfig>,
        queue: mpsc::Receiver<Job>,
        open: watch::Sender<bool>,
    ) -> Self {
        let Publisher { link, problem, confirmed, .. } = publisher.clone();
        let (unmarked, refused) = Default::default();
        let backoff = backoff();
        Self { link, exchange, queue, open, problem, confirmed, unmarked, backoff, refused }
    }

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
            let pause = self.backoff.pause();
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
                    let mut written = vec![first];
                    while let Some(Some(more)) = poll_immediate(in_flight.next()).await {
                        written.push(more);
                    }
                    if written.iter().any(|(_, one): &(u64, Written)| one.is_ack()) {
                        stalled = 0;
                        // A node that is cut off from its cluster confirms what its own
                        // queues take.
                        if self.exchange.is_some() {
                            connection.has_confirmed();
                        }
                    }
                    let left = self.settle(&mut letters, written);
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
                    && (letters.any_answered() || in_flight.is_empty()) =>
                {
                    match job {
                        Some(job) => {
                            if in_flight.is_empty() {
                                stalled = 0;
                            }
                            in_flight.push(letters.hand_over(channel, job).await);
                            if let Some(marker) = self.marker_due() {
                                in_flight.push(letters.hand_over(channel, marker).await);
                            }
                        }
                        None => {
                            leaving = Some(Left::Closed);
                            leave_by = Instant::now() + LEAVE_DEADLINE;
                        }
                    }
                }
                _ = seconds.tick(), if leaving.is_none() => {
                    let waiting = !in_flight.is_empty() && !connection.is_blocked();
                    stalled = if waiting { stalled + 1 } else { 0 };
                    if stalled > STALLED_SECONDS {
                        if has_confirmed_lately(connection) {
                            // Other exchanges are well there.
                            return Left::Broken("the broker confirms nothing".into());
                        }
                        connection
                            .give_up(format!("it confirmed nothing for {STALLED_SECONDS} s"));
                    }
                }
            }
        }
    }

    /// Readers ask for markers too, but theirs would stand behind all that waits here.
    fn marker_due(&mut self) -> Option<Job> {
        self.unmarked += 1;
        let due = self.exchange.as_ref().filter(|_| self.unmarked >= MARKER_EVERY)?;
        self.unmarked = 0;
        Some(Job { message: entry::marker(&due.name).0, receipt: Receipt::unheard() })
    }

    /// Settles what can be settled; answers why the channel is to be left, if so.
    fn settle(&mut self, letters: &mut Letters, written: Vec<(u64, Written)>) -> Option<Left> {
        let (mut confirms, mut left) = (Vec::with_capacity(written.len()), None);
        for (sequence, written) in written {
            match written {
                Written::Confirmed { acked: true, carried } => confirms.push((sequence, carried)),
                Written::Confirmed { acked: false, carried } => letters.nack(sequence, carried),
                Written::Lost(e) => {
                    left.get_or_insert(left_for(&e));
                    letters.lose(sequence, &e);
                }
                Written::No(e) => {
                    left.get_or_insert(left_for(&e));
                    letters.not_written(sequence, &e);
                }
            }
        }
        // A return is how the broker tells of a replica out of reach, and no fault; but an
        // exchange should always lead to its log.
        if self.exchange.is_some() && confirms.iter().any(|(_, carried)| carried.is_some()) {
            left.get_or_insert_with(|| {
                Left::Refused("the broker returns what is published".into())
            });
        }
        let settled = letters.confirm(&confirms);
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

fn left_for(error: &BrokerError) -> Left {
    match error.is_of_the_connection() {
        true => CONNECTION_LOST,
        false => Left::Broken(error.to_string()),
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
