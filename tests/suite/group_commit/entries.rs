//! A log as another program reads it, entry by entry.

use futures_util::StreamExt;
use lapin::{
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};
use myxi::proto::LogBatch;
use prost::Message;
use serde_json::Value;

use crate::{
    bus::{Replica, event},
    support::{DEADLINE, rabbitmq::RabbitMq, within},
};

/// An entry of a log.
#[derive(Debug)]
pub struct Entry {
    pub is_batch: bool,
    /// Routing keys and names.
    pub events: Vec<(String, String)>,
}

impl Entry {
    /// What is no event, and no batch of them, is `None`.
    fn of(delivery: &Delivery) -> Option<Self> {
        match delivery.properties.kind().as_ref().map(ShortString::as_str) {
            None => Some(Self { is_batch: false, events: vec![single(delivery)] }),
            Some("myxi.batch") => {
                let content_type = delivery.properties.content_type().as_ref();
                let content_type = content_type.map(ShortString::as_str);
                assert_eq!(content_type, Some("application/x-protobuf"));
                assert!(delivery.data.len() <= 64 * 1024, "{} bytes", delivery.data.len());
                let batch = LogBatch::decode(&delivery.data[..]).expect("a batch");
                let events = batch.events.into_iter().map(|one| (one.routing_key, one.event));
                Some(Self { is_batch: true, events: events.collect() })
            }
            Some(_) => None,
        }
    }
}

fn single(delivery: &Delivery) -> (String, String) {
    let body: Value = serde_json::from_slice(&delivery.data).expect("JSON");
    let name = body["event"].as_str().expect("a name").to_owned();
    assert!(delivery.properties.message_id().is_some(), "{name}");
    (delivery.routing_key.as_str().to_owned(), name)
}

/// What has come behind the first event, up to one that is pushed for this.
pub async fn log(broker: &RabbitMq, replica: &Replica, exchange: &str) -> Vec<Entry> {
    replica.publish_until_ok(|| event(exchange, "", "last")).await;
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    channel.basic_qos(1_000, Default::default()).await.expect("a prefetch");
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
    let log = format!("myxi.log.{exchange}");
    let consuming =
        channel.basic_consume(log.into(), "".into(), Default::default(), arguments.clone());
    let mut consumer = consuming.await.expect("a consumer");
    let mut entries = Vec::new();
    let reading = async {
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery.expect("an entry");
            let acked = channel.basic_ack(delivery.delivery_tag, Default::default());
            acked.await.expect("acked");
            match Entry::of(&delivery) {
                Some(mut entry) if entry.events.iter().any(|(_, name)| name == "last") => {
                    entry.events.retain(|(_, name)| name != "last");
                    entries.extend(Some(entry).filter(|entry| !entry.events.is_empty()));
                    break;
                }
                entry => entries.extend(entry),
            }
        }
    };
    within(DEADLINE, "the last event", reading).await;
    entries.retain(|entry| entry.events[0].1 != "first");
    entries
}

pub fn names(entries: &[Entry]) -> Vec<Vec<&str>> {
    let events = entries.iter().map(|entry| entry.events.iter());
    events.map(|events| events.map(|(_, name)| name.as_str()).collect()).collect()
}
