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

/// The number of a binding that is not among those that are held.
const BESIDE: u64 = 0;

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
                match self.unbind(self.keys.take_idle(UNBOUND_AT_ONCE)).await {
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
            if wanted.names.is_empty() {
                return Ok(());
            }
            self.bind(&wanted.names, wanted.binding).await?;
            self.keys.bound(&wanted);
        }
    }

    /// What nobody need hold, and is not unbound before the end.
    pub(super) async fn bind_beside(&self, key: &str) -> Result<(), BrokerError> {
        self.bind(&[key.into()], BESIDE).await
    }

    async fn bind(&self, keys: &[Arc<str>], number: u64) -> Result<(), BrokerError> {
        let bind = async |key: &Arc<str>| {
            let (exchange, key) = (self.exchange.clone(), short(key));
            match &self.target {
                Target::Queue(queue) => {
                    let (options, arguments) = Default::default();
                    self.channel.queue_bind(queue.clone(), exchange, key, options, arguments).await
                }
                Target::Log(input, replica) => {
                    let (input, arguments) = (input.clone(), one_binding(*replica, number));
                    let options = ExchangeBindOptions::default();
                    self.channel.exchange_bind(input, exchange, key, options, arguments).await
                }
            }
        };
        within("binding keys", try_join_all(keys.iter().map(bind))).await.map(drop)
    }

    /// All that was bound, also beside what was held.
    pub(super) async fn unbind_all(&self, beside: &str) -> Result<(), BrokerError> {
        self.unbind(vec![(beside.into(), BESIDE)]).await?;
        while self.unbind(self.keys.take_any(UNBOUND_AT_ONCE)).await? > 0 {}
        Ok(())
    }

    /// These, by the numbers of their bindings. Answers how many there were.
    async fn unbind(&self, keys: Vec<(Arc<str>, u64)>) -> Result<usize, BrokerError> {
        let unbind = async |(key, number): &(Arc<str>, u64)| {
            let (exchange, key) = (self.exchange.clone(), short(key));
            match &self.target {
                Target::Queue(queue) => {
                    let arguments = FieldTable::default();
                    self.channel.queue_unbind(queue.clone(), exchange, key, arguments).await
                }
                Target::Log(input, replica) => {
                    let (input, arguments) = (input.clone(), one_binding(*replica, *number));
                    let options = ExchangeUnbindOptions::default();
                    self.channel.exchange_unbind(input, exchange, key, options, arguments).await
                }
            }
        };
        within("unbinding keys", try_join_all(keys.iter().map(unbind))).await?;
        Ok(keys.len())
    }
}

/// Bindings that differ in nothing else are two. So one that is to be unbound, and who knows when,
/// is not the one that is made meanwhile.
fn one_binding(replica: ReplicaId, number: u64) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-myxi-replica".into(), AMQPValue::LongString(replica.to_string().into()));
    arguments.insert("x-myxi-binding".into(), AMQPValue::LongLongInt(number as i64));
    arguments
}

/// A topic's key is one; were it not, an empty one is better than a panic.
fn short(key: &str) -> ShortString {
    ShortString::try_new(key).unwrap_or_default()
}
