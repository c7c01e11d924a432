//! What the bus keeps on the broker. For each exchange: a durable fanout exchange that
//! anybody may publish to, bound to a stream that every replica reads; or a direct exchange
//! as the Ruby original has it, for which every replica has a queue. For all replicas
//! together: an exchange that leads to the queue of each, and one for what was dropped.
//!
//! All names but those of direct exchanges begin with `myxi.`, and nothing else is used: not
//! even the broker's default exchange, for which a user would need a right to `amq.default`.

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{
    ExchangeConfig,
    connection::{BrokerConnection, BrokerError, within},
};
use crate::{
    event::Exchange,
    ids::{ReplicaId, random_suffix},
};

/// Where events are published to, by replicas and by other programs.
pub(super) fn input_exchange(exchange: &Exchange) -> ShortString {
    // An exchange's name is at most 127 bytes, so these cannot be too long.
    format!("myxi.in.{exchange}").into()
}

/// The log that replicas read.
pub(crate) fn log_stream(exchange: &Exchange) -> ShortString {
    format!("myxi.log.{exchange}").into()
}

/// Leads what is published under a replica's id to that replica.
pub(super) fn replicas_exchange() -> ShortString {
    "myxi.replicas".into()
}

pub(super) fn replica_key(replica: ReplicaId) -> ShortString {
    replica.to_string().into()
}

/// Another name each time, for each connection has another queue: the one before may still
/// be held by a connection that the broker has not missed yet.
pub(super) fn new_replica_queue(replica: ReplicaId) -> ShortString {
    format!("myxi.replica.{replica}.{}", random_suffix()).into()
}

/// The exchange itself, where there is no log.
pub(super) fn direct_exchange(exchange: &Exchange) -> ShortString {
    exchange.as_str().into()
}

/// Another name each time, as for a replica.
pub(super) fn new_direct_queue(exchange: &Exchange, replica: ReplicaId) -> ShortString {
    format!("myxi.direct.{exchange}.{replica}.{}", random_suffix()).into()
}

/// Leads what is dropped from a queue, under that queue's name, to whoever reads it.
pub(super) fn overflow_exchange() -> ShortString {
    "myxi.overflow".into()
}

/// An exchange as it is declared where there is none.
struct Declaration {
    name: ShortString,
    kind: ExchangeKind,
    durable: bool,
}

impl Declaration {
    fn input(exchange: &Exchange) -> Self {
        Self { name: input_exchange(exchange), kind: ExchangeKind::Fanout, durable: true }
    }

    /// As the Ruby original declares it, or a publisher would be refused that does.
    fn direct(exchange: &Exchange) -> Self {
        Self { name: direct_exchange(exchange), kind: ExchangeKind::Direct, durable: false }
    }

    fn ours(name: ShortString) -> Self {
        Self { name, kind: ExchangeKind::Direct, durable: true }
    }
}

/// Makes sure that exchange, stream and binding exist. What exists with other settings is
/// taken as it is: an operator may know better, and deleting a log is not ours to do.
///
/// Answers why nothing was bound, if so: without the right to bind, somebody else may have
/// done it, which only publishing tells.
pub(super) async fn ensure(
    connection: &BrokerConnection,
    config: &ExchangeConfig,
) -> Result<Option<BrokerError>, BrokerError> {
    if !config.kind.has_log() {
        return ensure_direct(connection, &config.name).await.map(|()| None);
    }
    // A refusal closes its channel: each step has one of its own.
    ensure_exchange(connection, &Declaration::input(&config.name)).await?;
    match declare_stream(connection, config, true).await {
        Err(e) if e.is_refusal() => declare_stream(connection, config, false).await?,
        declared => declared?,
    }
    match bind(connection, config).await {
        Err(e) if e.is_refusal() && !e.is_missing() => Ok(Some(e)),
        bound => bound.map(|()| None),
    }
}

/// Makes sure that the direct exchange exists.
pub(super) async fn ensure_direct(
    connection: &BrokerConnection,
    exchange: &Exchange,
) -> Result<(), BrokerError> {
    ensure_exchange(connection, &Declaration::direct(exchange)).await
}

/// Makes sure that the exchange of the replicas exists.
pub(super) async fn ensure_replicas(connection: &BrokerConnection) -> Result<(), BrokerError> {
    ensure_exchange(connection, &Declaration::ours(replicas_exchange())).await
}

/// Makes sure that the exchange of what is dropped exists.
pub(super) async fn ensure_overflow(connection: &BrokerConnection) -> Result<(), BrokerError> {
    ensure_exchange(connection, &Declaration::ours(overflow_exchange())).await
}

/// Declares everything as configured, for the broker to tell what differs.
pub(super) async fn warn_of_differences(
    connection: &BrokerConnection,
    config: &ExchangeConfig,
) -> Result<(), BrokerError> {
    let mut declared = Vec::new();
    if config.kind.has_log() {
        declared.push(declare_exchange(connection, &Declaration::input(&config.name), false).await);
        declared.push(declare_stream(connection, config, false).await);
    }
    if config.kind.has_bindings() {
        let direct = Declaration::direct(&config.name);
        declared.push(declare_exchange(connection, &direct, false).await);
    }
    let mut differences = Vec::new();
    for declared in declared {
        match declared {
            Err(e) if e.is_refusal() => differences.push(e),
            result => result?,
        }
    }
    // Only now: where one step fails, all are done again.
    for e in differences {
        tracing::warn!(exchange = %config.name, "taken as it is on the broker: {e}");
    }
    Ok(())
}

async fn ensure_exchange(
    connection: &BrokerConnection,
    declaration: &Declaration,
) -> Result<(), BrokerError> {
    match declare_exchange(connection, declaration, true).await {
        Err(e) if e.is_refusal() => declare_exchange(connection, declaration, false).await,
        declared => declared,
    }
}

async fn declare_exchange(
    connection: &BrokerConnection,
    Declaration { name, kind, durable }: &Declaration,
    passive: bool,
) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { passive, durable: *durable, ..Default::default() };
    let channel = connection.channel().await?;
    let arguments = FieldTable::default();
    let declaring = channel.exchange_declare(name.clone(), kind.clone(), options, arguments);
    within("declaring an exchange", declaring).await
}

async fn declare_stream(
    connection: &BrokerConnection,
    config: &ExchangeConfig,
    passive: bool,
) -> Result<(), BrokerError> {
    let bytes = |n: u64| AMQPValue::LongLongInt(i64::try_from(n).unwrap_or(i64::MAX));
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
    let max_age = format!("{}s", config.max_age.as_secs().max(1));
    arguments.insert("x-max-age".into(), AMQPValue::LongString(max_age.into()));
    arguments.insert("x-max-length-bytes".into(), bytes(config.max_bytes));
    arguments.insert("x-stream-max-segment-size-bytes".into(), bytes(config.segment_bytes));
    let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
    let channel = connection.channel().await?;
    let declaring = channel.queue_declare(log_stream(&config.name), options, arguments);
    within("declaring a stream", declaring).await.map(drop)
}

async fn bind(connection: &BrokerConnection, config: &ExchangeConfig) -> Result<(), BrokerError> {
    let channel = connection.channel().await?;
    let binding = channel.queue_bind(
        log_stream(&config.name),
        input_exchange(&config.name),
        "".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    within("binding a stream", binding).await
}
