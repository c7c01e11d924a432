//! The messages as JSON. Names are written as in the proto file or in camel case, as protobuf's
//! own JSON has them; what is `null` is absent. A payload may be the JSON itself in place of its
//! text.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    proto::{self, EVENTS_MAX},
    text::cut,
};

/// Of what is told of a body, in characters: it quotes the body.
const PROBLEM_MAX: usize = 300;

/// A request. What is wrong with it is told by the name of the member.
pub(super) trait FromJson: Sized {
    fn from_json(text: &[u8]) -> Result<Self, String>;
}

/// A reply.
pub(super) trait ToJson {
    fn to_json(&self) -> Vec<u8>;
}

type Member<'a> = Option<&'a RawValue>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushEvent<'a> {
    #[serde(borrow)]
    exchange: Member<'a>,
    #[serde(borrow, alias = "routingKey")]
    routing_key: Member<'a>,
    #[serde(borrow)]
    event: Member<'a>,
    #[serde(borrow)]
    payload: Member<'a>,
    #[serde(borrow, alias = "eventId")]
    event_id: Member<'a>,
}

impl FromJson for proto::PushEventRequest {
    fn from_json(text: &[u8]) -> Result<Self, String> {
        let sent: PushEvent<'_> = object(text)?;
        Ok(Self {
            exchange: string("exchange", sent.exchange)?,
            routing_key: string("routing_key", sent.routing_key)?,
            event: string("event", sent.event)?,
            payload: payload(sent.payload)?,
            event_id: sent.event_id.map(|id| string("event_id", Some(id))).transpose()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushEvents<'a> {
    #[serde(borrow)]
    events: Option<Events<'a>>,
}

impl FromJson for proto::PushEventsRequest {
    fn from_json(text: &[u8]) -> Result<Self, String> {
        let sent: PushEvents<'_> = object(text)?;
        let events = sent.events.map_or_else(Vec::new, |Events(events)| events);
        let read = |(place, event): (usize, &&RawValue)| {
            FromJson::from_json(event.get().as_bytes())
                .map_err(|problem| format!("events[{place}]: {problem}"))
        };
        Ok(Self { events: events.iter().enumerate().map(read).collect::<Result<_, _>>()? })
    }
}

/// One more than may be is kept, to be refused for, and no more.
struct Events<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Events<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("events to be an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sent: A) -> Result<Self::Value, A::Error> {
                let mut events = Vec::new();
                while events.len() <= EVENTS_MAX {
                    match sent.next_element()? {
                        Some(event) => events.push(event),
                        None => return Ok(events),
                    }
                }
                while sent.next_element::<IgnoredAny>()?.is_some() {}
                Ok(events)
            }
        }
        deserializer.deserialize_seq(Each).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendEvent<'a> {
    #[serde(borrow, alias = "sessionId")]
    session_id: Member<'a>,
    #[serde(borrow)]
    event: Member<'a>,
    #[serde(borrow)]
    payload: Member<'a>,
}

impl FromJson for proto::SendEventRequest {
    fn from_json(text: &[u8]) -> Result<Self, String> {
        let sent: SendEvent<'_> = object(text)?;
        Ok(Self {
            session_id: string("session_id", sent.session_id)?,
            event: string("event", sent.event)?,
            payload: payload(sent.payload)?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectSession<'a> {
    #[serde(borrow, alias = "sessionId")]
    session_id: Member<'a>,
    #[serde(borrow)]
    code: Member<'a>,
    #[serde(borrow)]
    reason: Member<'a>,
}

impl FromJson for proto::DisconnectSessionRequest {
    fn from_json(text: &[u8]) -> Result<Self, String> {
        let sent: DisconnectSession<'_> = object(text)?;
        Ok(Self {
            session_id: string("session_id", sent.session_id)?,
            code: number("code", sent.code)?,
            reason: string("reason", sent.reason)?,
        })
    }
}

fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    let problem = |error: serde_json::Error| cut(&error.to_string(), PROBLEM_MAX);
    // An array of the members would do for the parser.
    if !text.trim_ascii_start().starts_with(b"{") {
        let any = serde_json::from_slice::<&RawValue>(text).map_err(problem);
        return Err(any.map_or_else(not_json, |_| "the message must be a JSON object".into()));
    }
    serde_json::from_slice(text)
        .map_err(|error| if error.is_data() { problem(error) } else { not_json(problem(error)) })
}

fn not_json(problem: String) -> String {
    format!("the message is not JSON: {problem}")
}

fn string(name: &str, sent: Member<'_>) -> Result<String, String> {
    let Some(sent) = sent else { return Ok(String::new()) };
    serde_json::from_str::<Cow<'_, str>>(sent.get())
        .map(Cow::into_owned)
        .map_err(|_| format!("{name} must be a string"))
}

/// A number may be a string, as in all of protobuf's JSON.
fn number(name: &str, sent: Member<'_>) -> Result<u32, String> {
    let Some(sent) = sent else { return Ok(0) };
    let text = sent.get();
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("{name} must be a whole number"))
}

/// JSON text: a string is that already, whatever else is written is it.
fn payload(sent: Member<'_>) -> Result<String, String> {
    match sent {
        Some(json) if !json.get().starts_with('"') => Ok(json.get().into()),
        text => string("payload", text),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pushed<'a> {
    event_id: &'a str,
}

impl ToJson for proto::PushEventResponse {
    fn to_json(&self) -> Vec<u8> {
        write(&Pushed { event_id: &self.event_id })
    }
}

#[derive(Serialize)]
struct Results<'a> {
    results: Vec<PushResult<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PushResult<'a> {
    event_id: &'a str,
    /// Also where it is 0, for those who look at nothing else.
    code: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

impl ToJson for proto::PushEventsResponse {
    fn to_json(&self) -> Vec<u8> {
        let results = self.results.iter().map(|result| {
            let proto::PushResult { event_id, code, message } = result;
            PushResult { event_id, code: *code, message }
        });
        write(&Results { results: results.collect() })
    }
}

#[derive(Serialize)]
struct Nothing {}

impl ToJson for proto::SendEventResponse {
    fn to_json(&self) -> Vec<u8> {
        write(&Nothing {})
    }
}

impl ToJson for proto::DisconnectSessionResponse {
    fn to_json(&self) -> Vec<u8> {
        write(&Nothing {})
    }
}

fn write(reply: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(reply).expect("text and numbers always serialize")
}
