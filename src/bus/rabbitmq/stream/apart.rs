//! Looks into a log on connections of their own, which that may cost.

use tokio::time::Instant;

use super::{From, PATIENCE, Reader, open, trail::Trail};
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
const UNREADABLE_AT_ONCE: usize = 64;

impl Reader {
    /// Something that cannot be read has cost the connection. At first it need not be what is
    /// next: then it is approached entry by entry. What is next is stepped over.
    pub(super) async fn bear_unreadable(&mut self, connection: &BrokerConnection) {
        if !std::mem::replace(&mut self.careful, true) {
            return;
        }
        let Some(last) = self.trail.as_ref().map(Trail::last) else { return };
        let mut in_chunks = 0;
        for suspect in (last + 1..).take(UNREADABLE_AT_ONCE) {
            let from = From::Offset(suspect);
            let read = read_apart(connection, &self.config.name, from).await;
            let Some(unreadable) = read.err().and_then(|e| e.unreadable()) else { break };
            self.skip(suspect, SkipReason::Unreadable);
            self.trail.iter_mut().for_each(|trail| trail.step_over(suspect));
            in_chunks += u32::from(unreadable == Unreadable::Chunk);
        }
        // The last one was what cannot be read. Others may have been events before it.
        self.gap_due |= in_chunks > 1;
    }
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
        let mut tail = open(&apart, exchange, from, 1).await?;
        entry::offset(&tail.next_within(PATIENCE, "an entry of the log").await?)
    };
    let read = read.await;
    apart.close(Instant::now() + PATIENCE).await;
    read
}
