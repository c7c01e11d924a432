//! Reads one exchange's log: from its end at first, and after every interruption from where it
//! was, so that nothing is missed, or a gap is told before what comes behind it.
//!
//! The broker's word is not enough for that. Within one consumer it passes over what was cut
//! away, begins again at the log's head, or falls silent for good, and says nothing. So the
//! offsets of what comes are held against those of what came ([`trail`]), and silence is
//! looked into ([`watchdog`](super::watchdog)).

mod apart;
mod attach;
mod events;
mod past;
mod trail;
mod warm;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use lapin::{
    message::Delivery,
    types::{AMQPValue, FieldTable},
};
use tokio::time::Instant;

pub(super) use self::past::{Past, not_read};
use self::trail::{Continuity, Trail};
use super::{
    ExchangeConfig,
    connection::{BrokerConnection, BrokerError},
    entry::{self, Kind},
    health::Health,
    marker,
    publisher::Publisher,
    supervisor::{Link, backoff},
    tail::Tail,
    topology,
    watchdog::{Advice, TICK, Watchdog},
};
use crate::{
    bus::{BusListener, Keys, LogEntry, SeenIds, SkipReason},
    event::{Exchange, Position},
    net::backoff::Backoff,
};

/// How long an entry may take that must come.
const PATIENCE: Duration = Duration::from_secs(5);

/// A node of a cluster can only read a log of which it holds a copy: when reading has failed
/// for so long another node may know better.
const PER_NODE: Duration = Duration::from_secs(10);

/// Markers stand in the log at least every thousand entries or so. Which replica publishes the
/// next is drawn; its marker serves all.
const MARKER_AFTER: std::ops::Range<usize> = 500..900;

/// Entries and quiet moments that are enough to think that nothing unreadable is near.
const CAREFUL_FOR: u32 = 300;

pub(super) struct Reader {
    config: ExchangeConfig,
    link: Link,
    publisher: Publisher,
    listener: Arc<dyn BusListener>,
    max_event_size: usize,
    health: Arc<Health>,
    /// What is forwarded to the log, where that is asked for key by key.
    keys: Option<Arc<Keys>>,
    /// Where it was; nothing where it is to begin at the end.
    trail: Option<Trail>,
    /// Of the events passed without losing the trail. An id from before that must not withhold
    /// an event that is new to the log that is read now.
    seen: SeenIds,
    /// The trail's length at which a marker is published.
    next_marker: usize,
    /// Entries were passed over that may have been events: to be told before the next one.
    gap_due: bool,
    /// Something that cannot be read may be near: entries are asked for one at a time.
    careful: bool,
    /// The differences between configuration and broker have been looked for.
    compared: bool,
}

impl Reader {
    pub(super) fn new(
        config: ExchangeConfig,
        link: Link,
        publisher: Publisher,
        listener: Arc<dyn BusListener>,
        max_event_size: usize,
        health: Arc<Health>,
        keys: Option<Arc<Keys>>,
    ) -> Self {
        Self {
            config,
            link,
            publisher,
            listener,
            max_event_size,
            health,
            keys,
            trail: None,
            seen: SeenIds::default(),
            next_marker: rand::random_range(MARKER_AFTER),
            gap_due: false,
            careful: false,
            compared: false,
        }
    }

    pub(super) async fn run(mut self) {
        while let Some(connection) = self.link.connection().await {
            self.read_over(&connection).await;
        }
    }

    /// Reads for as long as this connection is the one in use.
    async fn read_over(&mut self, connection: &Arc<BrokerConnection>) {
        let mut backoff = backoff();
        let mut read_last = Instant::now();
        while self.link.uses(connection) {
            let Err(error) = self.read(connection, &mut backoff, &mut read_last).await else {
                continue;
            };
            error.show(&self.health.problem);
            if error.unreadable().is_some() {
                self.bear_unreadable(connection).await;
            }
            if matches!(error, BrokerError::NoMarker(_)) {
                read_last = Instant::now();
            }
            if read_last.elapsed() >= PER_NODE || matches!(error, BrokerError::Stuck) {
                connection.give_up(error.to_string());
            }
            backoff.wait().await;
        }
    }

    /// Reads until that fails, or is to begin anew at once.
    async fn read(
        &mut self,
        connection: &BrokerConnection,
        backoff: &mut Backoff,
        read_last: &mut Instant,
    ) -> Result<(), BrokerError> {
        let mut tail = self.attach(connection).await?;
        backoff.reset();
        self.health.problem.set(None);
        let read = self.follow(&mut tail, connection).await;
        *read_last = Instant::now();
        read
    }

    /// Delivers until reading fails, or there is no more need to be careful.
    async fn follow(
        &mut self,
        tail: &mut Tail,
        connection: &BrokerConnection,
    ) -> Result<(), BrokerError> {
        let mut watchdog = Watchdog::new();
        let mut careful_for = if self.careful { CAREFUL_FOR } else { u32::MAX };
        while careful_for > 0 {
            match tail.next(Instant::now() + TICK).await? {
                Some(delivery) => {
                    watchdog.heard();
                    self.take(delivery, connection).await?;
                }
                None => {
                    if let Some(trail) = self.trail.as_ref().filter(|trail| trail.is_marked()) {
                        self.tell_due_gap(trail.position()).await;
                    }
                    self.heed(watchdog.tick(self.publisher.confirmed()))?;
                }
            }
            if self.careful {
                careful_for -= 1;
            }
        }
        self.careful = false;
        Ok(())
    }

    fn heed(&self, advice: Advice) -> Result<(), BrokerError> {
        match advice {
            Advice::Wait => {}
            Advice::PublishMarker => {
                marker::publish_meanwhile(&self.publisher, &self.config.name);
            }
            Advice::Stuck => {
                self.health.stalls.fetch_add(1, Relaxed);
                return Err(BrokerError::Stuck);
            }
        }
        Ok(())
    }

    /// The next entry, as far as it is the next: what it is, and whether all before it came.
    async fn take(
        &mut self,
        delivery: Delivery,
        connection: &BrokerConnection,
    ) -> Result<(), BrokerError> {
        let Some(trail) = &mut self.trail else { return Ok(()) };
        let offset = entry::offset(&delivery)?;
        match trail.continuity(offset) {
            Continuity::Next => {}
            Continuity::Back => return Err(went_back()),
            Continuity::Jump => {
                if apart::is_cut_behind(trail.last(), connection, &self.config.name).await? {
                    let (exchange, last) = (&self.config.name, trail.last());
                    tracing::warn!(%exchange, last, offset, "the log was cut before it was read");
                    trail.cut_before(offset);
                    self.next_marker = 0;
                    self.seen.forget();
                    self.keys.iter().for_each(|keys| keys.interrupt());
                    self.gap_due = true;
                }
            }
        }
        match entry::kind(&delivery) {
            Kind::Marker => {
                let id = entry::id(&delivery).to_owned();
                let entry = entry::of(&delivery, &id)?;
                let proves = |keys: &Arc<Keys>| keys.read(&id, Position::end_of(entry));
                let gap = self.keys.as_ref().is_some_and(proves);
                *trail = Trail::new(id, entry);
                self.next_marker = rand::random_range(MARKER_AFTER);
                if gap {
                    self.gap_due = false;
                    self.tell_gap(Some(Position::before(entry))).await;
                }
                // Nobody may stand behind a gap before it is told.
                if !self.gap_due {
                    self.pass(LogEntry::empty(entry)).await;
                }
                return Ok(());
            }
            Kind::Newer => {
                trail.pass(entry::of(&delivery, trail.marker())?);
                self.gap_due = true;
                self.skip(offset, SkipReason::Newer);
            }
            // Its position would say nothing to another replica. The gap comes with a marker.
            Kind::Events if !trail.is_marked() => {
                trail.pass(entry::of(&delivery, trail.marker())?);
                self.gap_due = true;
            }
            Kind::Events => {
                let entry = entry::of(&delivery, trail.marker())?;
                trail.pass(entry);
                self.tell_due_gap(Some(Position::before(entry))).await;
                self.deliver(&delivery, entry).await;
            }
        }
        if self.trail.as_ref().is_some_and(|trail| trail.len() >= self.next_marker) {
            self.next_marker += MARKER_AFTER.start;
            marker::publish_meanwhile(&self.publisher, &self.config.name);
        }
        Ok(())
    }

    async fn tell_due_gap(&mut self, whole_from: Option<Position>) {
        if std::mem::take(&mut self.gap_due) {
            self.tell_gap(whole_from).await;
        }
    }

    async fn tell_gap(&self, whole_from: Option<Position>) {
        self.health.gaps.fetch_add(1, Relaxed);
        self.listener.gap(&self.config.name, whole_from).await;
    }

    fn skip(&self, offset: u64, reason: SkipReason) {
        self.health.skip(&self.config.name, Some(offset), reason);
    }
}

/// Where to begin to read.
#[derive(Debug, Clone, Copy)]
enum From {
    /// The first entry that the log still has.
    First,
    /// What is published from now on.
    End,
    /// This entry, or the first one behind it. Beyond the log's end nothing comes, and the
    /// broker says nothing.
    Offset(u64),
}

/// A consumer of an exchange's log.
async fn open(
    connection: &BrokerConnection,
    exchange: &Exchange,
    from: From,
    prefetch: u16,
) -> Result<Tail, BrokerError> {
    let from = match from {
        From::First => AMQPValue::LongString("first".into()),
        From::End => AMQPValue::LongString("next".into()),
        From::Offset(offset) => AMQPValue::LongLongInt(offset as i64),
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), from);
    let channel = connection.channel().await?;
    Tail::open(channel, topology::log_stream(exchange), arguments, prefetch).await
}

fn went_back() -> BrokerError {
    BrokerError::Unexpected("the broker went back in the log".into())
}
