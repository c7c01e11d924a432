//! What a log holds already, read before a replica is ready: its clients may come from another
//! one, and are owed what that would have sent them.

use std::time::Duration;

use lapin::message::Delivery;
use tokio::time::timeout;

use super::{
    PATIENCE, Reader,
    past::{MARKER_WITHIN, Past},
    tail::{From, PREFETCH, Tail},
};
use crate::{
    bus::{
        SeenIds,
        rabbitmq::{
            connection::{BrokerConnection, BrokerError},
            entry,
        },
    },
    event::Entry,
};

/// The last entries of a log, by which it is guessed how many are wanted.
const SAMPLE: u64 = 64;

/// What an entry costs beside its body, and each event that it holds, in bytes: in time rather
/// than in memory, for so many small ones must be read while the gateway starts.
const ENTRY_COST: usize = 2_000;
const EVENT_COST: usize = 256;

/// How long what was guessed may take, and then, where that was too much, what is sure to be read.
const WITHIN: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(2)];

/// The last part of a log,
enum Part {
    /// about so many bytes in memory,
    Bytes(usize),
    /// or so many entries.
    Entries(u64),
}

impl Reader {
    /// Tells the listener of what stands before the log's end: all of the last part, or nothing.
    pub(super) async fn warm(&mut self, connection: &BrokerConnection, end: Entry) {
        let wanted = self.listener.past_wanted();
        if wanted == 0 || end.offset == 0 {
            return;
        }
        let mut part = Part::Bytes(wanted);
        for within in WITHIN {
            let mut told = 0;
            let read = timeout(within, self.read_past(part, connection, end, &mut told)).await;
            match read.unwrap_or(Err(BrokerError::Timeout("reading what a log holds already"))) {
                Ok(seen) => {
                    self.seen = seen;
                    return;
                }
                Err(error) => tracing::info!(
                    exchange = %self.config.name, %error, told,
                    "the end of the log is not in memory: whoever comes back is served from the \
                    log itself"
                ),
            }
            self.listener.past_lost(&self.config.name);
            part = Part::Entries(told / 2);
        }
    }

    /// Up to the end. Answers the ids that were seen on the way.
    async fn read_past(
        &self,
        part: Part,
        connection: &BrokerConnection,
        end: Entry,
        told: &mut u64,
    ) -> Result<SeenIds, BrokerError> {
        let (exchange, max_event_size) = (&self.config.name, self.max_event_size);
        let apart = connection.open_another().await?;
        let entries = match part {
            Part::Bytes(bytes) => self.entries_in(bytes, &apart, end).await?,
            Part::Entries(entries) => entries,
        };
        let from = end.offset.saturating_sub(entries + MARKER_WITHIN);
        let mut past =
            Past::open(apart, exchange.clone(), from..=end.offset, max_event_size).await?;
        loop {
            let entry = past.next().await?;
            if entry.id == end {
                return Ok(past.close().await);
            }
            if entry.id.offset >= end.offset {
                return Err(BrokerError::Unexpected("the log was made anew meanwhile".into()));
            }
            self.listener.past(exchange, entry);
            *told += 1;
        }
    }

    /// About how many of the last entries cost so many bytes.
    async fn entries_in(
        &self,
        bytes: usize,
        connection: &BrokerConnection,
        end: Entry,
    ) -> Result<u64, BrokerError> {
        let from = From::Offset(end.offset.saturating_sub(SAMPLE));
        let mut tail = Tail::open(connection, &self.config.name, from, PREFETCH).await?;
        let (mut entries, mut cost) = (0, 0);
        loop {
            let delivery = tail.next_within(PATIENCE, "an entry of the log").await?;
            let offset = entry::offset(&delivery)?;
            if offset >= end.offset {
                return Ok((bytes as u64).saturating_mul(entries) / cost.max(1));
            }
            entries += 1;
            cost += self.cost(&delivery, offset) as u64;
        }
    }

    fn cost(&self, delivery: &Delivery, offset: u64) -> usize {
        let id = Entry { offset, hash: 0 };
        let events = entry::events(delivery, id, self.max_event_size);
        ENTRY_COST + delivery.data.len() + EVENT_COST * events.map_or(0, |events| events.len())
    }
}
