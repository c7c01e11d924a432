//! The one message of the contract that is read otherwise than as prost would: an event without
//! anything has two bytes, and takes fifty times as much once it is read. Of 4 MiB of them no more
//! are read than show that they are too many.

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{DecodeContext, WireType, message, skip_field},
};

use super::PushEventRequest;

/// What the contract allows in one call.
pub const EVENTS_MAX: usize = 1_000;
pub const EVENTS_BYTES_MAX: usize = 4 << 20;

const EVENTS: u32 = 1;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct PushEventsRequest {
    /// One more than are allowed stands for any number.
    pub events: Vec<PushEventRequest>,
}

impl Message for PushEventsRequest {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        message::encode_repeated(EVENTS, &self.events, buffer);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag == EVENTS && self.events.len() <= EVENTS_MAX {
            return message::merge_repeated(wire_type, &mut self.events, buffer, context);
        }
        skip_field(wire_type, tag, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        message::encoded_len_repeated(EVENTS, &self.events)
    }

    fn clear(&mut self) {
        self.events.clear();
    }
}
