//! Reads one exchange's log: from its end at first, and after every interruption from where it
//! was, so that nothing is missed, or a gap is told before what comes behind it.
//!
//! The broker's word is not enough for that. Within one consumer it passes over what was cut
//! away, begins again at the log's head, or falls silent for good, and says nothing. So the
//! offsets of what comes are held against those of what came ([`trail`]), and silence is
//! looked into ([`watchdog`]).

mod apart;
mod attach;
mod events;
mod past;
mod tail;
mod trail;
mod warm;
mod watchdog;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use lapin::message::Delivery;
use tokio::time::Instant;

pub(super) use self::past::{Past, not_read};
use self::{
    tail::Tail,
    trail::{Continuity, Trail},
    watchdog::{Advice, TICK, Watchdog},
};
use super::{
    ExchangeConfig,
    connection::{BrokerConnection, BrokerError},
    entry::{self, Kind},
    marker,
    publisher::Publisher,
    supervisor::{Link, NOT_CONNECTED_YET, Problem, backoff},
};
use crate::{
    bus::{BusListener, Lag, LogEntry, SeenIds, SkipCounts, SkipReason},
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

/// What others see of a [`Reader`].
pub(super) struct Health {
    /// Has been attached once.
    pub attached: AtomicBool,
    pub problem: Problem,
    pub lag: Lag,
    /// Entries that are no events.
    pub skipped: SkipCounts,
    /// Events that were pushed again.
    pub duplicates: AtomicU64,
    /// Gaps told.
    pub gaps: AtomicU64,
    /// How often nothing came though there was something to read.
    pub stalls: AtomicU64,
}

impl Health {
    fn new(exchange: &Exchange) -> Self {
        let problem = Problem::new(format!("exchange {exchange}, reading"));
        problem.not_yet(NOT_CONNECTED_YET);
        let (attached, lag, skipped, duplicates, gaps, stalls) = Default::default();
        Self { attached, problem, lag, skipped, duplicates, gaps, stalls }
    }

    /// Logs less and less, for whoever publishes nonsense may publish a lot of it.
    fn skip(&self, exchange: &Exchange, offset: u64, reason: SkipReason) {
        let skipped = self.skipped.count(reason);
        if skipped.is_power_of_two() {
            let what = reason.what();
            tracing::warn!(%exchange, offset, skipped, "skipped an entry of the log: {what}");
        }
    }
}

impl Reader {
    pub(super) fn new(
        config: ExchangeConfig,
        link: Link,
        publisher: Publisher,
        listener: Arc<dyn BusListener>,
        max_event_size: usize,
    ) -> Self {
        let health = Arc::new(Health::new(&config.name));
        Self {
            config,
            link,
            publisher,
            listener,
            max_event_size,
            health,
            trail: None,
            seen: SeenIds::default(),
            next_marker: rand::random_range(MARKER_AFTER),
            gap_due: false,
            careful: false,
            compared: false,
        }
    }

    pub(super) fn health(&self) -> Arc<Health> {
        self.health.clone()
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
                    self.gap_due = true;
                }
            }
        }
        match entry::kind(&delivery) {
            Kind::Marker => {
                let id = entry::id(&delivery).to_owned();
                let entry = entry::of(&delivery, &id)?;
                *trail = Trail::new(id, entry);
                self.next_marker = rand::random_range(MARKER_AFTER);
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
        self.health.skip(&self.config.name, offset, reason);
    }
}

fn went_back() -> BrokerError {
    BrokerError::Unexpected("the broker went back in the log".into())
}
