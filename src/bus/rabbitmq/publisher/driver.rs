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

use lapin::{Channel, options::ConfirmSelectOptions};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    Call, Pace, Publisher,
    gatherer::Gatherer,
    publication::{Job, Publication},
    published::Published,
    sending::Sending,
};
use crate::{
    bus::rabbitmq::{
        ExchangeConfig,
        connection::{BrokerConnection, BrokerError, HELD_BACK, within},
        entry,
        not_published::NotPublished,
        supervisor::{Link, Problem, backoff},
        topology,
        window::Quota,
    },
    net::backoff::Backoff,
};

/// Attempts to open a channel that may go unanswered on one connection, 5 s each.
const UNANSWERED: u32 = 2;

/// Messages to a log between two markers that go with them.
const MARKER_EVERY: u32 = 250;

/// Without a confirm for so long, a connection on which messages wait for one is of no use.
pub(super) const STALLED: Duration = Duration::from_secs(10);

/// See the top of this file.
pub(crate) struct Driver {
    pub link: Link,
    pub quota: Quota,
    pub exchange: Option<ExchangeConfig>,
    pub pace: Pace,
    pub queue: mpsc::Receiver<Call>,
    pub gatherer: Gatherer<Job>,
    open: watch::Sender<bool>,
    problem: Arc<Problem>,
    confirmed: Arc<AtomicU64>,
    published: Arc<Published>,
    /// Messages written since the last marker of this driver's.
    unmarked: u32,
    /// Starts anew when something was published.
    backoff: Backoff,
    /// The problem is the fate of something that was published: it lasts until something
    /// else fares better, however many channels are opened meanwhile.
    refused: bool,
}

/// Why a channel is left.
pub(super) enum Left {
    /// A matter of the whole connection, which is told by whoever keeps it.
    Connection(&'static str),
    /// It could not be used, or not any more.
    Broken(String),
    /// The broker did not want what was published: the exchange, its log, the binding or a
    /// right may be missing.
    Refused(String),
    Closed,
}

pub(super) const CONNECTION_LOST: Left = Left::Connection("the connection to the broker was lost");

impl Driver {
    /// Of this publisher and its clones.
    pub(crate) fn new(
        publisher: &Publisher,
        exchange: Option<ExchangeConfig>,
        queue: mpsc::Receiver<Call>,
        open: watch::Sender<bool>,
        published: Arc<Published>,
    ) -> Self {
        let Publisher { link, quota, problem, confirmed, .. } = publisher.clone();
        let batches = |exchange: &ExchangeConfig| exchange.batch && exchange.kind.has_log();
        let batches = exchange.as_ref().is_some_and(batches);
        let pace = if batches { Pace::BATCHES } else { Pace::SINGLES };
        let (gatherer, backoff) = (Gatherer::new(pace.message), backoff());
        Self {
            link,
            quota,
            exchange,
            pace,
            queue,
            gatherer,
            open,
            problem,
            confirmed,
            published,
            unmarked: 0,
            backoff,
            refused: false,
        }
    }

    pub(crate) async fn run(mut self) {
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
                    let left = Sending::new(&mut self, &connection, &channel).run().await;
                    self.open.send_replace(false);
                    left
                }
                Err(e) if e.is_of_the_connection() => CONNECTION_LOST,
                Err(_) if connection.is_blocked() => Left::Connection(HELD_BACK),
                Err(e) => {
                    let silent = matches!(e, BrokerError::Timeout(_));
                    unanswered = if silent { unanswered + 1 } else { 0 };
                    if unanswered >= UNANSWERED && !connection.confirmed_within(STALLED) {
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

    /// Refuses what has gathered, and whoever comes while nothing can be published. `None`
    /// when nobody can come any more.
    async fn refuse_during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let reason = self.problem.get().unwrap_or_else(|| "there is no channel".into());
            for job in self.gatherer.take_all() {
                job.receipt.settle(Err(NotPublished::Unavailable(reason.clone())));
            }
            tokio::select! {
                done = &mut work => return Some(done),
                call = self.queue.recv() => self.gather(call?),
            }
        }
    }

    /// With all that have come by now.
    pub(crate) fn gather(&mut self, first: Call) {
        let mut next = Some(first);
        while let Some(Call { jobs, deadline }) = next {
            self.gatherer.add(jobs, deadline);
            next = self.queue.try_recv().ok();
        }
    }

    /// Where what is published must lead to.
    pub(crate) fn log(&self) -> Option<&ExchangeConfig> {
        self.exchange.as_ref().filter(|exchange| exchange.kind.has_log())
    }

    /// Readers ask for markers too, but theirs would stand behind all that waits here.
    pub(crate) fn marker_due(&mut self) -> Option<Publication> {
        self.unmarked += 1;
        let marker = entry::marker(&self.log().filter(|_| self.unmarked >= MARKER_EVERY)?.name).0;
        self.unmarked = 0;
        Some(Publication::unheard(marker))
    }

    /// The broker has taken these messages, which hold so many events each.
    pub(crate) fn taken(&mut self, messages: &[usize]) {
        self.confirmed.fetch_add(messages.len() as u64, Ordering::Relaxed);
        messages.iter().filter(|events| **events > 0).for_each(|one| self.published.count(*one));
        if !messages.is_empty() {
            self.backoff.reset();
        }
    }

    /// What the broker was given it takes again.
    pub(crate) fn is_well(&mut self) {
        if std::mem::take(&mut self.refused) {
            self.problem.set(None);
        }
    }
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
