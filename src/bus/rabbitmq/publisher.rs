//! Publishes to one exchange, with confirms: a caller learns of each event whether the broker
//! has it. Never publishes anything twice.
//!
//! A broker's work is for messages and hardly for bytes, so few messages are under way at a
//! time, and what comes meanwhile gathers and shares the next one ([`gatherer`]).

mod driver;
mod gatherer;
mod ledger;
mod publication;
mod published;
mod receipt;
mod sending;
mod unsettled;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    sync::{mpsc, watch},
    time::{Duration, Instant, sleep, timeout_at},
};

use self::{
    driver::Driver,
    gatherer::{Bounds, Item},
    publication::{Content, Job},
    receipt::Outcome,
};
pub(super) use self::{publication::Admitted, published::Published, receipt::Pending};
use super::{
    ExchangeConfig, batch,
    message::Message,
    not_published::NotPublished,
    supervisor::{Link, NOT_CONNECTED_YET, Problem},
    window::{MAX_WAITING, Quota},
};
use crate::event::OutgoingEvent;

/// How messages leave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Unconfirmed messages, beyond which what comes gathers.
    in_flight: usize,
    message: Bounds,
}

impl Pace {
    /// At most 1,024 events are of unknown fate where the broker is lost.
    const BATCHES: Self = Self {
        in_flight: 4,
        message: Bounds { items: batch::EVENTS_MAX, bytes: batch::BYTES_MAX },
    };

    /// The window is the bound.
    const SINGLES: Self = Self { in_flight: usize::MAX, message: Bounds { items: 1, bytes: 0 } };
}

/// An alarm that is over is looked for so often by who waits for that.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What one caller publishes together.
pub(super) struct Call {
    jobs: Vec<Item<Job>>,
    deadline: Instant,
}

/// Takes events and messages and hands them, in order, to its [`Driver`].
#[derive(Clone)]
pub(super) struct Publisher {
    calls: mpsc::Sender<Call>,
    /// Whether there is a channel to publish on.
    open: watch::Receiver<bool>,
    problem: Arc<Problem>,
    confirmed: Arc<AtomicU64>,
    link: Link,
    quota: Quota,
    /// Whether its exchange has a log.
    has_log: bool,
}

impl Publisher {
    /// With an `exchange`, its place on the broker is repaired when it breaks.
    pub(super) fn new(
        link: Link,
        quota: Quota,
        exchange: Option<ExchangeConfig>,
        published: Arc<Published>,
    ) -> (Self, Driver) {
        // Nothing is sent that was not admitted: this never fills.
        let (calls, queue) = mpsc::channel(MAX_WAITING);
        let (open_sender, open) = watch::channel(false);
        let problem = Arc::new(Problem::new(match &exchange {
            Some(ExchangeConfig { name, .. }) => format!("exchange {name}, publishing"),
            None => "publishing to other replicas".into(),
        }));
        problem.not_yet(NOT_CONNECTED_YET);
        let has_log = exchange.as_ref().is_some_and(|exchange| exchange.kind.has_log());
        let confirmed = Arc::default();
        let publisher = Self { calls, open, problem, confirmed, link, quota, has_log };
        let driver = Driver::new(&publisher, exchange, queue, open_sender, published);
        (publisher, driver)
    }

    /// Whether this event may be published now. Does not wait.
    pub(super) fn admit_event(&self, event: OutgoingEvent) -> Result<Admitted, NotPublished> {
        self.admit(if self.has_log { Content::Event(event) } else { Content::Direct(event) })
    }

    /// The same of anything. Does not wait.
    fn admit(&self, content: Content) -> Result<Admitted, NotPublished> {
        self.check()?;
        let size = content.size();
        Ok(Admitted { size, permits: self.quota.admit(size)?, content })
    }

    /// Whether anything may be published now, and why not.
    fn check(&self) -> Result<(), NotPublished> {
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
        Ok(())
    }

    /// From now on they have their place in the order. Does not wait.
    pub(super) fn enqueue(&self, admitted: Vec<Admitted>, deadline: Instant) -> Pending {
        let pending = Pending::default();
        let jobs = admitted.into_iter().map(|one| one.for_caller(&pending)).collect();
        // What the driver does not take is refused by being dropped.
        let _ = self.calls.try_send(Call { jobs, deadline });
        pending
    }

    pub(super) async fn publish(&self, message: Message, deadline: Instant) -> Outcome {
        let admitted = self.admit(Content::Message(Box::new(message)))?;
        let outcomes = self.enqueue(vec![admitted], deadline).outcomes(deadline).await;
        outcomes.into_iter().next().unwrap_or(Err(NotPublished::Unconfirmed))
    }

    /// How many messages the broker has confirmed, and not returned, so far.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.link.problem().or_else(|| self.problem.get())
    }

    /// Waits until something may be published, as long as an alarm lasts, too; by then it answers
    /// why nothing may.
    pub(super) async fn may_publish(&self, deadline: Instant) -> Result<(), NotPublished> {
        let _ = timeout_at(deadline, self.ready()).await;
        loop {
            match self.check() {
                Err(_) if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
                checked => return checked,
            }
        }
    }

    /// Waits until something can be published.
    pub(super) async fn ready(&self) {
        // An error means that the bus is closed, which publishing then tells.
        let _ = self.open.clone().wait_for(|open| *open).await;
    }
}
