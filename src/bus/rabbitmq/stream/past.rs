//! Reads what a log holds already, on a connection of its own, which that may cost. It is read
//! from the first marker on: only behind one is an entry known.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use lapin::message::Delivery;
use tokio::{task::yield_now, time::Instant};

use super::{
    PATIENCE, apart, events,
    tail::{From, PREFETCH, Tail},
    trail::{Continuity, Trail},
    went_back,
};
use crate::{
    bus::{
        LogEntry, LogReading, NotRead, SeenIds,
        rabbitmq::{
            connection::{BrokerConnection, BrokerError},
            entry::{self, Kind},
        },
    },
    event::{Entry, Exchange},
};

/// So many entries may stand before the first marker that is met.
pub(super) const MARKER_WITHIN: u64 = 2_000;

pub(in crate::bus::rabbitmq) struct Past {
    connection: BrokerConnection,
    exchange: Exchange,
    max_event_size: usize,
    tail: Tail,
    /// Behind what was read, or stepped over.
    next: u64,
    /// Something that cannot be read may be near: entries are asked for one at a time.
    careful: bool,
    /// Since the last marker; nothing before the first,
    trail: Option<Trail>,
    /// which must not stand behind this offset.
    marker_by: u64,
    /// Of the events from there on.
    seen: SeenIds,
    /// What was read last.
    delivery: Option<Delivery>,
}

impl Past {
    /// So that the entry at this offset is known, if the log has a marker before it.
    pub(in crate::bus::rabbitmq) async fn leading_to(
        offset: u64,
        connection: &BrokerConnection,
        exchange: &Exchange,
        max_event_size: usize,
    ) -> Result<Self, BrokerError> {
        let from = offset.saturating_sub(MARKER_WITHIN);
        let apart = connection.open_another().await?;
        Self::open(apart, exchange.clone(), from..=offset, max_event_size).await
    }

    /// Over a connection that nothing else needs. The first marker stands among these offsets, or
    /// nothing is known.
    pub(super) async fn open(
        connection: BrokerConnection,
        exchange: Exchange,
        marker_in: RangeInclusive<u64>,
        max_event_size: usize,
    ) -> Result<Self, BrokerError> {
        let (from, marker_by) = marker_in.into_inner();
        let tail = Tail::open(&connection, &exchange, From::Offset(from), PREFETCH).await?;
        let (careful, trail, seen, delivery) = Default::default();
        Ok(Self {
            connection,
            exchange,
            max_event_size,
            tail,
            next: from,
            careful,
            trail,
            marker_by,
            seen,
            delivery,
        })
    }

    /// The next entry, as a listener is told of it. Where entries may be missing before it, that
    /// is an error, and nothing is to be read any further.
    pub(super) async fn next(&mut self) -> Result<LogEntry<'_>, BrokerError> {
        let (delivery, id) = loop {
            let delivery = match self.tail.next_within(PATIENCE, "an entry of the log").await {
                Err(error) if error.unreadable().is_some() => {
                    self.go_around(error).await?;
                    continue;
                }
                read => read?,
            };
            self.next = entry::offset(&delivery)? + 1;
            if let Some(id) = self.pass(&delivery).await? {
                break (delivery, id);
            }
        };
        let delivery = self.delivery.insert(delivery);
        let entry = events::read(delivery, id, self.max_event_size, &mut self.seen, |_| {});
        if entry.events.len() > 1 {
            // As where it is read live: others share this runtime.
            yield_now().await;
        }
        Ok(entry)
    }

    /// As where it is read live: what cannot be read is approached entry by entry, then stepped
    /// over.
    async fn go_around(&mut self, error: BrokerError) -> Result<(), BrokerError> {
        if std::mem::replace(&mut self.careful, true) {
            let unread = apart::unreadable_from(self.next, &self.connection, &self.exchange).await;
            if unread.may_hide_others || unread.offsets.is_empty() {
                return Err(error);
            }
            self.next = unread.offsets.end;
            self.trail.iter_mut().for_each(|trail| trail.step_over(unread.offsets.end - 1));
        }
        self.connection = self.connection.open_another().await?;
        let from = From::Offset(self.next);
        self.tail = Tail::open(&self.connection, &self.exchange, from, 1).await?;
        Ok(())
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
                        return Err(BrokerError::Hole("the log was cut meanwhile"));
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
            (Kind::Newer, Some(_)) => {
                Err(BrokerError::Hole("a newer replica published to the log"))
            }
            (Kind::Events | Kind::Newer, None) if offset < self.marker_by => Ok(None),
            (Kind::Events | Kind::Newer, None) => {
                Err(BrokerError::Hole("no marker tells what stands there"))
            }
        }
    }

    /// Answers the ids that were seen.
    pub(super) async fn close(self) -> SeenIds {
        self.connection.close(Instant::now() + PATIENCE).await;
        self.seen
    }
}

#[async_trait]
impl LogReading for Past {
    async fn next(&mut self) -> Result<LogEntry<'_>, NotRead> {
        let exchange = self.exchange.clone();
        Past::next(self).await.map_err(|error| not_read(&exchange, &error))
    }

    async fn close(self: Box<Self>) {
        Past::close(*self).await;
    }
}

pub(in crate::bus::rabbitmq) fn not_read(exchange: &Exchange, error: &BrokerError) -> NotRead {
    tracing::debug!(%exchange, %error, "the log is not read on");
    match error {
        BrokerError::Hole(_) => NotRead::Hole,
        error if error.unreadable().is_some() => NotRead::Hole,
        _ => NotRead::Unavailable,
    }
}
