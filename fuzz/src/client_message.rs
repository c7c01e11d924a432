//! What a client says: judged as a second reading of the same text judges it, and echoed
//! byte for byte.

use myxi::internals::{
    event::{Entry, Exchange, Position},
    protocol::{
        self, ClientError, ClientMessage, Dialect, KeyForm, KeySelection, Past, Recovered,
        RoutingKey, Tag, TopicRequest,
    },
};
use serde_json::value::RawValue;

use super::{is_one_line, is_verbatim, json};

const DEPTH_MAX: usize = 128;

/// What an error frame may have beside the tag, in bytes.
const ERROR_MAX: usize = 1_500;

/// What any reply has beside tag, exchange and routing key.
const REPLY_MAX: usize = 200;

pub fn client_message(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let expected = Expected::read(text);
    check_original(text);
    match ClientMessage::parse(text) {
        Ok(message) => {
            let Expected::Message { action, tag, payload } = expected else {
                panic!("{expected:?}, yet it was taken: {message:?}");
            };
            assert_eq!(message.action, action);
            assert_eq!(message.tag.map(Tag::get), tag);
            assert_eq!(message.payload, payload.unwrap_or("{}"));
            assert!(payload.is_none() || is_verbatim(message.payload, data), "a rebuilt payload");
            check_tag(message.tag, data);
            check_topics(&message);
        }
        Err(invalid) => {
            let Expected::Invalid { code, tag } = expected else {
                panic!("{expected:?}, yet it was refused: {invalid:?}");
            };
            assert_eq!(code_of(&invalid.error), code);
            assert_eq!(invalid.tag.map(Tag::get), tag);
            check_tag(invalid.tag, data);
            check_error(invalid.tag, &invalid.error);
        }
    }
}

/// A page of the original is understood where a documented client is, and what it is told is JSON.
fn check_original(text: &str) {
    let dialect = Dialect::Original;
    assert_eq!(dialect.parse(text).is_ok(), ClientMessage::parse(text).is_ok());
    let Ok(message) = dialect.parse(text) else { return };
    if let Err(error) = dialect.topics(&message) {
        assert_eq!(dialect.times(&message, &error), 1);
        let frame = dialect.error(message.tag, &error);
        assert!(json::is_valid(frame.as_bytes()), "{frame}");
    }
}

/// How the second reading judges.
#[derive(Debug)]
enum Expected<'a> {
    Message { action: String, tag: Option<&'a str>, payload: Option<&'a str> },
    Invalid { code: &'static str, tag: Option<&'a str> },
}

impl<'a> Expected<'a> {
    fn read(text: &'a str) -> Self {
        let invalid_json = Self::Invalid { code: "InvalidJSON", tag: None };
        let Some(members) = json::object(text.as_bytes()) else { return invalid_json };
        if members.iter().any(|(key, _)| json::text(key).is_none()) {
            return invalid_json;
        }
        let all = |name: &str| {
            let named = |key: &[u8]| json::text(key).is_some_and(|key| key == name);
            let values = members.iter().filter(|(key, _)| named(key));
            values.map(|(_, value)| as_text(value)).collect::<Vec<_>>()
        };
        let (actions, tags, payloads) = (all("action"), all("tag"), all("payload"));
        let tag = tags.first().copied().filter(|tag| json::depth(tag.as_bytes()) < DEPTH_MAX);
        let twice = [&actions, &tags, &payloads].iter().any(|values| values.len() > 1);
        if twice || json::depth(text.as_bytes()) > DEPTH_MAX {
            return Self::Invalid { code: "InvalidJSON", tag };
        }
        let action = actions.first().filter(|raw| raw.starts_with('"'));
        match action.and_then(|raw| json::text(raw.as_bytes())) {
            Some(action) if !action.is_empty() => {
                Self::Message { action, tag, payload: payloads.first().copied() }
            }
            _ => Self::Invalid { code: "InvalidAction", tag },
        }
    }
}

fn as_text(raw: &[u8]) -> &str {
    std::str::from_utf8(raw).expect("a piece of text, cut at ASCII")
}

fn code_of(error: &ClientError) -> String {
    let error = serde_json::to_value(error).expect("an error serializes");
    error["error"].as_str().expect("a code").to_owned()
}

fn check_tag(tag: Option<&Tag>, message: &[u8]) {
    let Some(tag) = tag else { return };
    assert!(is_verbatim(tag.get(), message), "a rebuilt tag: {tag}");
    assert_eq!(&*protocol::done(tag), format!(r#"{{"event":"Done","tag":{tag}}}"#));
}

fn check_error(tag: Option<&Tag>, error: &ClientError) {
    let frame = protocol::error(tag, error);
    let tag = tag.map(|tag| format!(r#""tag":{tag},"#)).unwrap_or_default();
    let start = format!(r#"{{"event":"Error",{tag}"payload":{{"error":""#);
    assert!(frame.starts_with(&start), "{frame}");
    assert!(json::is_valid(frame.as_bytes()) && is_one_line(&frame[start.len()..]), "{frame}");
    assert!(frame.len() <= tag.len() + ERROR_MAX, "{} bytes of error", frame.len());
}

/// What a second reading of the payload finds: the exchange, the keys as sent, and what of the
/// past is wanted.
type Topics = (Option<String>, Option<Vec<String>>, Past);

fn check_topics(message: &ClientMessage<'_>) {
    let expected = expected_topics(message.payload.as_bytes());
    match message.topics() {
        Ok(TopicRequest { exchange, keys, past }) => {
            let sent = match keys {
                KeySelection::Missing => None,
                KeySelection::Named(keys) => {
                    keys.iter().for_each(|key| check_key(key, message));
                    Some(keys.iter().map(|key| key.get().to_owned()).collect())
                }
            };
            assert_eq!(Some((exchange.map(String::from), sent, past)), expected);
        }
        Err(error) => {
            assert!(expected.is_none(), "{expected:?}, yet it was refused: {error:?}");
            assert_eq!(code_of(&error), "InvalidPayload");
            check_error(message.tag, &error);
        }
    }
}

fn expected_topics(payload: &[u8]) -> Option<Topics> {
    let (mut exchange, mut one, mut many, mut after, mut last) = (None, None, None, None, None);
    for (key, value) in json::object(payload)? {
        let slot = match &*json::text(key)? {
            "exchange" => &mut exchange,
            "routing_key" => &mut one,
            "routing_keys" => &mut many,
            "after" => &mut after,
            "last" => &mut last,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    let given = |value: &&[u8]| value != b"null";
    let exchange = match exchange.filter(given) {
        Some(raw) => Some(json::text(raw)?),
        None => None,
    };
    let many = match many.filter(given) {
        Some(raw) => Some(json::array(raw)?),
        None => None,
    };
    let keys = match (one, many) {
        (Some(_), Some(_)) => return None,
        (None, Some(keys)) if keys.is_empty() => return None,
        (None, keys) => keys,
        (Some(key), None) => Some(vec![key]),
    };
    let past = match (after.filter(given), last.filter(given)) {
        (Some(_), Some(_)) => return None,
        (Some(after), None) => {
            Past::After(json::text(after).and_then(|text| Position::parse(&text)))
        }
        (None, Some(last)) => {
            Past::Last(as_text(last).parse().ok().filter(|last| (1..=100).contains(last))?)
        }
        (None, None) => Past::Nothing,
    };
    let owned = |keys: Vec<&[u8]>| keys.into_iter().map(|key| as_text(key).to_owned()).collect();
    Some((exchange, keys.map(owned), past))
}

/// A key comes back as the JSON value that was sent, and means the same when it is sent again.
fn check_key(sent: &RawValue, message: &ClientMessage<'_>) {
    assert!(is_verbatim(sent.get(), message.payload.as_bytes()), "a rebuilt key: {sent}");
    let exchange = Exchange::new("widgets").expect("a name");
    let expected = expected_key(sent.get()).filter(|key| key.len() <= 255 && is_one_line(key));
    let Ok((topic, form)) = KeyForm::read(&exchange, sent) else {
        return assert_eq!(expected, None, "{sent} was refused");
    };
    assert_eq!(Some(topic.routing_key()), expected.as_deref(), "{sent}");
    let key = RoutingKey { text: topic.routing_key(), form };
    let echo = serde_json::to_string(&key).expect("a key serializes");
    if form != KeyForm::String {
        assert_eq!(echo, sent.get());
    }
    let again = RawValue::from_string(echo.clone()).expect("JSON");
    assert_eq!(KeyForm::read(&exchange, &again), Ok((topic.clone(), form)));
    let tag = message.tag.map_or(0, |tag| tag.get().len());
    let id = Some(Position::end_of(Entry { offset: 7, hash: 7 }));
    for reply in [
        protocol::subscribed(message.tag, &topic, form, id, Some(Recovered::Yes)),
        protocol::unsubscribed(message.tag, &exchange, key, true),
        protocol::gap(&exchange, key, id),
    ] {
        assert!(json::is_valid(reply.as_bytes()), "{reply}");
        assert!(reply.contains(&format!(r#""routing_key":{echo}"#)), "{reply}");
        assert!(reply.len() <= REPLY_MAX + tag + echo.len(), "{reply}");
    }
}

fn expected_key(sent: &str) -> Option<String> {
    match sent.as_bytes()[0] {
        b'n' => Some(String::new()),
        b'"' => json::text(sent.as_bytes()),
        b'-' | b'0'..=b'9' if !sent.contains(['.', 'e', 'E']) => Some(sent.to_owned()),
        _ => None,
    }
}
