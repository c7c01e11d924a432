//! A replica's queue for one direct exchange, and how it is known that the broker dropped
//! something from it.
//!
//! It is exclusive to its connection, and goes when nobody reads it any more. While a replica is
//! too slow it grows, up to a bound; past it the broker drops what is oldest, and tells neither
//! publisher nor reader. But what it drops it hands on, to a second queue that holds one message:
//! that one is there says enough.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use lapin::{
    Channel,
    message::Delivery,
    options::{BasicQosOptions, QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::{
    sync::Notify,
    time::{Duration, Instant},
};

use crate::bus::rabbitmq::{
    connection::{BrokerConnection, BrokerError, within},
    tail::{PREFETCH, Tail},
    topology,
};

/// What waits on the broker for a replica that is behind: whichever is reached first.
pub(super) const LENGTH: i32 = 10_000;
const BYTES: i64 = 64 << 20;

/// How long what was published may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Queue {
    name: ShortString,
    tail: Tail,
}

/// Where what was dropped is handed on to.
pub(super) struct Overflow {
    tail: Tail,
    dropped: Dropped,
}

/// Whether something was dropped.
#[derive(Clone, Default)]
pub(super) struct Dropped(Arc<(AtomicBool, Notify)>);

impl Queue {
    /// Of a name that is not in use.
    pub(super) async fn open(
        connection: &BrokerConnection,
        name: ShortString,
    ) -> Result<(Self, Overflow), BrokerError> {
        topology::ensure_overflow(connection).await?;
        let overflow = Overflow::open(connection, &name).await?;
        let mut arguments = bounded(LENGTH);
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(BYTES));
        let handed_on = |text: ShortString| AMQPValue::LongString(text.as_str().into());
        let exchange = handed_on(topology::overflow_exchange());
        arguments.insert("x-dead-letter-exchange".into(), exchange);
        arguments.insert("x-dead-letter-routing-key".into(), handed_on(name.clone()));
        let channel = connection.channel().await?;
        declare(&channel, name.clone(), arguments).await?;
        let tail = Tail::open(channel, name.clone(), FieldTable::default(), PREFETCH).await?;
        Ok((Self { name, tail }, overflow))
    }

    /// The next delivery; `None` when none has come by then.
    pub(super) async fn next(&mut self, until: Instant) -> Result<Option<Delivery>, BrokerError> {
        self.tail.next(until).await
    }

    /// Passes over what comes before this one, which must come.
    pub(super) async fn pass_until(
        &mut self,
        awaited: impl Fn(&Delivery) -> bool,
    ) -> Result<(), BrokerError> {
        while !awaited(&self.tail.next_within(PATIENCE, "what was published just now").await?) {}
        Ok(())
    }

    /// Passes over all that has come so far.
    pub(super) async fn begin_anew(&mut self) -> Result<(), BrokerError> {
        let channel = self.tail.channel();
        for queue in [self.name.clone(), overflow_queue(&self.name)] {
            let emptying = channel.queue_purge(queue, QueuePurgeOptions::default());
            within("emptying this replica's queue", emptying).await?;
        }
        // The broker may have answered before it sent what it had taken out of the queue; what
        // it is asked now it answers behind that.
        within("waiting", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        self.tail.pass_ready().await
    }
}

impl Overflow {
    async fn open(connection: &BrokerConnection, of: &ShortString) -> Result<Self, BrokerError> {
        let (channel, name) = (connection.channel().await?, overflow_queue(of));
        declare(&channel, name.clone(), bounded(1)).await?;
        let binding = channel.queue_bind(
            name.clone(),
            topology::overflow_exchange(),
            of.clone(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within("binding the queue of what is dropped", binding).await?;
        let tail = Tail::open(channel, name, FieldTable::default(), 1).await?;
        Ok(Self { tail, dropped: Dropped::default() })
    }

    pub(super) fn dropped(&self) -> Dropped {
        self.dropped.clone()
    }

    /// Until that fails. What is dropped until a gap was told is covered by it.
    pub(super) async fn watch(&mut self) -> BrokerError {
        loop {
            match self.tail.next(Instant::now() + PATIENCE).await {
                Ok(Some(_)) => self.dropped.wait_until_told().await,
                Ok(None) => {}
                Err(error) => return error,
            }
        }
    }
}

impl Dropped {
    pub(super) fn anything(&self) -> bool {
        self.0.0.load(Relaxed)
    }

    pub(super) fn told(&self) {
        self.0.0.store(false, Relaxed);
        self.0.1.notify_one();
    }

    async fn wait_until_told(&self) {
        self.0.0.store(true, Relaxed);
        self.0.1.notified().await;
    }
}

fn overflow_queue(of: &ShortString) -> ShortString {
    // Names of queues are far from their bound.
    format!("{of}.overflow").into()
}

fn bounded(length: i32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(length));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
    arguments
}

async fn declare(
    channel: &Channel,
    name: ShortString,
    arguments: FieldTable,
) -> Result<(), BrokerError> {
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let declaring = channel.queue_declare(name, options, arguments);
    within("declaring this replica's queue", declaring).await.map(drop)
}
