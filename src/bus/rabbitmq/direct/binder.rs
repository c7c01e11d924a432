//! Binds what is held, many keys at once, and unbinds what nobody has held for a while, on a
//! channel of its own: a broker takes its time for each.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::{TryStreamExt, stream::FuturesUnordered};
use lapin::{
    Channel,
    options::{ExchangeBindOptions, ExchangeUnbindOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    bus::{
        Keys, Numbered,
        rabbitmq::{connection::BrokerError, topology},
    },
    event::Exchange,
    ids::ReplicaId,
};

/// Asked for at once, to bind or to unbind; the broker takes them one after another, and whoever
/// wants another one waits for them.
const AT_ONCE: usize = 50;

/// How long a broker may take for one of them. A connection that is given up for a slow one brings
/// it more to do, and one that is dead its heartbeat shows.
const PATIENCE: Duration = Duration::from_secs(60);

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
        match self.take_turns().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn take_turns(&self) -> Result<Infallible, BrokerError> {
        let mut look_at = Instant::now() + LOOK_INTERVAL;
        loop {
            let mut is_more = self.bind_some().await?;
            if Instant::now() >= look_at {
                match self.unbind(&self.keys.idle(AT_ONCE)).await? {
                    AT_ONCE => is_more = true,
                    _ => look_at = Instant::now() + LOOK_INTERVAL,
                }
            }
            if !is_more {
                let _ = timeout_at(look_at, self.keys.due()).await;
            }
        }
    }

    /// All that is to be bound by now.
    pub(super) async fn bind_wanted(&self) -> Result<(), BrokerError> {
        while self.bind_some().await? {}
        Ok(())
    }

    /// Some of that. Answers whether there may be more.
    async fn bind_some(&self) -> Result<bool, BrokerError> {
        let wanted = self.keys.take_wanted(AT_ONCE);
        if !wanted.is_empty() {
            self.bind(&wanted).await?;
            self.keys.bound(&wanted);
        }
        Ok(wanted.len() == AT_ONCE)
    }

    /// What nobody need hold, and is not unbound before the end.
    pub(super) async fn bind_beside(&self, key: &str) -> Result<(), BrokerError> {
        self.bind(&[(key.into(), BESIDE)]).await
    }

    async fn bind(&self, keys: &[Numbered]) -> Result<(), BrokerError> {
        let bind = async |(key, number): &Numbered| {
            let (exchange, key) = (self.exchange.clone(), short(key));
            match &self.target {
                Target::Queue(queue) => {
                    let (options, arguments) = Default::default();
                    self.channel.queue_bind(queue.clone(), exchange, key, options, arguments).await
                }
                Target::Log(input, replica) => {
                    let (input, arguments) = (input.clone(), one_binding(*replica, *number));
                    let options = ExchangeBindOptions::default();
                    self.channel.exchange_bind(input, exchange, key, options, arguments).await
                }
            }
        };
        all_of("binding keys", keys.iter().map(bind)).await
    }

    /// All that was bound, also beside what was held.
    pub(super) async fn unbind_all(&self, beside: &str) -> Result<(), BrokerError> {
        self.ask_to_unbind(&[(beside.into(), BESIDE)]).await?;
        while self.unbind(&self.keys.any(AT_ONCE)).await? > 0 {}
        Ok(())
    }

    /// Those that are to leave. Answers how many there were.
    async fn unbind(&self, keys: &[Numbered]) -> Result<usize, BrokerError> {
        self.ask_to_unbind(keys).await?;
        self.keys.unbound(keys.len());
        Ok(keys.len())
    }

    async fn ask_to_unbind(&self, keys: &[Numbered]) -> Result<(), BrokerError> {
        let unbind = async |(key, number): &Numbered| {
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
        all_of("unbinding keys", keys.iter().map(unbind)).await
    }
}

/// What a broker answers one by one, each soon after the one before.
async fn all_of(
    what: &'static str,
    calls: impl Iterator<Item = impl Future<Output = lapin::Result<()>>>,
) -> Result<(), BrokerError> {
    let mut calls: FuturesUnordered<_> = calls.collect();
    loop {
        match timeout(PATIENCE, calls.try_next()).await {
            Ok(Ok(Some(()))) => {}
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(BrokerError::Timeout(what)),
        }
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_broker_may_be_slow_as_long_as_it_answers() {
        let answer = |nth| async move {
            sleep(nth * PATIENCE / 2).await;
            Ok(())
        };
        all_of("binding keys", (1..=250).map(answer)).await.expect("they are bound");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_no_more_is_given_up() {
        let answer = |nth| async move {
            if nth > 10 {
                return pending().await;
            }
            sleep(nth * PATIENCE / 2).await;
            Ok(())
        };
        let began = Instant::now();
        let given_up = all_of("binding keys", (1..=20).map(answer)).await;
        assert!(matches!(given_up, Err(BrokerError::Timeout("binding keys"))));
        assert!(began.elapsed().abs_diff(6 * PATIENCE) < Duration::from_secs(1));
    }
}
