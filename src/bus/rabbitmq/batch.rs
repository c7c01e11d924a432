//! The body of a batch: several events in one entry of the log, as `proto/myxi/v1/log.proto`
//! says. A broker's work is for messages and hardly for bytes, so events that come together
//! travel together.

use prost::{Message, length_delimiter_len};

use crate::{
    event::{OutgoingEvent, PushedAt},
    proto::{LogBatch, LogEvent},
};

/// Events that a batch holds at most.
pub const EVENTS_MAX: usize = 256;

/// Bytes of its body at most.
pub const BYTES_MAX: usize = 64 * 1024;

/// The body of a batch of these.
pub fn write(events: Vec<OutgoingEvent>) -> Vec<u8> {
    let events = events.into_iter().map(log_event).collect();
    LogBatch { events }.encode_to_vec()
}

/// The bytes that an event takes in the body of a batch.
pub fn size(event: &OutgoingEvent) -> usize {
    let OutgoingEvent { topic, body, id, pushed_at: PushedAt(pushed_at) } = event;
    let texts = [topic.routing_key(), id, &body.name, body.payload.get()];
    // What is empty is not written.
    let texts = texts.into_iter().map(str::len).filter(|length| *length > 0);
    let texts: usize = texts.map(delimited).sum();
    delimited(texts + 1 + varint(*pushed_at))
}

/// With the tag, which is a byte for each of the fields here.
fn delimited(length: usize) -> usize {
    1 + length_delimiter_len(length) + length
}

fn varint(number: u64) -> usize {
    usize::try_from(number).map_or(10, length_delimiter_len)
}

fn log_event(event: OutgoingEvent) -> LogEvent {
    LogEvent {
        routing_key: event.topic.routing_key().into(),
        event_id: event.id.into(),
        event: event.body.name.into(),
        payload: Box::<str>::from(event.body.payload).into(),
        pushed_at_us: event.pushed_at.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventBody, Exchange, Topic};

    #[test]
    fn a_size_that_is_told_before_is_the_size_that_is_written() {
        for (key, name, payload) in [
            ("", "Changed", "7".to_owned()),
            ("k", "Changed", "{}".to_owned()),
            ("1234", "ü", format!("\"{}\"", "x".repeat(120))),
            (&"k".repeat(255), &"n".repeat(255), format!("\"{}\"", "x".repeat(70_000))),
        ] {
            let topic = Topic::new(Exchange::new("widgets").expect("valid"), key).expect("valid");
            let body = EventBody::new(name, &payload).expect("valid");
            let event = OutgoingEvent::new(topic, body, "id", 100_000).expect("valid");
            let told = size(&event);
            assert_eq!(write(vec![event.clone()]).len(), told, "{name}");
            assert_eq!(write(vec![event.clone(), event]).len(), 2 * told, "{name}");
        }
    }
}
