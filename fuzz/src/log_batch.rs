//! The body of a batch. Whatever other programs publish, it is read as protobuf is, without a
//! copy, and only well-formed events reach clients.

use myxi::internals::{
    bus::rabbitmq::batch::{self, Part},
    event::{
        Entry, EventBody, Exchange, InvalidEvent, OutgoingEvent, Position, RawBody, RawEvent, Topic,
    },
};
use prost::Message;

use super::{bus_event::check_frame, is_one_line, is_verbatim};

const SIZE_MAX: usize = 2_048;

/// The format again, with texts that need not be UTF-8, for a reader of somebody else's.
#[derive(Clone, PartialEq, Message)]
struct LogBatch {
    #[prost(message, repeated, tag = "1")]
    events: Vec<LogEvent>,
}

#[derive(Clone, PartialEq, Message)]
struct LogEvent {
    #[prost(bytes = "vec", tag = "1")]
    routing_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    event_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    event: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    payload: Vec<u8>,
    #[prost(uint64, tag = "5")]
    pushed_at_us: u64,
    #[prost(bool, tag = "6")]
    deduplicate: bool,
}

pub fn log_batch(data: &[u8]) {
    let expected = LogBatch::decode(data)
        .ok()
        .filter(|batch| batch.events.len() <= batch::EVENTS_MAX && data.len() <= batch::BYTES_MAX);
    let Ok(parts) = batch::read(data) else {
        // A group begins with such a byte; proto3 has none.
        let may_have_group = data.iter().any(|byte| byte & 7 == 3);
        assert!(expected.is_none() || may_have_group, "refused: {expected:?}");
        return;
    };
    let expected = expected.expect("what is no protobuf is refused").events;
    assert_eq!(parts.len(), expected.len());
    for (part, expected) in parts.iter().zip(expected) {
        let Part { routing_key, event_id, name, payload, pushed_at, deduplicate } = *part;
        let LogEvent { routing_key: key, event_id: id, event, payload: text, .. } = expected;
        assert_eq!((routing_key, event_id, name, payload), (&*key, &*id, &*event, &*text));
        assert_eq!((pushed_at, deduplicate), (expected.pushed_at_us, expected.deduplicate));
        for text in [routing_key, event_id, name, payload] {
            assert!(is_verbatim(text, data));
        }
        check_event(part);
    }
}

/// A part is an event, or says why not.
fn check_event(part: &Part<'_>) {
    let exchange = Exchange::new("widgets").expect("a name");
    let Part { routing_key, name, payload, .. } = *part;
    let body = RawBody::Parts { name, payload };
    let position = Position::behind(Entry { offset: 7, hash: 7 }, 3);
    let raw = RawEvent::new(routing_key, body, position, None, SIZE_MAX);
    let read = raw.clone().and_then(|raw| raw.read(&exchange));
    // Whoever counts its id must know that it is an event.
    let counts = raw.and_then(|raw| raw.deduplicated(b"id"));
    assert_eq!(counts.map(drop), read.as_ref().map(drop).map_err(Clone::clone));

    let text = |bytes| str::from_utf8(bytes).ok();
    let key = text(routing_key).filter(|key| key.len() <= 255 && is_one_line(key));
    let name = text(name).filter(|name| (1..=255).contains(&name.len()));
    let payload = text(payload).and_then(|payload| match payload {
        "" => Some("{}".into()),
        text => serde_json::from_str::<&serde_json::value::RawValue>(text)
            .ok()
            .map(|payload| payload.get().to_owned()),
    });
    let event = match (read, key, name, payload) {
        (Ok(event), Some(key), Some(name), Some(payload)) => {
            assert_eq!(event.topic.routing_key(), key);
            assert_eq!((&*event.body.name, event.body.payload.get()), (name, &*payload));
            event
        }
        (Ok(event), ..) => panic!("{event:?}"),
        (Err(InvalidEvent::TooBig { size, max }), ..) => return assert!(size > max, "{size}"),
        (Err(error), Some(_), Some(_), Some(_)) => panic!("refused: {error}"),
        (Err(_), ..) => return,
    };
    assert_eq!(event.position, Some(position));
    assert!(event.body.json_size() <= SIZE_MAX);
    check_frame(&event);
    check_again(event.topic, event.body);
}

/// What the gateway itself would write of it reads the same.
fn check_again(topic: Topic, body: EventBody) {
    let event = OutgoingEvent::new(topic, body, "id", SIZE_MAX).expect("valid");
    let written = batch::write(vec![event.clone(), event.clone()]);
    assert_eq!(written.len(), 2 * batch::size(&event));
    let parts = batch::read(&written).expect("what we write we read");
    let expected = Part {
        routing_key: event.topic.routing_key().as_bytes(),
        event_id: b"id",
        name: event.body.name.as_bytes(),
        payload: event.body.payload.get().as_bytes(),
        pushed_at: event.pushed_at.0,
        deduplicate: false,
    };
    assert_eq!(parts, [expected, expected]);
}
