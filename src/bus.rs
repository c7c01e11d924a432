//! The bus: how an event that was pushed to one replica reaches the clients of all.
//!
//! Two homes behind one trait: [`memory`] for a single process and [`rabbitmq`] for a
//! fleet. `tests/suite/bus.rs` holds both to the same promises.

pub mod memory;
pub mod rabbitmq;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    event::{Event, Exchange, OutgoingEvent, PushedAt},
    ids::ReplicaId,
};

/// Carries events between replicas, and questions from one replica to another.
///
/// Every wait inside is bounded; a broker that is down makes calls fail, not hang.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Publishes the events in order and answers one result each, by index. `Ok` means
    /// that the bus has the event: every attached replica's listener will be told of it,
    /// or of a gap. Where all are `Ok`, the log has them in this order. Nothing is ever
    /// published twice by the bus itself.
    async fn publish(&self, events: Vec<OutgoingEvent>) -> Vec<Result<(), PublishError>>;

    /// Puts a question to another replica and waits for its answer, `deadline` at most. Only
    /// an answer says anything of what that replica holds.
    async fn ask(
        &self,
        replica: ReplicaId,
        question: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, AskError>;

    fn status(&self) -> BusStatus;

    /// Waits for pending confirms, then lets go of the broker; has done so by `deadline`,
    /// however the broker is.
    async fn close(&self, deadline: Instant);
}

/// What a bus tells its replica. Calls for one exchange come one after another.
#[async_trait]
pub trait BusListener: Send + Sync {
    async fn notice(&self, notice: BusNotice);

    /// Another replica's question (see [`EventBus::ask`]).
    async fn question(&self, question: Vec<u8>) -> Vec<u8>;
}

#[derive(Debug, Clone)]
pub enum BusNotice {
    /// From now on every event of this exchange is delivered, or a gap is told. Comes
    /// once, at the first attach.
    Attached(Exchange),
    /// Events of one exchange come in the order in which the bus took them, each entry
    /// of the log once.
    Event(Arc<Event>),
    /// Events of this exchange may have been missed.
    Gap(Exchange),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("the exchange {0} is not configured (--exchange)")]
    UnknownExchange(Exchange),
    /// Certainly not published.
    #[error("the event was not published: {0}")]
    Unavailable(String),
    /// Certainly not published: the broker holds publishers back, or too much waits.
    #[error("the event was not published: {0}; push it again later")]
    Overloaded(String),
    /// Written, but whether the broker has it is not known.
    #[error("the broker did not confirm the event in time; push it again with the same event_id")]
    Unconfirmed,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Where a bus knows it: it has but one replica.
    #[error("there is no replica {0}")]
    NoSuchReplica(ReplicaId),
    /// Certainly not asked. It is gone, or only cut off from the bus and serves its clients.
    #[error("replica {0} cannot be reached")]
    Unreachable(ReplicaId),
    /// Certainly not asked.
    #[error("the replica could not be asked: {0}")]
    Unavailable(String),
    /// Asked, perhaps answered; no answer came.
    #[error("replica {0} did not answer in time")]
    NoAnswer(ReplicaId),
}

/// How the bus is, for readiness, for people and for metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusStatus {
    /// `memory` or `rabbitmq`.
    pub kind: &'static str,
    /// Whether every exchange has been attached once since the start.
    pub attached_once: bool,
    /// What is wrong now; empty when all is well.
    pub problems: Vec<String>,
    /// Whether all connections to the broker are up; always, where there is none.
    pub connected: bool,
    /// The broker holds publishers back.
    pub blocked: bool,
    /// Sorted by name.
    pub exchanges: Vec<ExchangeStatus>,
    /// Connections made again after one was lost, since the start.
    pub reconnects: u64,
    /// Gaps told to this replica's subscriptions, since the start.
    pub gaps: u64,
    /// How often reading had stopped in silence and was begun anew, since the start.
    pub stalls: u64,
    pub skipped: Skipped,
}

impl BusStatus {
    /// How far reading is behind, of the exchange where it is most.
    pub fn lag(&self) -> Option<Duration> {
        self.exchanges.iter().filter_map(|exchange| exchange.lag).max()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeStatus {
    pub name: Exchange,
    /// Whether its events are read now.
    pub attached: bool,
    /// The age of the last event when it was read, if one was read lately.
    pub lag: Option<Duration>,
}

/// How old the last event was when it was read.
#[derive(Debug, Default)]
struct Lag {
    /// In microseconds. The two are written one after the other: between them a reader may
    /// see a lag that is off by the distance of two events.
    age: AtomicU64,
    /// When it was read; 0: never.
    read_at: AtomicU64,
}

impl Lag {
    /// What is older says nothing about now.
    const LATELY: Duration = Duration::from_secs(60);

    fn read(&self, pushed_at: Option<PushedAt>) {
        if let Some(age) = pushed_at.and_then(PushedAt::age) {
            self.age.store(u64::try_from(age.as_micros()).unwrap_or(u64::MAX), Relaxed);
            self.read_at.store(PushedAt::now().0, Relaxed);
        }
    }

    fn lately(&self) -> Option<Duration> {
        let since = PushedAt(self.read_at.load(Relaxed)).age()?;
        (since <= Self::LATELY).then(|| Duration::from_micros(self.age.load(Relaxed)))
    }
}

/// Entries of the logs that were passed over, since the start, by what was wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    pub too_big: u64,
    pub invalid_routing_key: u64,
    pub no_event: u64,
    /// Neither the broker nor the AMQP library could read it.
    pub unreadable: u64,
    /// Published by a gateway of a newer build; a gap was told.
    pub newer: u64,
}

impl Skipped {
    pub fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("too_big", self.too_big),
            ("invalid_routing_key", self.invalid_routing_key),
            ("no_event", self.no_event),
            ("unreadable", self.unreadable),
            ("newer", self.newer),
        ]
    }
}

/// One exchange of the configuration and the bounds of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeConfig {
    pub name: Exchange,
    pub max_age: Duration,
    pub max_bytes: u64,
    pub segment_bytes: u64,
}

impl ExchangeConfig {
    /// Limits that keep a broker's disk safe when nobody thinks of them.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(3600);
    pub const DEFAULT_MAX_BYTES: u64 = 200_000_000;
    pub const DEFAULT_SEGMENT_BYTES: u64 = 10_000_000;

    pub fn new(name: Exchange) -> Self {
        Self {
            name,
            max_age: Self::DEFAULT_MAX_AGE,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            segment_bytes: Self::DEFAULT_SEGMENT_BYTES,
        }
    }
}
