//! What a line of standard input says: a payload, or a whole event. Payloads stay the text that
//! they were.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::request;
use crate::{config::hand::NamedEvent, event::present, ids::random_id, proto::PushEventRequest};

/// An event that has no id gets one, so that it can be pushed again whatever becomes of the call.
pub(super) enum ReadLine {
    /// The payload of an event that was named already.
    Payload(NamedEvent),
    Event,
}

/// Unknown members are refused: one that is misspelt would be missed by nobody.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(borrow)]
    exchange: Cow<'a, str>,
    #[serde(borrow)]
    routing_key: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    event_id: Option<String>,
    /// Lines of `myxi tail` have these as well.
    #[serde(rename = "at_ms")]
    _at: Option<IgnoredAny>,
    #[serde(rename = "position")]
    _position: Option<IgnoredAny>,
}

impl ReadLine {
    /// Nothing of an empty line.
    pub(super) fn read(&self, line: &str) -> Result<Option<PushEventRequest>, String> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(None);
        }
        match self {
            Self::Payload(topic) => Ok(Some(request(topic, line.into(), Some(random_id())))),
            Self::Event => event(line).map(Some),
        }
    }
}

fn event(line: &str) -> Result<PushEventRequest, String> {
    // An array of the members would do for the parser.
    if !line.starts_with('{') {
        return Err("it is not a JSON object".into());
    }
    let written: Written = serde_json::from_str(line).map_err(|error| {
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or_default();
        format!("{what} (column {})", error.column())
    })?;
    Ok(PushEventRequest {
        exchange: written.exchange.into_owned(),
        routing_key: written.routing_key.map_or(Ok(String::new()), key)?,
        event: written.event.into_owned(),
        payload: written.payload.map_or_else(String::new, |payload| payload.get().into()),
        event_id: Some(written.event_id.unwrap_or_else(random_id)),
    })
}

/// As clients may write it: a string or an integer.
fn key(written: &RawValue) -> Result<String, String> {
    let text = written.get();
    match text.strip_prefix('-').unwrap_or(text) {
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(text.into()),
        _ => serde_json::from_str(text)
            .map_err(|_| "routing_key must be a string or an integer".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_as_it_is_written() {
        let line = r#"{"exchange":"w","routing_key":-12345678901234567890,"event":"\u0041","payload":[1e2, 0.10],"event_id":"x"}"#;
        let event = event(line).expect("valid");
        assert_eq!((&*event.exchange, &*event.event), ("w", "A"));
        assert_eq!(event.routing_key, "-12345678901234567890");
        assert_eq!(event.payload, "[1e2, 0.10]");
        assert_eq!(event.event_id.as_deref(), Some("x"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, problem) in [
            (r#"["w","1","E"]"#, "not a JSON object"),
            (r#"{"exchange":"w"}"#, "missing field `event` (column 16)"),
            (r#"{"exchange":"w","event":"E","rk":1}"#, "unknown field `rk`"),
            (r#"{"exchange":"w","event":"E","routing_key":1.5}"#, "routing_key must be"),
            (r#"{"exchange":"w","event":"E","#, "EOF while parsing"),
        ] {
            let error = event(line).expect_err(line);
            assert!(error.contains(problem), "{line}: {error}");
        }
    }
}
