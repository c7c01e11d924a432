//! Through RabbitMQ: the gateway's whole way from a push to the client beside a bare
//! publisher with confirms and bare readers of a stream, and beside the gateway as it was,
//! all on the same broker, in turn.

mod bare;
mod bulk;
mod callers;
mod contender;
mod deep;
mod fleet;
pub mod killed_replica;
mod latency;
mod meter;
mod pace;
mod replicas;
pub mod ring_memory;
mod unwanted;

use std::time::Duration;

pub use self::contender::Contender;
use crate::{args::Row, load::RabbitMq};

/// Before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// For whatever must come to an end.
const DEADLINE: Duration = Duration::from_secs(60);

/// Calls of `PushEvents` on their way to a replica, and the events of each: together as
/// many as the gateway leaves unconfirmed at most, and the bare publisher.
const CALLS: usize = 4;
const EVENTS_PER_CALL: usize = 250;

/// What all are measured with.
pub struct Setup<'a> {
    pub broker: &'a RabbitMq,
    pub time: Duration,
    /// Further ones for gateways.
    pub flags: &'a [String],
    pub processors: &'a str,
    /// Replicas of [`Row::Fleet`].
    pub fleet: usize,
}

/// The figures of one of these rows, by its columns.
pub async fn measure(
    row: Row,
    contender: &Contender,
    setup: &Setup<'_>,
) -> anyhow::Result<Vec<Option<f64>>> {
    match row {
        Row::Keys => bulk::measure(contender, 1, setup).await,
        Row::ThreeReplicas => bulk::measure(contender, 3, setup).await,
        Row::Callers => callers::measure(contender, setup).await,
        Row::OnePush => latency::one_at_a_time(contender, setup).await,
        Row::PacedPushes => latency::paced(contender, setup).await,
        Row::Unwanted => unwanted::measure(contender, setup).await,
        Row::Deep => deep::measure(contender, setup).await,
        Row::Fleet => fleet::measure(contender, setup).await,
        other => anyhow::bail!("{other:?} is not measured through RabbitMQ"),
    }
}
