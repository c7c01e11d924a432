//! What travels: topics and the events pushed to them. Validated once, where they enter;
//! whoever holds one of these values need not check it again.

mod position;
mod raw;

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

pub use self::{
    position::{Entry, Position},
    raw::{RawBody, RawEvent, StoredEvent},
};
use crate::time::UnixTime;

/// AMQP short strings hold 255 bytes; with the longest prefix of ours (`myxi.log.`) a
/// name of this length still fits well.
const EXCHANGE_NAME_MAX: usize = 127;

/// AMQP's bound on a routing key, and ours on an event's name and id.
const SHORT_STRING_MAX: usize = 255;

/// Why a name, key or event was refused. Worded for the developer who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    #[error(
        "exchange must be 1 to 127 characters of A-Z a-z 0-9 . _ : - and must not start with \"amq.\""
    )]
    Exchange,
    #[error(
        "routing_key must be a string or an integer of at most 255 bytes, without control characters"
    )]
    RoutingKey,
    #[error("event must be a name of 1 to 255 bytes")]
    Name,
    #[error("event_id must be 1 to 255 bytes, without control characters")]
    Id,
    #[error("payload is not JSON: {0}")]
    Payload(String),
    #[error("body is not JSON of the form {{\"event\":\"Name\",\"payload\":…}}: {0}")]
    Body(String),
    #[error("the event is {size} bytes, {max} is the most (--max-event-size)")]
    TooBig { size: usize, max: usize },
}

/// A valid exchange name. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exchange(Arc<str>);

impl Exchange {
    pub fn new(name: &str) -> Result<Self, InvalidEvent> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        let valid = !name.is_empty()
            && name.len() <= EXCHANGE_NAME_MAX
            && name.bytes().all(allowed)
            && !name.starts_with("amq.");
        valid.then(|| Self(name.into())).ok_or(InvalidEvent::Exchange)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client subscribes to and an event is pushed to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    pub exchange: Exchange,
    routing_key: Arc<str>,
}

impl Topic {
    pub fn new(exchange: Exchange, routing_key: &str) -> Result<Self, InvalidEvent> {
        if !is_short_text(routing_key) {
            return Err(InvalidEvent::RoutingKey);
        }
        let routing_key = routing_key.into();
        Ok(Self { exchange, routing_key })
    }

    pub fn routing_key(&self) -> &str {
        &self.routing_key
    }

    /// The same text without a copy, for tables that outlive the topic.
    pub fn shared_routing_key(&self) -> Arc<str> {
        self.routing_key.clone()
    }
}

/// When a gateway took an event from the application: Unix time in microseconds, by the clock
/// of that gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushedAt(pub u64);

impl PushedAt {
    /// What seems older was stamped by a clock that is wrong, or by somebody else.
    const AGE_MAX: Duration = Duration::from_secs(3600);

    pub fn now() -> Self {
        Self(UnixTime::now().micros())
    }

    /// Of Unix time; 0 where it is beyond 2106, by a clock that is wrong.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0 / 1_000_000).unwrap_or_default()
    }

    /// How long ago that was by the clock of this gateway: zero, where that one is ahead.
    pub fn age(self) -> Option<Duration> {
        self.age_at(Self::now())
    }

    fn age_at(self, now: Self) -> Option<Duration> {
        let age = Duration::from_micros(now.0.saturating_sub(self.0));
        (age <= Self::AGE_MAX).then_some(age)
    }
}

/// What happened: a name and a JSON payload, kept as the text it came in.
#[derive(Debug, Clone)]
pub struct EventBody {
    pub name: Box<str>,
    pub payload: Box<RawValue>,
}

impl EventBody {
    /// `payload` is JSON text; empty stands for `{}`.
    pub fn new(name: &str, payload: &str) -> Result<Self, InvalidEvent> {
        if name.is_empty() || name.len() > SHORT_STRING_MAX {
            return Err(InvalidEvent::Name);
        }
        let payload = match payload {
            "" => empty_object(),
            text => serde_json::from_str(text).map_err(|e| InvalidEvent::Payload(e.to_string()))?,
        };
        Ok(Self { name: name.into(), payload })
    }

    /// Reads `{"event":"Name","payload":…}`, as it travels over the bus. Other programs
    /// publish this too: nothing about `json` is taken for granted.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidEvent> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            event: std::borrow::Cow<'a, str>,
            #[serde(borrow, default, deserialize_with = "present")]
            payload: Option<&'a RawValue>,
        }
        // An array of the two would do for the parser.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(InvalidEvent::Body("no object".into()));
        }
        let body: Body =
            serde_json::from_slice(json).map_err(|e| InvalidEvent::Body(e.to_string()))?;
        if body.event.is_empty() || body.event.len() > SHORT_STRING_MAX {
            return Err(InvalidEvent::Name);
        }
        Ok(Self {
            name: body.event.into(),
            payload: body.payload.map_or_else(empty_object, ToOwned::to_owned),
        })
    }

    /// Of [`EventBody::to_json`], in bytes.
    pub fn json_size(&self) -> usize {
        let name = serde_json::to_string(&self.name).expect("text always serializes");
        r#"{"event":,"payload":}"#.len() + name.len() + self.payload.get().len()
    }

    /// The inverse of [`EventBody::from_json`].
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            event: &'a str,
            payload: &'a RawValue,
        }
        let body = Body { event: &self.name, payload: &self.payload };
        serde_json::to_vec(&body).expect("text and raw JSON always serialize")
    }
}

/// One event as the bus delivered it.
#[derive(Debug, Clone)]
pub struct Event {
    pub topic: Topic,
    pub body: EventBody,
    /// Behind it.
    pub position: Position,
    /// Absent where another program published it.
    pub pushed_at: Option<PushedAt>,
}

/// One event on its way to the bus.
#[derive(Debug, Clone)]
pub struct OutgoingEvent {
    pub topic: Topic,
    pub body: EventBody,
    /// Travels as the AMQP message id, so that consumers can tell a repeated push.
    pub id: Box<str>,
    /// Whoever pushes it chose the id: again under the same one it is the same event.
    pub deduplicate: bool,
    pub pushed_at: PushedAt,
}

impl OutgoingEvent {
    /// With an id that says nothing of other pushes. `max_size` bounds the JSON of the body, in
    /// bytes.
    pub fn new(
        topic: Topic,
        body: EventBody,
        id: &str,
        max_size: usize,
    ) -> Result<Self, InvalidEvent> {
        if id.is_empty() || !is_short_text(id) {
            return Err(InvalidEvent::Id);
        }
        let size = body.json_size();
        if size > max_size {
            return Err(InvalidEvent::TooBig { size, max: max_size });
        }
        Ok(Self { topic, body, id: id.into(), deduplicate: false, pushed_at: PushedAt::now() })
    }
}

fn is_short_text(text: &str) -> bool {
    text.len() <= SHORT_STRING_MAX && !text.chars().any(char::is_control)
}

/// Keeps `null` apart from a missing member.
pub(crate) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

pub(crate) fn empty_object() -> Box<RawValue> {
    to_raw_value(&serde_json::Map::new()).expect("{} is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_disagree_do_no_harm() {
        let now = PushedAt(7_200_000_000);
        assert_eq!(PushedAt(7_199_999_000).age_at(now), Some(Duration::from_millis(1)));
        assert_eq!(PushedAt(7_300_000_000).age_at(now), Some(Duration::ZERO));
        assert_eq!(PushedAt(u64::MAX).age_at(now), Some(Duration::ZERO));
        assert_eq!(PushedAt(0).age_at(now), None);
    }
}
