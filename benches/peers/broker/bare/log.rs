//! An exchange and its log, as the gateway declares them.

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

pub async fn declare(channel: &Channel, name: &str) -> lapin::Result<()> {
    let (exchange, log) = names(name);
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let none = FieldTable::default;
    channel.exchange_declare(exchange.clone(), ExchangeKind::Fanout, durable, none()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
    arguments.insert("x-max-age".into(), AMQPValue::LongString("1h".into()));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(200_000_000));
    arguments.insert("x-stream-max-segment-size-bytes".into(), AMQPValue::LongLongInt(10_000_000));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(log.clone(), durable, arguments).await?;
    channel.queue_bind(log, exchange, "".into(), QueueBindOptions::default(), none()).await
}

/// Of the exchange and of its log.
pub fn names(name: &str) -> (ShortString, ShortString) {
    (format!("myxi.in.{name}").into(), format!("myxi.log.{name}").into())
}
