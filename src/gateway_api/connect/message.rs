//! The messages as they are.

use bytes::{Buf, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, decode_key, skip_field},
};

use crate::{gateway_api::service::EVENTS_MAX, proto};

/// A request.
pub(super) trait FromMessage: Message + Default {
    fn from_message(body: Bytes) -> Result<Self, String> {
        Self::decode(body).map_err(problem)
    }
}

impl FromMessage for proto::PushEventRequest {}

impl FromMessage for proto::PushEventsRequest {
    /// An event without anything has two bytes, and takes fifty times as much once it is read: so
    /// they are counted before.
    fn from_message(body: Bytes) -> Result<Self, String> {
        if events(&body).map_err(problem)? > EVENTS_MAX {
            return Err(format!("events must hold 1 to {EVENTS_MAX} events"));
        }
        Self::decode(body).map_err(problem)
    }
}

impl FromMessage for proto::SendEventRequest {}

impl FromMessage for proto::DisconnectSessionRequest {}

/// How many a `PushEventsRequest` holds; they are its first field.
fn events(mut message: &[u8]) -> Result<usize, DecodeError> {
    let mut events = 0;
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message)?;
        skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
        events += usize::from(tag == 1);
    }
    Ok(events)
}

fn problem(error: DecodeError) -> String {
    format!("the body: {error}")
}
