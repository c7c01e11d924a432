//! The least that publishes with confirms and reads a stream: what the broker and the
//! library take by themselves.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, ExchangeKind, PublisherConfirm,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::sync::oneshot;

use super::{CALLS, OUTSTANDING};
use crate::load::payload;

/// Deliveries on their way to the reader.
const PREFETCH: u16 = 1_000;

/// An exchange and its log, as the gateway declares them.
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

fn names(name: &str) -> (ShortString, ShortString) {
    (format!("myxi.in.{name}").into(), format!("myxi.log.{name}").into())
}

/// Publishes as the gateway does: mandatory, with confirms.
pub struct Publisher {
    channel: Channel,
    exchange: ShortString,
    body: String,
    unconfirmed: VecDeque<PublisherConfirm>,
}

impl Publisher {
    pub async fn new(channel: Channel, name: &str) -> lapin::Result<Self> {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let body = format!(r#"{{"event":"E","payload":{}}}"#, payload());
        Ok(Self { channel, exchange: names(name).0, body, unconfirmed: VecDeque::new() })
    }

    pub async fn publish(&mut self, routing_key: &str) -> anyhow::Result<()> {
        if self.unconfirmed.len() == OUTSTANDING {
            // As many at once as a call of PushEvents holds: one by one they would also be
            // written one by one.
            for _ in 0..OUTSTANDING / CALLS {
                self.confirm_first().await?;
            }
        }
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let id = format!("{:032x}", rand::random::<u128>());
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_message_id(id.into());
        let exchange = self.exchange.clone();
        let key = routing_key.into();
        let published =
            self.channel.basic_publish(exchange, key, options, self.body.as_bytes(), properties);
        self.unconfirmed.push_back(published.await?);
        Ok(())
    }

    pub async fn settle(&mut self) -> anyhow::Result<()> {
        while !self.unconfirmed.is_empty() {
            self.confirm_first().await?;
        }
        Ok(())
    }

    async fn confirm_first(&mut self) -> anyhow::Result<()> {
        let first = self.unconfirmed.pop_front().context("an unconfirmed event")?;
        let confirmation = first.await?;
        ensure!(confirmation.is_ack(), "the broker does not confirm: {confirmation:?}");
        Ok(())
    }
}

/// Reads a stream and counts. Ends on drop.
pub struct Reader {
    received: Arc<AtomicU64>,
    _running: oneshot::Sender<()>,
}

impl Reader {
    pub async fn start(url: String, name: &str) -> anyhow::Result<Self> {
        let (running, stopped) = oneshot::channel::<()>();
        let (started, start) = oneshot::channel();
        let received = Arc::new(AtomicU64::new(0));
        let (count, log) = (received.clone(), names(name).1);
        thread::Builder::new().name("reader".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    read = read(&url, log, &count, started) => eprintln!("the reader: {read:?}"),
                    _ = stopped => {}
                }
            });
        })?;
        start.await.context("the reader starts")?;
        Ok(Self { received, _running: running })
    }

    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

async fn read(
    url: &str,
    log: ShortString,
    count: &AtomicU64,
    started: oneshot::Sender<()>,
) -> lapin::Result<()> {
    let connection = lapin::Connection::connect(url, Default::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("next".into()));
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(log, "".into(), options, arguments).await?;
    let _ = started.send(());
    let mut unacked = 0;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        count.fetch_add(1, Ordering::Relaxed);
        unacked += 1;
        if unacked == PREFETCH / 4 {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
            unacked = 0;
        }
    }
    Ok(())
}
