//! The wire: what clients may say and what they are told, as JSON text. Pure, no I/O.
//!
//! JSON that passes through (tags, payloads, integer routing keys) stays the text it was:
//! it is checked, never rebuilt.

mod client;
mod close;
mod dialect;
mod error;
mod outcome;

use std::{collections::BTreeMap, time::Duration};

pub use bytestring::ByteString as Frame;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

pub(crate) use self::{
    client::{BuiltIn, LAST_MAX},
    outcome::Outcome,
};
pub use self::{
    client::{ClientMessage, KeyForm, KeySelection, Past, RoutingKey, TopicRequest},
    close::Close,
    dialect::Dialect,
    error::{ClientError, ErrorCode},
};
use crate::{
    event::{Event, Exchange, Position, Topic},
    ids::SessionId,
    metrics::Resumed,
    time::UnixTime,
};

/// What the gateway calls its own messages: whoever hears another's by these names may mistake it.
pub const OWN_EVENTS: [&str; 10] = [
    "Welcome",
    "Subscribed",
    "Unsubscribed",
    "YourSubscriptions",
    "Pong",
    "Done",
    "Error",
    "Gap",
    "Replayed",
    "Reconnect",
];

/// Any JSON value, echoed in every reply that its action causes.
pub type Tag = RawValue;

/// One message to a client, in the order of its members on the wire.
#[derive(Serialize)]
struct Message<'a, P> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mq: Option<Source<'a>>,
}

/// Where a pushed event comes from.
#[derive(Serialize)]
struct Source<'a> {
    e: &'a str,
    rk: &'a str,
    /// Behind the event, in its exchange's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Position>,
}

/// What became of a wish for what was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// It follows.
    Yes,
    No(NotRecovered),
}

/// Why nothing follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotRecovered {
    /// Some of it is not there any more.
    Expired,
    /// The position is none of this exchange's log.
    Unknown,
    /// It is more than may be sent.
    TooMany,
    /// The exchange has none.
    NoLog,
}

impl From<NotRecovered> for Resumed {
    fn from(why: NotRecovered) -> Self {
        match why {
            NotRecovered::Expired => Self::Expired,
            NotRecovered::Unknown => Self::Unknown,
            NotRecovered::TooMany => Self::TooMany,
            NotRecovered::NoLog => Self::NoLog,
        }
    }
}

fn frame<P: Serialize>(event: &str, tag: Option<&Tag>, payload: P) -> Frame {
    encode(&Message { event, tag, payload: Some(payload), mq: None })
}

fn encode<P: Serialize>(message: &Message<'_, P>) -> Frame {
    serde_json::to_string(message).expect("text, numbers and raw JSON always serialize").into()
}

pub(crate) fn welcome(id: SessionId, ping_interval: Duration) -> Frame {
    #[derive(Serialize)]
    struct Welcome {
        id: String,
        ping_interval_ms: u128,
    }
    let ping_interval_ms = ping_interval.as_millis();
    frame("Welcome", None, Welcome { id: id.to_string(), ping_interval_ms })
}

/// An event to one client: an action's reply (then with its tag), or sent to the session.
pub(crate) fn event(name: &str, tag: Option<&Tag>, payload: &RawValue) -> Frame {
    frame(name, tag, payload)
}

/// An event that came over the bus: the same text for every client that gets it.
pub fn pushed_event(event: &Event) -> Frame {
    encode(&Message {
        event: &event.body.name,
        tag: None,
        payload: Some(&event.body.payload),
        mq: Some(Source {
            e: event.topic.exchange.as_str(),
            rk: event.topic.routing_key(),
            id: event.position,
        }),
    })
}

pub fn done(tag: &Tag) -> Frame {
    encode(&Message { event: "Done", tag: Some(tag), payload: None::<()>, mq: None })
}

pub fn error(tag: Option<&Tag>, error: &ClientError) -> Frame {
    frame("Error", tag, error)
}

/// `id`: whoever is subscribed reads all events up to there before this.
pub fn subscribed(
    tag: Option<&Tag>,
    topic: &Topic,
    form: KeyForm,
    id: Option<Position>,
    recovered: Option<Recovered>,
) -> Frame {
    #[derive(Serialize)]
    struct Subscribed<'a> {
        exchange: &'a Exchange,
        routing_key: RoutingKey<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Position>,
        #[serde(skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<NotRecovered>,
    }
    let reason = match recovered {
        Some(Recovered::No(reason)) => Some(reason),
        Some(Recovered::Yes) | None => None,
    };
    let routing_key = RoutingKey { text: topic.routing_key(), form };
    let recovered = recovered.map(|recovered| recovered == Recovered::Yes);
    let exchange = &topic.exchange;
    frame("Subscribed", tag, Subscribed { exchange, routing_key, id, recovered, reason })
}

/// All that was missed has been sent: so many events, and it is whole from `id` on.
pub fn replayed(tag: Option<&Tag>, exchange: &Exchange, id: Position, count: u64) -> Frame {
    #[derive(Serialize)]
    struct Replayed<'a> {
        exchange: &'a Exchange,
        id: Position,
        count: u64,
    }
    frame("Replayed", tag, Replayed { exchange, id, count })
}

/// `id`: whole again from there, for all that the client is subscribed to in this exchange.
pub fn gap(exchange: &Exchange, routing_key: RoutingKey<'_>, id: Option<Position>) -> Frame {
    #[derive(Serialize)]
    struct Gap<'a> {
        exchange: &'a Exchange,
        routing_key: RoutingKey<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Position>,
    }
    frame("Gap", None, Gap { exchange, routing_key, id })
}

/// `auto`: ended by the application or a re-check, not by the client.
pub fn unsubscribed(
    tag: Option<&Tag>,
    exchange: &Exchange,
    routing_key: RoutingKey<'_>,
    auto: bool,
) -> Frame {
    #[derive(Serialize)]
    struct Unsubscribed<'a> {
        exchange: &'a Exchange,
        /// What the Ruby original called it; its clients read this one.
        exchange_name: &'a Exchange,
        routing_key: RoutingKey<'a>,
        auto: bool,
    }
    let payload = Unsubscribed { exchange, exchange_name: exchange, routing_key, auto };
    frame("Unsubscribed", tag, payload)
}

/// `subscriptions` serializes as `{"widgets":[1234]}`, keys as the client wrote them.
pub(crate) fn your_subscriptions(tag: Option<&Tag>, subscriptions: &impl Serialize) -> Frame {
    #[derive(Serialize)]
    struct YourSubscriptions<'a, S> {
        subscriptions: &'a S,
    }
    frame("YourSubscriptions", tag, YourSubscriptions { subscriptions })
}

/// `positions`: of exchanges; whoever is subscribed reads all events up to there before this.
pub(crate) fn pong(
    tag: Option<&Tag>,
    now: UnixTime,
    positions: &BTreeMap<Exchange, Position>,
) -> Frame {
    #[derive(Serialize)]
    struct Pong<'a> {
        time: u64,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        positions: &'a BTreeMap<Exchange, Position>,
    }
    frame("Pong", tag, Pong { time: now.seconds(), positions })
}

/// Told before a close that wants the client back.
pub(crate) fn reconnect(after: Duration) -> Frame {
    #[derive(Serialize)]
    struct Reconnect {
        after_ms: u128,
    }
    frame("Reconnect", None, Reconnect { after_ms: after.as_millis() })
}

impl Serialize for Exchange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
