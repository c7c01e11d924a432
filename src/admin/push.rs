//! Pushing an event by hand: the same as the application's `PushEvent`, as JSON over HTTP.

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    answer::Refusal,
    body::{self, required, text},
};
use crate::{
    bus::PublishError,
    event::{InvalidEvent, present},
    gateway_api::{GatewayApi, NewEvent, PushError},
};

/// Of a request: what is in it is read on, whatever it is, to say which part is wrong.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    exchange: Option<&'a RawValue>,
    #[serde(borrow)]
    routing_key: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    event_id: Option<&'a RawValue>,
}

#[derive(Debug, Serialize)]
pub(super) struct Pushed {
    event_id: String,
}

pub(super) async fn push(api: &GatewayApi, body: &Bytes) -> Result<Pushed, Refusal> {
    let event_id = api.push(read(body)?).await?;
    Ok(Pushed { event_id })
}

impl From<PushError> for Refusal {
    fn from(error: PushError) -> Self {
        let status = match &error {
            PushError::Invalid(_) => StatusCode::BAD_REQUEST,
            PushError::NotPublished(error) => match error {
                PublishError::UnknownExchange(_) => StatusCode::NOT_FOUND,
                PublishError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
                PublishError::Overloaded(_) => StatusCode::TOO_MANY_REQUESTS,
                PublishError::Unconfirmed => StatusCode::GATEWAY_TIMEOUT,
            },
        };
        Self::new(status, error.to_string())
    }
}

fn read(body: &[u8]) -> Result<NewEvent, Refusal> {
    let body: Body = body::read(body)?;
    Ok(NewEvent {
        exchange: required("exchange", body.exchange)?,
        routing_key: routing_key(body.routing_key)?,
        name: required("event", body.event)?,
        payload: body.payload.map_or_else(String::new, |payload| payload.get().into()),
        id: body.event_id.map(|sent| text("event_id", sent)).transpose()?,
    })
}

/// As clients may write it: a string or an integer; a missing one is the empty key.
fn routing_key(sent: Option<&RawValue>) -> Result<String, Refusal> {
    let Some(sent) = sent else { return Ok(String::new()) };
    match sent.get().strip_prefix('-').unwrap_or(sent.get()) {
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(sent.get().into()),
        _ => text("routing_key", sent)
            .map_err(|_| Refusal::bad_request(InvalidEvent::RoutingKey.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_and_keys_stay_the_text_they_were() {
        let body = br#"{"exchange":"w","routing_key":-12345678901234567890123,"event":"E",
            "payload":[1e2, 123456789012345678901234567890]}"#;
        let request = read(body).expect("valid");
        assert_eq!(request.routing_key, "-12345678901234567890123");
        assert_eq!(request.payload, "[1e2, 123456789012345678901234567890]");
        let request = read(br#"{"exchange":"w","event":"\u0041","payload":null}"#).expect("valid");
        assert_eq!((&*request.routing_key, &*request.name), ("", "A"));
        assert_eq!(request.payload, "null");
        assert_eq!(request.id, None);
    }
}
