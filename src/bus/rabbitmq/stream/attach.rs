//! How a reader begins: at the log's end at first, and after an interruption where it was.

use std::sync::atomic::Ordering::Relaxed;

use lapin::message::Delivery;
use tokio::time::Instant;

use super::{
    From, PATIENCE, Reader, open,
    trail::{Found, Trail},
    went_back,
};
use crate::{
    bus::{
        LogEntry,
        rabbitmq::{
            connection::{BrokerConnection, BrokerError},
            entry, marker,
            tail::{PREFETCH, Tail},
            topology,
        },
    },
    event::{Entry, Position},
};

/// How a log that was read before is found again.
enum Resumed {
    /// Where it was left; the first delivery behind that may have come already.
    There(Tail, Option<Box<Delivery>>),
    /// It is another log; perhaps its end is known.
    Other(Option<End>),
}

/// The end of a log: reading goes on behind a marker.
struct End {
    tail: Tail,
    /// Its id.
    marker: String,
    entry: Entry,
}

impl Reader {
    /// Begins to read, and makes sure that it does: where it was, or telling a gap.
    pub(super) async fn attach(
        &mut self,
        connection: &BrokerConnection,
    ) -> Result<Tail, BrokerError> {
        topology::ensure(connection, &self.config).await?;
        if !self.compared {
            topology::warn_of_differences(connection, &self.config).await?;
            self.compared = true;
        }
        let end = match &self.trail {
            None => None,
            Some(trail) => match self.resume(connection, trail).await? {
                Resumed::There(tail, delivery) => {
                    if let Some(delivery) = delivery {
                        self.take(*delivery, connection).await?;
                    }
                    return Ok(tail);
                }
                Resumed::Other(end) => end,
            },
        };
        // From here on nothing leads back. The gap is told when reading has begun again, so
        // that nothing falls between the two.
        if self.trail.take().is_some() {
            tracing::warn!(exchange = %self.config.name, "the log was made anew");
            self.seen.forget();
            self.keys.iter().for_each(|keys| keys.interrupt());
        }
        let End { tail, marker, entry } = match end {
            Some(end) => end,
            None => self.attach_at_end(connection).await?,
        };
        self.trail = Some(Trail::new(marker, entry));
        if self.health.attached.load(Relaxed) {
            self.tell_gap(Some(Position::before(entry))).await;
            self.pass(LogEntry::empty(entry)).await;
        } else {
            self.warm(connection, entry).await;
            self.listener.attached(&self.config.name, Some(entry)).await;
            self.health.attached.store(true, Relaxed);
        }
        Ok(tail)
    }

    /// The end is where a marker is read that was published when reading had begun. What comes
    /// before it came before.
    async fn attach_at_end(&self, connection: &BrokerConnection) -> Result<End, BrokerError> {
        let mut tail = open(connection, &self.config.name, From::End, self.prefetch()).await?;
        let marker = marker::publish(&self.publisher, &self.config.name).await?;
        loop {
            let delivery = tail.next_within(PATIENCE, "the marker in the log").await?;
            if entry::id(&delivery) == marker {
                let entry = entry::of(&delivery, &marker)?;
                return Ok(End { tail, marker, entry });
            }
        }
    }

    /// Reads again what is known, to see that it is the same log, up to what is new. Nothing
    /// but another entry, or an end before that place, shows that it is not.
    async fn resume(
        &self,
        connection: &BrokerConnection,
        trail: &Trail,
    ) -> Result<Resumed, BrokerError> {
        let from = From::Offset(trail.start());
        let mut tail = open(connection, &self.config.name, from, self.prefetch()).await?;
        let mut retrace = trail.retrace();
        if retrace.is_over() {
            // So that something comes.
            marker::publish(&self.publisher, &self.config.name).await?;
        }
        let mut delivery = tail.next(Instant::now() + PATIENCE).await?;
        if delivery.is_none() {
            // Either the broker is slow, or the log ends before that place: then a marker does.
            let end = self.attach_at_end(connection).await?;
            if end.entry.offset <= trail.last() {
                return Ok(Resumed::Other(Some(end)));
            }
        }
        loop {
            let next = match delivery.take() {
                Some(delivery) => delivery,
                None => tail.next_within(PATIENCE, "what was read before").await?,
            };
            match retrace.meet(entry::of(&next, trail.marker())?) {
                Found::Known if retrace.is_over() => return Ok(Resumed::There(tail, None)),
                Found::Known => {}
                Found::Beyond => return Ok(Resumed::There(tail, Some(Box::new(next)))),
                Found::Different => return Ok(Resumed::Other(None)),
                Found::Before => return Err(went_back()),
            }
        }
    }

    /// One at a time the broker sends all that can be sent; see `Unreadable::Chunk`.
    fn prefetch(&self) -> u16 {
        if self.careful { 1 } else { PREFETCH }
    }
}
