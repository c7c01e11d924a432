//! The body of a batch: several events in one entry of the log, as `proto/myxi/v1/log.proto`
//! says. A broker's work is for messages and hardly for bytes, so events that come together
//! travel together.
//!
//! Reading is a walk over the fields that leaves every text where it is: a generated type would
//! copy all of them, and take one that is no UTF-8 for the end of the whole batch.

use prost::{Message, length_delimiter_len};

use crate::{
    event::{OutgoingEvent, PushedAt},
    proto::{LogBatch, LogEvent},
};

/// Events that a batch holds at most.
pub const EVENTS_MAX: usize = 256;

/// Bytes of its body at most.
pub const BYTES_MAX: usize = 64 * 1024;

/// The body of a batch of these.
pub fn write(events: Vec<OutgoingEvent>) -> Vec<u8> {
    let events = events.into_iter().map(log_event).collect();
    LogBatch { events }.encode_to_vec()
}

/// The bytes that an event takes in the body of a batch.
pub fn size(event: &OutgoingEvent) -> usize {
    let OutgoingEvent { topic, body, id, deduplicate, pushed_at: PushedAt(pushed_at) } = event;
    let texts = [topic.routing_key(), id, &body.name, body.payload.get()];
    // What is empty is not written.
    let texts = texts.into_iter().map(str::len).filter(|length| *length > 0);
    let texts: usize = texts.map(delimited).sum();
    let mark = if *deduplicate { 2 } else { 0 };
    delimited(texts + 1 + varint(*pushed_at) + mark)
}

/// With the tag, which is a byte for each of the fields here.
fn delimited(length: usize) -> usize {
    1 + length_delimiter_len(length) + length
}

fn varint(number: u64) -> usize {
    usize::try_from(number).map_or(10, length_delimiter_len)
}

fn log_event(event: OutgoingEvent) -> LogEvent {
    LogEvent {
        routing_key: event.topic.routing_key().into(),
        event_id: event.id.into(),
        event: event.body.name.into(),
        payload: Box::<str>::from(event.body.payload).into(),
        pushed_at_us: event.pushed_at.0,
        deduplicate: event.deduplicate,
    }
}

/// One event of a batch: what stands there, whatever it is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part<'a> {
    pub routing_key: &'a [u8],
    pub event_id: &'a [u8],
    pub name: &'a [u8],
    pub payload: &'a [u8],
    /// Microseconds of Unix time; 0 where nobody said it.
    pub pushed_at: u64,
    /// Whether its id is one to know it by.
    pub deduplicate: bool,
}

/// The body is not a batch's, or is beyond its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no batch of at most {EVENTS_MAX} events and {BYTES_MAX} bytes")]
pub struct NoBatch;

/// What stands in the body of a batch, without a copy. Other programs write batches too:
/// nothing about `body` is taken for granted.
pub fn read(body: &[u8]) -> Result<Vec<Part<'_>>, NoBatch> {
    if body.len() > BYTES_MAX {
        return Err(NoBatch);
    }
    let mut parts = Vec::new();
    for field in Fields(body) {
        match field? {
            (1, Value::Bytes(event)) if parts.len() < EVENTS_MAX => parts.push(part(event)?),
            (1, _) => return Err(NoBatch),
            _ => {}
        }
    }
    Ok(parts)
}

fn part(event: &[u8]) -> Result<Part<'_>, NoBatch> {
    let mut part = Part::default();
    for field in Fields(event) {
        match field? {
            (1, Value::Bytes(text)) => part.routing_key = text,
            (2, Value::Bytes(text)) => part.event_id = text,
            (3, Value::Bytes(text)) => part.name = text,
            (4, Value::Bytes(text)) => part.payload = text,
            (5, Value::Varint(number)) => part.pushed_at = number,
            (6, Value::Varint(number)) => part.deduplicate = number != 0,
            (1..=6, _) => return Err(NoBatch),
            // Of a newer build.
            _ => {}
        }
    }
    Ok(part)
}

/// The fields of a message, by their numbers.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a type that no field here has.
    Other,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), NoBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.field().ok_or(NoBatch))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let tag = u32::try_from(self.varint()?).ok()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.skip(4)?,
            // Groups, which proto3 does not have.
            _ => return None,
        };
        let number = tag >> 3;
        (number > 0).then_some((number, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has one bit left.
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn skip(&mut self, length: usize) -> Option<Value<'a>> {
        self.take(length).map(|_| Value::Other)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventBody, Exchange, Topic};

    #[test]
    fn a_size_that_is_told_before_is_the_size_that_is_written() {
        for (key, name, payload) in [
            ("", "Changed", "7".to_owned()),
            ("k", "Changed", "{}".to_owned()),
            ("1234", "ü", format!("\"{}\"", "x".repeat(120))),
            (&"k".repeat(255), &"n".repeat(255), format!("\"{}\"", "x".repeat(70_000))),
        ] {
            let topic = Topic::new(Exchange::new("widgets").expect("valid"), key).expect("valid");
            let body = EventBody::new(name, &payload).expect("valid");
            let event = OutgoingEvent::new(topic, body, "id", 100_000).expect("valid");
            let told = size(&event);
            assert_eq!(write(vec![event.clone()]).len(), told, "{name}");
            assert_eq!(write(vec![event.clone(), event.clone()]).len(), 2 * told, "{name}");
            let marked = OutgoingEvent { deduplicate: true, ..event };
            let told = size(&marked);
            assert_eq!(write(vec![marked]).len(), told, "{name}");
        }
    }
}
