//! Reads one exchange's log: from its end at first, and after every interruption from where it
//! was, so that nothing is missed, or a gap is told before what comes behind it.
//!
//! The broker's word is not enough for that. Within one consumer it passes over what was cut
//! away, begins again at the log's head, or falls silent for good, and says nothing. So the
//! offsets of what comes are held against those of what came ([`trail`]), and silence is
//! looked into ([`watchdog`]).

mod entry;
mod tail;
mod trail;
mod watchdog;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use lapin::message::Delivery;
use tokio::time::{Instant, timeout};

pub use self::entry::{PUSHED_AT_HEADER, pushed_at_value};
use self::{
    entry::Kind,
    tail::{From, PREFETCH, Tail},
    trail::{Continuity, Found, Trail},
    watchdog::{Advice, TICK, Watchdog},
};
use super::{
    PUBLISH_DEADLINE,
    connection::{BrokerConnection, BrokerError},
    marker,
    poison::{Poison, PoisonCounts},
    publisher::Publisher,
    supervisor::{Backoff, Link, Problem},
    topology,
};
use crate::{
    bus::{BusListener, BusNotice, ExchangeConfig, Lag},
    event::{Event, Exchange, Position},
};

/// How long an entry may take that must come; a broker that is asked to read from beyond the
/// end of a log sends nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// A node of a cluster can only read a log of which it holds a copy: when reading has failed
/// for so long another node may know better.
const PER_NODE: Duration = Duration::from_secs(10);

/// Markers stand in the log at least every thousand entries or so. Which replica publishes the
/// next is drawn; its marker serves all.
const MARKER_AFTER: std::ops::Range<usize> = 500..900;

/// Entries next to each other that cannot be read and are stepped over in one go.
const UNREADABLE_AT_ONCE: usize = 64;

pub struct Reader {
    config: ExchangeConfig,
    link: Link,
    publisher: Publisher,
    listener: Arc<dyn BusListener>,
    max_event_size: usize,
    health: Arc<Health>,
    /// Where it was; nothing where it is to begin at the end.
    trail: Option<Trail>,
    /// The trail's length at which a marker is published.
    next_marker: usize,
    /// Entries were passed over that may have been events: to be told before the next one.
    gap_due: bool,
    /// The differences between configuration and broker have been looked for.
    compared: bool,
}

/// What others see of a [`Reader`].
#[derive(Default)]
pub struct Health {
    /// Has been attached once.
    pub attached: AtomicBool,
    pub problem: Problem,
    pub lag: Lag,
    /// Entries that are no events.
    pub skipped: PoisonCounts,
    /// Gaps told.
    pub gaps: AtomicU64,
    /// How often nothing came though there was something to read.
    pub stalls: AtomicU64,
}

/// How a log that was read before is found again.
enum Resumed {
    /// Where it was left; the first delivery behind that may have come already.
    There(Tail, Option<Box<Delivery>>),
    /// It is another log; perhaps its end is known.
    Other(Option<(Tail, Trail)>),
}

impl Reader {
    pub fn new(
        config: ExchangeConfig,
        link: Link,
        publisher: Publisher,
        listener: Arc<dyn BusListener>,
        max_event_size: usize,
    ) -> Self {
        let health = Arc::new(Health::default());
        health.problem.set(Some("not connected to the broker yet".into()));
        Self {
            config,
            link,
            publisher,
            listener,
            max_event_size,
            health,
            trail: None,
            next_marker: rand::random_range(MARKER_AFTER),
            gap_due: false,
            compared: false,
        }
    }

    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    pub async fn run(mut self) {
        while let Some(connection) = self.link.connection().await {
            self.read_over(&connection).await;
        }
    }

    /// Reads for as long as this connection is the one in use.
    async fn read_over(&mut self, connection: &Arc<BrokerConnection>) {
        let mut backoff = Backoff::default();
        let mut read_last = Instant::now();
        while self.link.uses(connection) {
            let error = match self.attach(connection).await {
                Ok(mut tail) => {
                    backoff.reset();
                    self.health.problem.set(None);
                    let error = self.follow(&mut tail, connection).await;
                    read_last = Instant::now();
                    error
                }
                Err(e) => e,
            };
            self.health.problem.set(Some(error.to_string()));
            tracing::debug!(exchange = %self.config.name, "not reading: {error}");
            if error.is_unreadable() {
                self.step_over_unreadable(connection).await;
            }
            if read_last.elapsed() >= PER_NODE {
                connection.cut();
            }
            backoff.wait().await;
        }
    }

    /// Begins to read, and makes sure that it does: where it was, or telling a gap.
    async fn attach(&mut self, connection: &BrokerConnection) -> Result<Tail, BrokerError> {
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
        }
        let (tail, trail) = match end {
            Some(end) => end,
            None => self.attach_at_end(connection).await?,
        };
        self.trail = Some(trail);
        if self.health.attached.swap(true, Relaxed) {
            self.tell_gap().await;
        } else {
            self.listener.notice(BusNotice::Attached(self.config.name.clone())).await;
        }
        Ok(tail)
    }

    /// The end is where a marker is read that was published when reading had begun. What comes
    /// before it came before.
    async fn attach_at_end(
        &self,
        connection: &BrokerConnection,
    ) -> Result<(Tail, Trail), BrokerError> {
        let mut tail = Tail::open(connection, &self.config.name, From::End, PREFETCH).await?;
        let id = self.publish_marker().await?;
        loop {
            let delivery = tail.next_within(PATIENCE, "the marker in the log").await?;
            if entry::id(&delivery) == id {
                let entry = entry::of(&delivery, &id)?;
                return Ok((tail, Trail::new(id, entry)));
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
        let mut tail = Tail::open(connection, &self.config.name, from, PREFETCH).await?;
        let mut retrace = trail.retrace();
        if retrace.is_over() {
            // So that something comes.
            self.publish_marker().await?;
        }
        let mut delivery = tail.next(Instant::now() + PATIENCE).await?;
        if delivery.is_none() {
            // Either the broker is slow, or the log ends before that place: then a marker does.
            let (end, at) = self.attach_at_end(connection).await?;
            if at.last() <= trail.last() {
                return Ok(Resumed::Other(Some((end, at))));
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

    /// Delivers until reading fails; returns the reason.
    async fn follow(&mut self, tail: &mut Tail, connection: &BrokerConnection) -> BrokerError {
        let mut watchdog = Watchdog::new();
        loop {
            let followed = match tail.next(Instant::now() + TICK).await {
                Ok(Some(delivery)) => {
                    watchdog.heard();
                    self.take(delivery, connection).await
                }
                Ok(None) => self.look_into(watchdog.tick(self.publisher.confirmed())).await,
                Err(e) => Err(e),
            };
            if let Err(error) = followed {
                return error;
            }
        }
    }

    /// A moment has passed in which nothing came.
    async fn look_into(&mut self, advice: Advice) -> Result<(), BrokerError> {
        self.tell_due_gap().await;
        match advice {
            Advice::Wait => Ok(()),
            Advice::PublishMarker => {
                self.publish_marker_meanwhile();
                Ok(())
            }
            Advice::Stuck => {
                self.health.stalls.fetch_add(1, Relaxed);
                Err(BrokerError::Stuck)
            }
        }
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
                if is_cut_behind(trail.last(), connection, &self.config.name).await? {
                    let (exchange, last) = (&self.config.name, trail.last());
                    tracing::warn!(%exchange, last, offset, "the log was cut before it was read");
                    trail.cut_before(offset);
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
                return Ok(());
            }
            Kind::Newer => {
                trail.pass(entry::of(&delivery, trail.marker())?);
                self.gap_due = true;
                self.skip(offset, Poison::Newer);
            }
            Kind::Event => {
                trail.pass(entry::of(&delivery, trail.marker())?);
                self.tell_due_gap().await;
                self.deliver(&delivery, offset).await;
            }
        }
        if self.trail.as_ref().is_some_and(|trail| trail.len() >= self.next_marker) {
            self.next_marker += MARKER_AFTER.start;
            self.publish_marker_meanwhile();
        }
        Ok(())
    }

    async fn deliver(&self, delivery: &Delivery, offset: u64) {
        let pushed_at = entry::pushed_at(&delivery.properties);
        self.health.lag.read(pushed_at);
        let read = Event::read(
            &self.config.name,
            delivery.routing_key.as_str(),
            &delivery.data,
            self.max_event_size,
            Position(offset),
            pushed_at,
        );
        match read {
            Ok(event) => self.listener.notice(BusNotice::Event(Arc::new(event))).await,
            Err(error) => self.skip(offset, (&error).into()),
        }
    }

    async fn tell_due_gap(&mut self) {
        if std::mem::take(&mut self.gap_due) {
            self.tell_gap().await;
        }
    }

    async fn tell_gap(&self) {
        self.health.gaps.fetch_add(1, Relaxed);
        self.listener.notice(BusNotice::Gap(self.config.name.clone())).await;
    }

    /// Logs less and less, for whoever publishes nonsense may publish a lot of it.
    fn skip(&self, offset: u64, poison: Poison) {
        let skipped = self.health.skipped.count(poison);
        if skipped.is_power_of_two() {
            let (exchange, what) = (&self.config.name, poison.what());
            tracing::warn!(%exchange, offset, skipped, "skipped an entry of the log: {what}");
        }
    }

    /// What cannot be read has cost the connection. Finds out, on connections of their own,
    /// what it was: the entries that are next, one after another.
    async fn step_over_unreadable(&mut self, connection: &BrokerConnection) {
        let Some(last) = self.trail.as_ref().map(Trail::last) else { return };
        for suspect in (last + 1..).take(UNREADABLE_AT_ONCE) {
            let from = From::Offset(suspect);
            let read = read_apart(connection, &self.config.name, from).await;
            if !read.is_err_and(|e| e.is_unreadable()) {
                return;
            }
            self.skip(suspect, Poison::Unreadable);
            self.trail.iter_mut().for_each(|trail| trail.step_over(suspect));
        }
    }

    async fn publish_marker(&self) -> Result<String, BrokerError> {
        let (marker, id) = marker::new(&self.config.name);
        let _ = timeout(PUBLISH_DEADLINE, self.publisher.ready()).await;
        let published = self.publisher.publish(marker, Instant::now() + PUBLISH_DEADLINE).await;
        let failed = |e| BrokerError::Unexpected(format!("the marker was not published: {e}"));
        published.map(|()| id).map_err(failed)
    }

    /// Without waiting for it. One that fails is missed by nobody: there will be another.
    fn publish_marker_meanwhile(&self) {
        let (publisher, (marker, _)) = (self.publisher.clone(), marker::new(&self.config.name));
        tokio::spawn(async move {
            let _ = publisher.publish(marker, Instant::now() + PUBLISH_DEADLINE).await;
        });
    }
}

/// Whether the log does not have any more what stood behind this offset.
async fn is_cut_behind(
    last: u64,
    connection: &BrokerConnection,
    exchange: &Exchange,
) -> Result<bool, BrokerError> {
    match read_apart(connection, exchange, From::First).await {
        Ok(first) => Ok(first > last + 1),
        // Then nobody can say.
        Err(e) if e.is_unreadable() => Ok(true),
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

fn went_back() -> BrokerError {
    BrokerError::Unexpected("the broker went back in the log".into())
}
