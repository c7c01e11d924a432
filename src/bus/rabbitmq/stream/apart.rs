//! Looks into a log on connections of their own, which that may cost.

use std::ops::Range;

use tokio::time::Instant;

use super::{
    PATIENCE, Reader,
    tail::{From, Tail},
};
use crate::{
    bus::{
        SkipReason,
        rabbitmq::{
            connection::{BrokerConnection, BrokerError, Unreadable},
            entry,
        },
    },
    event::Exchange,
};

/// Entries next to each other that cannot be read and are stepped over in one go.
const UNREADABLE_AT_ONCE: u64 = 64;

impl Reader {
    /// Something that cannot be read has cost the connection. At first it need not be what is
    /// next: then it is approached entry by entry. What is next is stepped over.
    pub(super) async fn bear_unreadable(&mut self, connection: &BrokerConnection) {
        if !std::mem::replace(&mut self.careful, true) {
            return;
        }
        let Some(next) = self.trail.as_ref().map(|trail| trail.last() + 1) else { return };
        let found = unreadable_from(next, connection, &self.config.name).await;
        let Some(last) = found.offsets.clone().last() else { return };
        found.offsets.for_each(|offset| self.skip(offset, SkipReason::Unreadable));
        let Some(trail) = &mut self.trail else { return };
        trail.step_over(last);
        if found.may_hide_others {
            trail.lose_marker();
            self.next_marker = 0;
            self.gap_due = true;
        }
    }
}

/// What cannot be read, up to something that can.
pub(super) struct Unread {
    pub offsets: Range<u64>,
    /// The last of these was what cannot be read. Others may have been events before it, or
    /// markers.
    pub may_hide_others: bool,
}

/// From this offset on.
pub(super) async fn unreadable_from(
    first: u64,
    connection: &BrokerConnection,
    exchange: &Exchange,
) -> Unread {
    let (mut next, mut in_chunks) = (first, 0);
    while next - first < UNREADABLE_AT_ONCE {
        let read = read_apart(connection, exchange, From::Offset(next)).await;
        let Some(unreadable) = read.err().and_then(|error| error.unreadable()) else { break };
        next += 1;
        in_chunks += u32::from(unreadable == Unreadable::Chunk);
    }
    Unread { offsets: first..next, may_hide_others: in_chunks > 1 }
}

/// Whether the log does not have any more what stood behind this offset.
pub(super) async fn is_cut_behind(
    last: u64,
    connection: &BrokerConnection,
    exchange: &Exchange,
) -> Result<bool, BrokerError> {
    match read_apart(connection, exchange, From::First).await {
        Ok(first) => Ok(first > last + 1),
        // Then nobody can say.
        Err(e) if e.unreadable().is_some() => Ok(true),
        Err(e) => Err(e),
    }
}

/// The offset of one entry, read on a connection of its own, which it may cost.
async fn read_apart(
    connection: &BrokerConnection,
    exchange: &Exchange,
    from: From,
) -> Result<u64, BrokerError> {
    let apart = connection.open_another().await?;
    let read = async {
        let mut tail = Tail::open(&apart, exchange, from, 1).await?;
        entry::offset(&tail.next_within(PATIENCE, "an entry of the log").await?)
    };
    let read = read.await;
    apart.close(Instant::now() + PATIENCE).await;
    read
}
