//! Binds what is held, many keys at once, and unbinds what nobody has held for a while, on a
//! channel of its own: a broker takes its time for each.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use lapin::{
    Channel,
    options::{ExchangeBindOptions, ExchangeUnbindOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    bus::{
        Keys,
        rabbitmq::{
            connection::{BrokerError, within},
            topology,
        },
    },
    event::Exchange,
    ids::ReplicaId,
};

/// Asked for at once; the broker takes them one after another.
const AT_ONCE: usize = 250;

/// Who wants something bound waits for as many at most.
const UNBOUND_AT_ONCE: usize = 50;

/// How often it is looked what nobody holds any more.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

pub(super) struct Binder {
    channel: Channel,
    exchange: ShortString,
    target: Target,
    keys: Arc<Keys>,
}

/// What the exchange is to forward to.
pub(super) enum Target {
    /// A replica's queue.
    Queue(ShortString),
    /// The exchange that leads to a log. The binding is this replica's alone: were it all
    /// replicas', the first one that unbinds would unbind for all.
    Log(ShortString, ReplicaId),
}

impl Binder {
    pub(super) fn new(
        channel: Channel,
        exchange: &Exchange,
        target: Target,
        keys: Arc<Keys>,
    ) -> Self {
        Self { channel, exchange: topology::direct_exchange(exchange), target, keys }
    }

    /// Until that fails.
    pub(super) async fn run(&self) -> BrokerError {
        let mut look_at = Instant::now() + LOOK_INTERVAL;
        loop {
            if let Err(error) = self.bind_wanted().await {
                return error;
            }
            if Instant::now() >= look_at {
                match self.unbind_idle().await {
                    // There may be more.
                    Ok(UNBOUND_AT_ONCE) => continue,
                    Ok(_) => look_at = Instant::now() + LOOK_INTERVAL,
                    Err(error) => return error,
                }
            }
            let _ = timeout_at(look_at, self.keys.due()).await;
        }
    }

    /// All that is to be bound by now.
    pub(super) async fn bind_wanted(&self) -> Result<(), BrokerError> {
        loop {
            let wanted = self.keys.take_wanted(AT_ONCE);
            if wanted.is_empty() {
                return Ok(());
            }
            self.bind(&wanted).await?;
            self.keys.bound(&wanted);
        }
    }

    pub(super) async fn bind(&self, keys: &[Arc<str>]) -> Result<(), BrokerError> {
        let bind = async |key: &Arc<str>| {
            let (exchange, key) = (self.exchange.clone(), short(key));
            match &self.target {
                Target::Queue(queue) => {
                    let (options, arguments) = Default::default();
                    self.channel.queue_bind(queue.clone(), exchange, key, options, arguments).await
                }
                Target::Log(input, replica) => {
                    let (input, arguments) = (input.clone(), of_replica(*replica));
                    let options = ExchangeBindOptions::default();
                    self.channel.exchange_bind(input, exchange, key, options, arguments).await
                }
            }
        };
        within("binding keys", try_join_all(keys.iter().map(bind))).await.map(drop)
    }

    /// Answers how many there were.
    async fn unbind_idle(&self) -> Result<usize, BrokerError> {
        let idle = self.keys.take_idle(UNBOUND_AT_ONCE);
        let unbind = async |key: &Arc<str>| {
            let (exchange, key) = (self.exchange.clone(), short(key));
            match &self.target {
                Target::Queue(queue) => {
                    let arguments = FieldTable::default();
                    self.channel.queue_unbind(queue.clone(), exchange, key, arguments).await
                }
                Target::Log(input, replica) => {
                    let (input, arguments) = (input.clone(), of_replica(*replica));
                    let options = ExchangeUnbindOptions::default();
                    self.channel.exchange_unbind(input, exchange, key, options, arguments).await
                }
            }
        };
        within("unbinding keys", try_join_all(idle.iter().map(unbind))).await?;
        Ok(idle.len())
    }
}

/// Bindings that differ in nothing else are two.
fn of_replica(replica: ReplicaId) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-myxi-replica".into(), AMQPValue::LongString(replica.to_string().into()));
    arguments
}

/// A topic's key is one; were it not, an empty one is better than a panic.
fn short(key: &str) -> ShortString {
    ShortString::try_new(key).unwrap_or_default()
}
