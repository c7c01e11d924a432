//! Binds what is held, many keys at once, and unbinds what nobody has held for a while, on a
//! channel of its own: a broker takes a millisecond or so for each.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use lapin::{
    Channel,
    options::QueueBindOptions,
    types::{FieldTable, ShortString},
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
    queue: ShortString,
    keys: Arc<Keys>,
}

impl Binder {
    pub(super) fn new(
        channel: Channel,
        exchange: &Exchange,
        queue: ShortString,
        keys: Arc<Keys>,
    ) -> Self {
        Self { channel, exchange: topology::direct_exchange(exchange), queue, keys }
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
        let bind = |key: &Arc<str>| {
            let (queue, exchange) = (self.queue.clone(), self.exchange.clone());
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            self.channel.queue_bind(queue, exchange, short(key), options, arguments)
        };
        within("binding keys", try_join_all(keys.iter().map(bind))).await.map(drop)
    }

    /// Answers how many there were.
    async fn unbind_idle(&self) -> Result<usize, BrokerError> {
        let idle = self.keys.take_idle(UNBOUND_AT_ONCE);
        let unbind = |key: &Arc<str>| {
            let (queue, exchange) = (self.queue.clone(), self.exchange.clone());
            self.channel.queue_unbind(queue, exchange, short(key), FieldTable::default())
        };
        within("unbinding keys", try_join_all(idle.iter().map(unbind))).await?;
        Ok(idle.len())
    }
}

/// A topic's key is one; were it not, an empty one is better than a panic.
fn short(key: &str) -> ShortString {
    ShortString::try_new(key).unwrap_or_default()
}
