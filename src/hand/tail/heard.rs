//! What the gateway says to a client, as far as it matters here. Payloads stay the text that they
//! were.

use std::{borrow::Cow, collections::HashMap};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::event::present;

pub(super) enum Heard<'a> {
    /// Somebody pushed it.
    Pushed {
        exchange: Cow<'a, str>,
        routing_key: Cow<'a, str>,
        event: Cow<'a, str>,
        payload: &'a RawValue,
        position: Option<String>,
    },
    /// To an action of this tag, or of its own accord.
    Answer { event: Cow<'a, str>, tag: String, told: Told },
}

/// Members of the payloads of answers.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Told {
    pub exchange: Option<String>,
    /// This client writes keys as strings.
    #[serde(default, deserialize_with = "lenient")]
    pub routing_key: Option<String>,
    pub id: Option<String>,
    pub recovered: Option<bool>,
    pub reason: Option<String>,
    pub error: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    message: Option<String>,
    #[serde(default)]
    retryable: bool,
    outcome: Option<String>,
    pub after_ms: Option<u64>,
    #[serde(default)]
    pub positions: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(default, deserialize_with = "lenient")]
    tag: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    mq: Option<Mq<'a>>,
}

#[derive(Deserialize)]
struct Mq<'a> {
    #[serde(borrow)]
    e: Cow<'a, str>,
    #[serde(borrow)]
    rk: Cow<'a, str>,
    id: Option<String>,
}

impl<'a> Heard<'a> {
    /// Nothing of what is no message.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let Message { event, tag, payload, mq } = serde_json::from_str(text).ok()?;
        let Some(Mq { e, rk, id }) = mq else {
            // An application answers what it likes.
            let told = payload.and_then(|payload| serde_json::from_str(payload.get()).ok());
            return Some(Self::Answer {
                event,
                tag: tag.unwrap_or_default(),
                told: told.unwrap_or_default(),
            });
        };
        Some(Self::Pushed { exchange: e, routing_key: rk, event, payload: payload?, position: id })
    }
}

impl Told {
    pub(super) fn error_in_words(&self) -> String {
        let code = self.error.as_deref().unwrap_or("Error");
        match self.message.as_deref().or(self.reason.as_deref()) {
            Some(message) => format!("{code} ({message})"),
            None => code.into(),
        }
    }

    /// It did not happen, or does no harm when it happens twice.
    pub(super) fn may_be_asked_again(&self) -> bool {
        self.retryable || self.outcome.is_some()
    }
}

/// Nothing where it is of another kind.
fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: DeserializeOwned,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}
