//! The bus: how an event that was pushed to one replica reaches the clients of all.
//!
//! Two homes behind one trait: [`memory`] for a single process and [`rabbitmq`] for a
//! fleet, where an exchange has a log, or forwards key by key. `tests/suite/bus.rs` holds all
//! to the same promises. What a fleet has beside it, questions from one replica to another, is
//! a trait of its own ([`Replicas`]); what sessions want of an exchange without a log is in
//! [`Bindings`].

mod bindings;
pub(crate) mod memory;
pub(crate) mod rabbitmq;
mod replicas;
mod seen;
mod shared_log;
mod skipped;
mod status;

use async_trait::async_trait;
use tokio::time::Instant;

pub(crate) use self::{
    bindings::Whole,
    skipped::Skipped,
    status::{EventsPerMessage, ExchangeStatus},
};
pub use self::{
    bindings::{Bindings, Hold, NotBound},
    replicas::{Answers, AskError, Replicas},
    shared_log::{LogReading, NotRead, SharedLog},
    skipped::SkipReason,
    status::BusStatus,
};
use self::{
    bindings::{Keys, Numbered},
    seen::SeenIds,
    skipped::SkipCounts,
    status::Lag,
};
use crate::event::{Entry, Event, Exchange, InvalidEvent, OutgoingEvent, Position, RawEvent};

/// Carries events between replicas.
///
/// Every wait inside is bounded; a broker that is down makes calls fail, not hang.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Publishes the events in order and answers one result each, by index. `Ok` means
    /// that the bus has the event: every attached replica's listener will be told of it,
    /// or of a gap. Where all are `Ok`, the log has them in this order. Nothing is ever
    /// published twice by the bus itself; what callers publish again under an id of theirs is
    /// delivered once.
    ///
    /// Of an exchange without a log, `Ok` means that the broker took it, and only replicas
    /// where somebody holds its key are told of it; again under the same id it is told again.
    async fn publish(&self, events: Vec<OutgoingEvent>) -> Vec<Result<(), PublishError>>;

    fn status(&self) -> BusStatus;

    /// Waits for pending confirms, then lets go of the broker; has done so by `deadline`,
    /// however the broker is.
    async fn close(&self, deadline: Instant);
}

/// What a bus tells its replica. Calls for one exchange come one after another.
#[async_trait]
pub trait BusListener: Send + Sync {
    /// How much of what a log holds already is wanted, in bytes, about.
    fn past_wanted(&self) -> usize {
        0
    }

    /// An entry that stands before the place where reading begins; all behind it up to there are
    /// told as well, in the log's order, before [`Self::attached`].
    fn past(&self, _exchange: &Exchange, _entry: LogEntry<'_>) {}

    /// Not all of them can be: what was told does not lead there.
    fn past_lost(&self, _exchange: &Exchange) {}

    /// From now on every entry of this exchange's log behind this one is told, or a gap is;
    /// where it has no log, every event. Comes once, at the first attach.
    async fn attached(&self, exchange: &Exchange, at: Option<Entry>);

    /// The next entry of the log: each once, in the log's order. Answers what is wrong with those
    /// of its events that somebody here wants; others need not be read any further.
    async fn entry(&self, exchange: &Exchange, entry: LogEntry<'_>) -> Vec<InvalidEvent>;

    /// The next event of an exchange that has no log: each once, those of a key in their order.
    async fn event(&self, event: Event);

    /// Events of this exchange may have been missed. It is whole again from this position, where
    /// that is known.
    async fn gap(&self, exchange: &Exchange, whole_from: Option<Position>);
}

/// One entry of a log, as it was read.
#[derive(Debug)]
pub struct LogEntry<'a> {
    pub id: Entry,
    /// In their order, none that was there before under the same id.
    pub events: Vec<RawEvent<'a>>,
    /// So many were.
    pub repeated: usize,
}

impl LogEntry<'_> {
    /// One that is for readers only, or no event.
    pub(crate) fn empty(id: Entry) -> Self {
        Self { id, events: Vec::new(), repeated: 0 }
    }
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
