//! Reads what a log holds already, on a connection of its own, which that may cost. It is read
//! from the first marker on: only behind one is an entry known.

use lapin::message::Delivery;
use tokio::time::Instant;

use super::{
    PATIENCE, apart, events,
    tail::{From, PREFETCH, Tail},
    trail::{Continuity, Trail},
    went_back,
};
use crate::{
    bus::{
        LogEntry, SeenIds,
        rabbitmq::{
            connection::{BrokerConnection, BrokerError},
            entry::{self, Kind},
        },
    },
    event::{Entry, Exchange},
};

/// So many entries may stand before the first marker that is met.
pub(super) const MARKER_WITHIN: u64 = 2_000;

pub(super) struct Past {
    connection: BrokerConnection,
    exchange: Exchange,
    max_event_size: usize,
    tail: Tail,
    /// Since the last marker; nothing before the first.
    trail: Option<Trail>,
    /// Of the events from there on.
    seen: SeenIds,
    /// What was read last.
    delivery: Option<Delivery>,
}

impl Past {
    /// Over a connection that nothing else needs.
    pub(super) async fn open(
        connection: BrokerConnection,
        exchange: Exchange,
        from: From,
        max_event_size: usize,
    ) -> Result<Self, BrokerError> {
        let tail = Tail::open(&connection, &exchange, from, PREFETCH).await?;
        let (trail, seen, delivery) = Default::default();
        Ok(Self { connection, exchange, max_event_size, tail, trail, seen, delivery })
    }

    /// The next entry, as a listener is told of it. Where entries may be missing before it, that
    /// is an error, and nothing is to be read any further.
    pub(super) async fn next(&mut self) -> Result<LogEntry<'_>, BrokerError> {
        let (delivery, id) = loop {
            let delivery = self.tail.next_within(PATIENCE, "an entry of the log").await?;
            if let Some(id) = self.pass(&delivery).await? {
                break (delivery, id);
            }
        };
        let delivery = self.delivery.insert(delivery);
        Ok(events::read(delivery, id, self.max_event_size, &mut self.seen, |_| {}))
    }

    /// What it is known by, which nothing is before the first marker.
    async fn pass(&mut self, delivery: &Delivery) -> Result<Option<Entry>, BrokerError> {
        let offset = entry::offset(delivery)?;
        if let Some(trail) = &self.trail {
            match trail.continuity(offset) {
                Continuity::Next => {}
                Continuity::Back => return Err(went_back()),
                Continuity::Jump => {
                    if apart::is_cut_behind(trail.last(), &self.connection, &self.exchange).await? {
                        return Err(hole("the log was cut meanwhile"));
                    }
                }
            }
        }
        match (entry::kind(delivery), &mut self.trail) {
            (Kind::Marker, trail) => {
                let id = entry::id(delivery).to_owned();
                let entry = entry::of(delivery, &id)?;
                *trail = Some(Trail::new(id, entry));
                Ok(Some(entry))
            }
            (Kind::Events, Some(trail)) => {
                let entry = entry::of(delivery, trail.marker())?;
                trail.pass(entry);
                Ok(Some(entry))
            }
            (Kind::Newer, Some(_)) => Err(hole("a newer replica published to the log")),
            (Kind::Events | Kind::Newer, None) => Ok(None),
        }
    }

    /// Answers the ids that were seen.
    pub(super) async fn close(self) -> SeenIds {
        self.connection.close(Instant::now() + PATIENCE).await;
        self.seen
    }
}

fn hole(why: &str) -> BrokerError {
    BrokerError::Unexpected(why.into())
}
