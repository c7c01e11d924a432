//! Reads one exchange's log: from its end at first, and after every interruption from the
//! last entry that was read, so that nothing is missed, or a gap is told.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    PUBLISH_DEADLINE,
    connection::{BrokerConnection, BrokerError, within},
    poison::{Poison, PoisonCounts},
    publisher::{Message, Publisher},
    supervisor::{Backoff, Link, NOT_CONNECTED_YET, Problem},
    topology,
};
use crate::{
    bus::{BusListener, BusNotice, ExchangeConfig, Lag},
    event::{Event, Exchange, Position, PushedAt},
};

/// What the broker sends ahead of acks; bounds what waits in this process.
const PREFETCH: u16 = 256;

/// Acks go out when so many deliveries wait for one, or after [`ACK_INTERVAL`].
const ACK_BATCH: u64 = PREFETCH as u64 / 4;
const ACK_INTERVAL: Duration = Duration::from_millis(200);

/// How long the first delivery may take. A broker that was asked to read from beyond the
/// end of a stream sends nothing, and says nothing.
const FIRST_DELIVERY: Duration = Duration::from_secs(2);

/// A node of a cluster can only read a log of which it holds a copy: after so many failures
/// in a row (some 10 s) another node may know better.
const FAILURES_PER_NODE: u32 = 30;

/// The AMQP type of an entry that is for readers, not for clients: it shows a reader that
/// it reads.
const MARKER: &str = "myxi.marker";

/// When a gateway took the event, in microseconds of Unix time. AMQP's own timestamp has
/// seconds.
pub const PUSHED_AT_HEADER: &str = "x-myxi-pushed-us";

/// An entry of the log, as it is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    offset: u64,
    hash: u64,
}

/// Where to begin to read.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// At what is published from now on.
    End,
    /// At the last entry read, which is to be found there again.
    At(Entry),
    /// At an entry that is not known, behind one that cannot be read.
    Behind(u64),
}

pub struct Reader {
    config: ExchangeConfig,
    link: Link,
    publisher: Publisher,
    listener: Arc<dyn BusListener>,
    max_event_size: usize,
    health: Arc<Health>,
    readers: Readers,
    start: Start,
    /// The differences between configuration and broker have been looked for.
    compared: bool,
}

/// What the readers of one bus know of each other: they share a connection.
#[derive(Clone)]
pub struct Readers {
    /// How many read now.
    attached: Arc<AtomicUsize>,
    /// Whether there is another node to go to.
    other_nodes: bool,
}

impl Readers {
    pub fn new(nodes: usize) -> Self {
        Self { attached: Arc::default(), other_nodes: nodes > 1 }
    }

    /// Whether giving the connection up may help, and interrupts nobody who reads.
    fn may_change_node(&self) -> bool {
        self.other_nodes && self.attached.load(Ordering::Relaxed) == 0
    }
}

/// What others see of a [`Reader`].
pub struct Health {
    /// Has been attached once.
    pub attached: AtomicBool,
    pub problem: Problem,
    pub lag: Lag,
    /// Entries that are no events.
    pub skipped: PoisonCounts,
}

impl Health {
    fn new(exchange: &Exchange) -> Self {
        let problem = Problem::new(format!("exchange {exchange}, reading"));
        problem.not_yet(NOT_CONNECTED_YET);
        let (attached, lag, skipped) = Default::default();
        Self { attached, problem, lag, skipped }
    }
}

impl Reader {
    pub fn new(
        config: ExchangeConfig,
        link: Link,
        publisher: Publisher,
        listener: Arc<dyn BusListener>,
        readers: Readers,
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
            readers,
            start: Start::End,
            compared: false,
        }
    }

    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut failures = 0;
        while let Some(connection) = self.link.connection().await {
            let error = match self.attach(&connection).await {
                Ok(mut tail) => {
                    backoff.reset();
                    failures = 0;
                    self.health.problem.set(None);
                    self.readers.attached.fetch_add(1, Ordering::Relaxed);
                    let error = self.follow(&mut tail).await;
                    self.readers.attached.fetch_sub(1, Ordering::Relaxed);
                    error
                }
                Err(e) => e,
            };
            error.show(&self.health.problem);
            if error.is_unreadable() {
                self.step_over_unreadable(&connection).await;
            }
            failures += 1;
            if failures % FAILURES_PER_NODE == 0 && self.readers.may_change_node() {
                connection.cut();
            }
            backoff.wait().await;
        }
    }

    /// Begins to read, and makes sure that it does: at the right entry, or telling a gap.
    async fn attach(&mut self, connection: &BrokerConnection) -> Result<Tail, BrokerError> {
        topology::ensure(connection, &self.config).await?;
        if !self.compared {
            topology::warn_of_differences(connection, &self.config).await?;
            self.compared = true;
        }
        let mut tail = Tail::open(connection, &self.config, self.start, PREFETCH).await?;
        if !matches!(self.start, Start::At(_)) {
            self.publish_marker().await?;
        }
        let first = tail.next_within(FIRST_DELIVERY).await?;
        let entry = first.as_ref().map(entry_of).transpose()?;
        match (self.start, first, entry) {
            (Start::End, Some(delivery), Some(entry)) => {
                let exchange = self.config.name.clone();
                let first_time = !self.health.attached.load(Ordering::Relaxed);
                self.listener
                    .notice(match first_time {
                        true => BusNotice::Attached(exchange),
                        false => BusNotice::Gap(exchange),
                    })
                    .await;
                self.health.attached.store(true, Ordering::Relaxed);
                self.deliver(delivery, entry).await;
                Ok(tail)
            }
            (Start::At(last), Some(_), Some(entry)) if entry == last => Ok(tail),
            (Start::Behind(offset), Some(delivery), Some(entry)) if entry.offset == offset => {
                self.deliver(delivery, entry).await;
                Ok(tail)
            }
            (Start::End, ..) => Err(BrokerError::Timeout("the marker in the log")),
            _ => {
                // The gap is told when reading has begun again, so that nothing falls
                // between the two.
                tracing::warn!(exchange = %self.config.name, "the log is not where it was left");
                self.start = Start::End;
                Err(BrokerError::Unexpected("the log is not where it was left".into()))
            }
        }
    }

    /// Delivers until reading fails; comes back with the reason.
    async fn follow(&mut self, tail: &mut Tail) -> BrokerError {
        loop {
            let followed = async {
                if let Some(delivery) = tail.next().await? {
                    let entry = entry_of(&delivery)?;
                    self.deliver(delivery, entry).await;
                }
                Ok(())
            };
            if let Err(e) = followed.await {
                return e;
            }
        }
    }

    async fn deliver(&mut self, delivery: Delivery, entry: Entry) {
        self.start = Start::At(entry);
        if is_marker(&delivery.properties) {
            return;
        }
        let pushed_at = pushed_at_of(&delivery.properties);
        self.health.lag.read(pushed_at);
        let read = Event::read(
            &self.config.name,
            delivery.routing_key.as_str(),
            &delivery.data,
            self.max_event_size,
            Position(entry.offset),
            pushed_at,
        );
        match read {
            Ok(event) => self.listener.notice(BusNotice::Event(Arc::new(event))).await,
            Err(error) => self.skip(entry.offset, (&error).into()),
        }
    }

    /// Logs less and less, for whoever publishes nonsense may publish a lot of it.
    fn skip(&self, offset: u64, poison: Poison) {
        self.health.skipped.count(poison);
        let skipped = self.health.skipped.total();
        if skipped.is_power_of_two() {
            let (exchange, what) = (&self.config.name, poison.what());
            tracing::warn!(%exchange, offset, skipped, "skipped an entry of the log: {what}");
        }
    }

    /// Something that lapin cannot read has cost the connection of all readers. Finds out,
    /// on a connection of its own, whether it is the entry that this one is to read next.
    async fn step_over_unreadable(&mut self, connection: &BrokerConnection) {
        let suspect = match self.start {
            Start::End => return,
            Start::At(last) => last.offset + 1,
            Start::Behind(offset) => offset,
        };
        let read = async {
            let apart = connection.open_another().await?;
            let mut tail = Tail::open(&apart, &self.config, Start::Behind(suspect), 1).await?;
            let read = tail.next_within(FIRST_DELIVERY).await.map(drop);
            apart.close(Instant::now() + FIRST_DELIVERY).await;
            read
        };
        if read.await.is_err_and(|e| e.is_unreadable()) {
            self.skip(suspect, Poison::Unreadable);
            self.start = Start::Behind(suspect + 1);
        }
    }

    async fn publish_marker(&self) -> Result<(), BrokerError> {
        let deadline = Instant::now() + PUBLISH_DEADLINE;
        // Never the same twice: an entry is known again by its hash.
        let id = format!("{:032x}", rand::random::<u128>());
        let marker = Message {
            exchange: topology::input_exchange(&self.config.name),
            routing_key: "".into(),
            properties: BasicProperties::default()
                .with_type(MARKER.into())
                .with_message_id(id.into()),
            headers: FieldTable::default(),
            body: Vec::new(),
        };
        let _ = timeout(PUBLISH_DEADLINE, self.publisher.ready()).await;
        let published = self.publisher.publish(marker, deadline).await;
        published.map_err(|e| BrokerError::Unexpected(format!("the marker was not published: {e}")))
    }
}

/// A consumer of a log, with the acks it owes.
struct Tail {
    channel: Channel,
    consumer: Consumer,
    /// The last delivery that is not acked yet.
    unacked: Option<u64>,
    acked: u64,
    ack_at: Instant,
}

impl Tail {
    async fn open(
        connection: &BrokerConnection,
        config: &ExchangeConfig,
        start: Start,
        prefetch: u16,
    ) -> Result<Self, BrokerError> {
        let offset = |offset: u64| AMQPValue::LongLongInt(offset as i64);
        let from = match start {
            Start::End => AMQPValue::LongString("next".into()),
            Start::At(entry) => offset(entry.offset),
            Start::Behind(entry) => offset(entry),
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), from);
        let channel = connection.channel().await?;
        within("setting a prefetch", channel.basic_qos(prefetch, BasicQosOptions::default()))
            .await?;
        let consuming = channel.basic_consume(
            topology::log_stream(&config.name),
            "".into(),
            BasicConsumeOptions::default(),
            arguments,
        );
        let consumer = within("beginning to read a log", consuming).await?;
        Ok(Self { channel, consumer, unacked: None, acked: 0, ack_at: Instant::now() })
    }

    /// The next delivery, or `None` when acks went out instead.
    async fn next(&mut self) -> Result<Option<Delivery>, BrokerError> {
        if self.unacked.is_some_and(|tag| tag - self.acked >= ACK_BATCH) {
            self.ack().await?;
        }
        tokio::select! {
            delivery = self.consumer.next() => {
                let cancelled = || BrokerError::Unexpected("the broker ended the reading".into());
                let delivery = delivery.ok_or_else(cancelled)??;
                if self.unacked.replace(delivery.delivery_tag).is_none() {
                    self.ack_at = Instant::now() + ACK_INTERVAL;
                }
                Ok(Some(delivery))
            }
            () = sleep_until(self.ack_at), if self.unacked.is_some() => {
                self.ack().await?;
                Ok(None)
            }
        }
    }

    async fn next_within(&mut self, patience: Duration) -> Result<Option<Delivery>, BrokerError> {
        timeout(patience, self.next()).await.unwrap_or(Ok(None))
    }

    async fn ack(&mut self) -> Result<(), BrokerError> {
        if let Some(tag) = self.unacked.take() {
            let ack = self.channel.basic_ack(tag, BasicAckOptions { multiple: true });
            within("acknowledging", ack).await?;
            self.acked = tag;
        }
        Ok(())
    }
}

fn entry_of(delivery: &Delivery) -> Result<Entry, BrokerError> {
    let headers = delivery.properties.headers().as_ref();
    let Some(AMQPValue::LongLongInt(offset)) =
        headers.and_then(|headers| headers.inner().get("x-stream-offset"))
    else {
        return Err(BrokerError::Unexpected("the log is not a stream".into()));
    };
    let mut hasher = DefaultHasher::new();
    delivery.routing_key.as_str().hash(&mut hasher);
    delivery.properties.message_id().as_ref().map(|id| id.as_str()).hash(&mut hasher);
    delivery.data.hash(&mut hasher);
    Ok(Entry { offset: *offset as u64, hash: hasher.finish() })
}

pub fn pushed_at_value(PushedAt(micros): PushedAt) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// Absent where another program published the entry.
fn pushed_at_of(properties: &BasicProperties) -> Option<PushedAt> {
    match properties.headers().as_ref()?.inner().get(PUSHED_AT_HEADER)? {
        AMQPValue::LongLongInt(micros) => u64::try_from(*micros).ok().map(PushedAt),
        _ => None,
    }
}

fn is_marker(properties: &BasicProperties) -> bool {
    properties.kind().as_ref().is_some_and(|kind| kind.as_str() == MARKER)
}
