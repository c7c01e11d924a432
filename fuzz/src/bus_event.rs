//! An entry of an exchange's log: a line with the routing key, then the body. Whatever
//! other programs publish, only a well-formed event reaches clients, its payload as it was.

use myxi::internals::{
    event::{
        Entry, Event, EventBody, Exchange, InvalidEvent, OutgoingEvent, Position, RawBody, RawEvent,
    },
    protocol,
};

use super::{is_one_line, json};

const SIZE_MAX: usize = 2_048;

/// What a pushed event has beside payload, name and routing key.
const FRAME_MAX: usize = 100;

/// A byte of text may become six: `\u0001`.
const ESCAPED_MAX: usize = 6;

pub fn bus_event(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (key, body) = data.split_at(end);
    let Ok(key) = std::str::from_utf8(key) else { return };
    let body = body.get(1..).unwrap_or_default();

    let exchange = Exchange::new("widgets").expect("a name");
    let expected =
        expected(body).filter(|_| body.len() <= SIZE_MAX && key.len() <= 255 && is_one_line(key));
    let position = Position::behind(Entry { offset: 7, hash: 7 }, 0);
    let raw = RawEvent::new(key.as_bytes(), RawBody::Json(body), position, None, SIZE_MAX);
    let event = match raw.and_then(|raw| raw.read(&exchange)) {
        Ok(event) => event,
        Err(error) => {
            assert_eq!(expected, None, "refused: {error}");
            let too_big = matches!(error, InvalidEvent::TooBig { .. });
            return assert_eq!(too_big, body.len() > SIZE_MAX, "{error}");
        }
    };
    let payload = event.body.payload.get();
    assert_eq!(Some((event.body.name.to_string(), payload.to_owned())), expected);
    assert_eq!((&event.topic.exchange, event.topic.routing_key()), (&exchange, key));
    assert_eq!(event.position, Some(position));
    check_frame(&event);
    check_again(&event);
}

/// Name and payload, as a second reading finds them.
fn expected(body: &[u8]) -> Option<(String, String)> {
    let (mut name, mut payload) = (None, None);
    for (key, value) in json::object(body)? {
        let slot = match &*json::text(key)? {
            "event" => &mut name,
            "payload" => &mut payload,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    let name = json::text(name?).filter(|name| (1..=255).contains(&name.len()))?;
    let payload = String::from_utf8(payload.unwrap_or(b"{}").to_vec()).ok()?;
    Some((name, payload))
}

/// What every subscriber gets.
pub fn check_frame(event: &Event) {
    let frame = protocol::pushed_event(event);
    let members = json::object(frame.as_bytes()).expect("JSON");
    let keys: Vec<_> = members.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, [&br#""event""#[..], br#""payload""#, br#""mq""#], "{frame}");
    assert_eq!(json::text(members[0].1).as_deref(), Some(&*event.body.name));
    assert_eq!(members[1].1, event.body.payload.get().as_bytes());
    let source = json::object(members[2].1).expect("an object");
    let source: Vec<_> = source.iter().map(|(_, value)| json::text(value)).collect();
    let (exchange, key) = (event.topic.exchange.as_str(), event.topic.routing_key());
    let position = event.position.expect("it stood in a log");
    let id = position.to_string();
    assert_eq!(Position::parse(&id), Some(position));
    let expected = [exchange, key, &id].map(|text| Some(text.to_owned()));
    assert_eq!(source, expected, "{frame}");
    let texts = event.body.name.len() + exchange.len() + key.len();
    let bound = FRAME_MAX + event.body.payload.get().len() + ESCAPED_MAX * texts;
    assert!(frame.len() <= bound, "{} bytes of frame", frame.len());
}

/// What the gateway itself would publish of it reads the same.
fn check_again(event: &Event) {
    let json = event.body.to_json();
    let again = EventBody::from_json(&json).expect("what we write we read");
    assert_eq!((&again.name, again.payload.get()), (&event.body.name, event.body.payload.get()));
    let new = EventBody::new(&event.body.name, event.body.payload.get()).expect("valid");
    let outgoing = |size| OutgoingEvent::new(event.topic.clone(), new.clone(), "id", size);
    assert_eq!(outgoing(json.len()).expect("it fits").body.to_json(), json);
    assert!(outgoing(json.len() - 1).is_err());
}
