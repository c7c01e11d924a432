//! What a client says: `{"action","tag","payload"}`, and the topics named by the built-in
//! actions. Everything borrows from the message's own text.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::Error as _,
};
use serde_json::value::RawValue;

use super::{ClientError, ErrorCode, Tag};
use crate::event::{self, Exchange, InvalidEvent, Position, Topic};

/// Beyond this a payload breaks many a JSON parser behind the gateway.
const DEPTH_MAX: usize = 128;

/// Of what the parser says, in characters.
const MESSAGE_MAX: usize = 200;

/// Actions that the gateway answers by itself; every other one is the application's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuiltIn {
    Subscribe,
    Unsubscribe,
    ListSubscriptions,
    Ping,
}

impl BuiltIn {
    pub(crate) fn named(action: &str) -> Option<Self> {
        match action {
            "Subscribe" => Some(Self::Subscribe),
            "Unsubscribe" => Some(Self::Unsubscribe),
            "ListSubscriptions" => Some(Self::ListSubscriptions),
            "Ping" => Some(Self::Ping),
            _ => None,
        }
    }
}

/// One message, its action and members not yet understood.
#[derive(Debug)]
pub struct ClientMessage<'a> {
    pub action: Cow<'a, str>,
    pub tag: Option<&'a Tag>,
    /// JSON text; `{}` where the client sent none.
    pub payload: &'a str,
}

/// What is wrong with a message, and the tag to say it under, where one could be read.
#[derive(Debug)]
pub struct InvalidMessage<'a> {
    pub tag: Option<&'a Tag>,
    pub error: ClientError,
}

impl<'a> ClientMessage<'a> {
    pub fn parse(text: &'a str) -> Result<Self, InvalidMessage<'a>> {
        let invalid_json = |message: String| InvalidMessage {
            tag: None,
            error: ClientError::new(ErrorCode::InvalidJSON).message(message),
        };
        let members: Members =
            serde_json::from_str(text).map_err(|e| invalid_json(in_short(&e)))?;
        // In a reply it stands one level deeper.
        let tag = members.tag.filter(|tag| !is_deeper(tag.get(), DEPTH_MAX - 1));
        let invalid = |error: ClientError| InvalidMessage { tag, error };
        if is_deeper(text, DEPTH_MAX) {
            let message = format!("nested deeper than {DEPTH_MAX} levels");
            return Err(invalid(ClientError::new(ErrorCode::InvalidJSON).message(message)));
        }
        if let Some(name) = members.duplicate {
            let message = format!("\"{name}\" is there twice");
            return Err(invalid(ClientError::new(ErrorCode::InvalidJSON).message(message)));
        }
        let invalid_action =
            |message: &str| invalid(ClientError::new(ErrorCode::InvalidAction).message(message));
        let Some(action) = members.action else {
            return Err(invalid_action("\"action\" is missing"));
        };
        let Text(action) = serde_json::from_str(action.get())
            .map_err(|_| invalid_action("\"action\" must be a string"))?;
        if action.is_empty() {
            return Err(invalid_action("\"action\" is empty"));
        }
        Ok(Self { action, tag, payload: members.payload.map_or("{}", RawValue::get) })
    }

    /// The topics that a `Subscribe` or `Unsubscribe` names.
    pub fn topics(&self) -> Result<TopicRequest<'a>, ClientError> {
        TopicMembers::read(self.payload)?.request()
    }
}

/// The members of a message as they stand, before any is understood.
#[derive(Default)]
struct Members<'a> {
    action: Option<&'a RawValue>,
    tag: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    duplicate: Option<&'static str>,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(Text(name)) = map.next_key()? {
                    let value: &RawValue = map.next_value()?;
                    let (slot, name) = match &*name {
                        "action" => (&mut members.action, "action"),
                        "tag" => (&mut members.tag, "tag"),
                        "payload" => (&mut members.payload, "payload"),
                        _ => continue,
                    };
                    if slot.is_none() {
                        *slot = Some(value);
                    } else {
                        members.duplicate = Some(name);
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A JSON string, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The topics named in a payload: `exchange` with `routing_key` or `routing_keys`.
#[derive(Debug)]
pub struct TopicRequest<'a> {
    pub exchange: Option<Cow<'a, str>>,
    pub keys: KeySelection<'a>,
    pub past: Past,
}

/// What a `Subscribe` wants of what was pushed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    Nothing,
    /// What came behind this position; of what is none nobody knows.
    After(Option<Position>),
    /// So many events of each key.
    Last(usize),
}

/// The most events of each key that a `Subscribe` may ask for.
pub(crate) const LAST_MAX: usize = 100;

#[derive(Debug)]
pub enum KeySelection<'a> {
    /// No key was named.
    Missing,
    /// As they were sent, valid or not.
    Named(Vec<&'a RawValue>),
}

/// The members of a payload that names topics, as they stand.
#[derive(Deserialize)]
pub(super) struct TopicMembers<'a> {
    #[serde(borrow)]
    exchange: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "event::present")]
    pub(super) routing_key: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) routing_keys: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) after: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) last: Option<&'a RawValue>,
}

impl<'a> TopicMembers<'a> {
    pub(super) fn read(payload: &'a str) -> Result<Self, ClientError> {
        if !payload.starts_with('{') {
            return Err(invalid_payload("the payload must be an object"));
        }
        serde_json::from_str(payload).map_err(|e| invalid_payload(&in_short(&e)))
    }

    /// What they ask for, where they agree.
    pub(super) fn request(self) -> Result<TopicRequest<'a>, ClientError> {
        let keys = match (self.routing_key, self.routing_keys) {
            (Some(_), Some(_)) => {
                let message = "give \"routing_key\" or \"routing_keys\", not both";
                return Err(invalid_payload(message));
            }
            (None, Some(keys)) if keys.is_empty() => {
                return Err(invalid_payload("\"routing_keys\" is empty"));
            }
            (None, Some(keys)) => KeySelection::Named(keys),
            (Some(key), None) => KeySelection::Named(vec![key]),
            (None, None) => KeySelection::Missing,
        };
        let past = Past::parse(self.after, self.last).map_err(|e| invalid_payload(&e))?;
        Ok(TopicRequest { exchange: self.exchange.map(|Text(name)| name), keys, past })
    }
}

fn invalid_payload(message: &str) -> ClientError {
    ClientError::new(ErrorCode::InvalidPayload).message(message)
}

impl Past {
    fn parse(after: Option<&RawValue>, last: Option<&RawValue>) -> Result<Self, String> {
        match (after, last) {
            (None, None) => Ok(Self::Nothing),
            (Some(_), Some(_)) => Err("give \"after\" or \"last\", not both".into()),
            // Whatever it is: a client that kept nonsense is to fetch its state anew.
            (Some(after), None) => {
                let text = serde_json::from_str(after.get()).ok();
                Ok(Self::After(text.and_then(|Text(text)| Position::parse(&text))))
            }
            (None, Some(last)) => match last.get().parse() {
                Ok(last @ 1..=LAST_MAX) => Ok(Self::Last(last)),
                _ => Err(format!("\"last\" must be a number from 1 to {LAST_MAX}")),
            },
        }
    }
}

/// How a client writes a routing key. With the key's text it gives back what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    String,
    Integer,
    /// The empty key.
    Null,
}

impl KeyForm {
    /// Reads a key as it was sent: the topic it names, and its form.
    pub fn read(exchange: &Exchange, sent: &RawValue) -> Result<(Topic, Self), InvalidEvent> {
        let text = sent.get();
        let (key, form) = match text.as_bytes() {
            b"null" => ("".into(), Self::Null),
            [b'"', ..] => {
                let Text(key) = serde_json::from_str(text).map_err(|_| InvalidEvent::RoutingKey)?;
                (key, Self::String)
            }
            [b'-' | b'0'..=b'9', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
                (text.into(), Self::Integer)
            }
            _ => return Err(InvalidEvent::RoutingKey),
        };
        Ok((Topic::new(exchange.clone(), &key)?, form))
    }
}

/// A routing key that serializes as the JSON value the client sent.
#[derive(Debug, Clone, Copy)]
pub struct RoutingKey<'a> {
    pub text: &'a str,
    pub form: KeyForm,
}

impl Serialize for RoutingKey<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.form {
            KeyForm::String => serializer.serialize_str(self.text),
            KeyForm::Null => serializer.serialize_unit(),
            KeyForm::Integer => serde_json::from_str::<&RawValue>(self.text)
                .map_err(S::Error::custom)?
                .serialize(serializer),
        }
    }
}

/// What the parser says quotes the client, at any length and escaped.
fn in_short(error: &serde_json::Error) -> String {
    error.to_string().chars().take(MESSAGE_MAX).collect()
}

/// Of JSON, where each level takes two brackets: what is short needs no look.
fn is_deeper(json: &str, levels: usize) -> bool {
    json.len() > 2 * levels && depth(json) > levels
}

/// Counts brackets outside strings.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
