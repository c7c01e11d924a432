//! Markers: entries of a log that are for readers, not for clients. One that comes back shows
//! that the log is read; its id, drawn at random, tells its log from every other.

use lapin::{BasicProperties, types::FieldTable};
use tokio::time::{Instant, timeout};

use super::{
    PUBLISH_DEADLINE,
    not_published::NotPublished,
    publisher::{Message, Publisher},
    topology,
};
use crate::{event::Exchange, ids::random_id};

/// The AMQP type of a marker. Whatever else begins with [`OURS`] is of a newer build.
pub const MARKER: &str = "myxi.marker";

/// What the AMQP types of the gateway's own entries begin with.
pub const OURS: &str = "myxi.";

/// A marker for this exchange's log, never the same twice, and its id.
pub fn new(exchange: &Exchange) -> (Message, String) {
    let id = random_id();
    let marker = Message {
        exchange: topology::input_exchange(exchange),
        routing_key: "".into(),
        properties: BasicProperties::default()
            .with_type(MARKER.into())
            .with_message_id(id.as_str().into()),
        headers: FieldTable::default(),
        body: Vec::new(),
    };
    (marker, id)
}

/// Returns the marker's id when the broker has it.
pub async fn publish(publisher: &Publisher, exchange: &Exchange) -> Result<String, NotPublished> {
    let (marker, id) = new(exchange);
    let _ = timeout(PUBLISH_DEADLINE, publisher.ready()).await;
    publisher.publish(marker, Instant::now() + PUBLISH_DEADLINE).await?;
    Ok(id)
}

/// Without waiting for it. One that fails is missed by nobody: there will be another.
pub fn publish_meanwhile(publisher: &Publisher, exchange: &Exchange) {
    let (publisher, (marker, _)) = (publisher.clone(), new(exchange));
    tokio::spawn(async move {
        let _ = publisher.publish(marker, Instant::now() + PUBLISH_DEADLINE).await;
    });
}
