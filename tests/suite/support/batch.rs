//! Batches as another program writes them: by a schema of its own, in which texts are bytes, so
//! that they need not be texts.

use lapin::BasicProperties;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    events: Vec<BatchedEvent>,
}

#[derive(Clone, PartialEq, Message)]
pub struct BatchedEvent {
    #[prost(bytes = "vec", tag = "1")]
    pub routing_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub event_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub event: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub payload: Vec<u8>,
    #[prost(uint64, tag = "5")]
    pub pushed_at_us: u64,
    #[prost(bool, tag = "6")]
    pub deduplicate: bool,
}

impl BatchedEvent {
    pub fn new(routing_key: &str, event: &str, payload: &str) -> Self {
        Self {
            routing_key: routing_key.into(),
            event: event.into(),
            payload: payload.into(),
            ..Self::default()
        }
    }
}

pub fn body(events: Vec<BatchedEvent>) -> Vec<u8> {
    Batch { events }.encode_to_vec()
}

pub fn properties() -> BasicProperties {
    BasicProperties::default()
        .with_type("myxi.batch".into())
        .with_content_type("application/x-protobuf".into())
}
