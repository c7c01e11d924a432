//! The bus: how an event that was pushed to one replica reaches the clients of all.
//!
//! Two homes behind one trait: [`memory`] for a single process and [`rabbitmq`] for a
//! fleet. `tests/suite/bus.rs` holds both to the same promises. What a fleet has beside it,
//! questions from one replica to another, is a trait of its own ([`Replicas`]).

pub(crate) mod memory;
pub(crate) mod rabbitmq;
mod replicas;
mod seen;
mod skipped;
mod status;

use async_trait::async_trait;
use tokio::time::Instant;

pub use self::{
    replicas::{Answers, AskError, Replicas},
    skipped::SkipReason,
    status::BusStatus,
};
use self::{seen::SeenIds, skipped::SkipCounts, status::Lag};
pub(crate) use self::{
    skipped::Skipped,
    status::{EventsPerMessage, ExchangeStatus},
};
use crate::event::{Event, Exchange, OutgoingEvent, RawEvent};

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
    async fn publish(&self, events: Vec<OutgoingEvent>) -> Vec<Result<(), PublishError>>;

    fn status(&self) -> BusStatus;

    /// Waits for pending confirms, then lets go of the broker; has done so by `deadline`,
    /// however the broker is.
    async fn close(&self, deadline: Instant);
}

/// What a bus tells its replica. Calls for one exchange come one after another.
#[async_trait]
pub trait BusListener: Send + Sync {
    /// From now on every event of this exchange is delivered, or a gap is told. Comes
    /// once, at the first attach.
    async fn attached(&self, exchange: &Exchange);

    /// Drops those that nobody here wants: they need not be read any further. Whoever is
    /// subscribed before an event is pushed wants it.
    fn keep_wanted(&self, _exchange: &Exchange, _events: &mut Vec<RawEvent<'_>>) {}

    /// What one entry of the log holds: the events that are wanted, and how many are not, or
    /// were there before under the same id. Events of one exchange come in the order in which
    /// the bus took them, each entry of the log once.
    async fn events(&self, exchange: &Exchange, wanted: Vec<Event>, unwanted: usize);

    /// Events of this exchange may have been missed.
    async fn gap(&self, exchange: &Exchange);
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
