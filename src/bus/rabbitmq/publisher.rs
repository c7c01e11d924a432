//! Publishes to one exchange, pipelined, with confirms: a caller learns of each message
//! whether the broker has it. Never publishes anything twice.

mod driver;
mod ledger;
mod letters;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use self::driver::Driver;
use super::{
    ExchangeConfig,
    message::Message,
    not_published::NotPublished,
    supervisor::{Link, NOT_CONNECTED_YET, Problem},
    window::{Admission, MAX_UNCONFIRMED, Slot, Window},
};

type Outcome = Result<(), NotPublished>;

pub struct Job {
    pub message: Message,
    pub receipt: Receipt,
}

/// The driver's half of a job: tells the outcome and gives the slot back.
pub struct Receipt {
    outcome: oneshot::Sender<Outcome>,
    _slot: Option<Slot>,
}

impl Receipt {
    /// For a message that nobody waits for.
    pub fn unheard() -> Self {
        Self { outcome: oneshot::channel().0, _slot: None }
    }

    pub fn settle(self, outcome: Outcome) {
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
        let publisher = Self { jobs, open, problem, confirmed: Arc::default(), link, window };
        let driver = Driver::new(&publisher, exchange, queue, open_sender);
        (publisher, driver)
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

    /// How many messages the broker has confirmed, and not returned, so far.
    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    pub fn problem(&self) -> Option<String> {
        self.link.problem().or_else(|| self.problem.get())
    }

    /// Waits until something can be published.
    pub async fn ready(&self) {
        // An error means that the bus is closed, which publishing then tells.
        let _ = self.open.clone().wait_for(|open| *open).await;
    }
}
