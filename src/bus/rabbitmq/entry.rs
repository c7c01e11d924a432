//! One entry of a log: how it is written, what it is when it is read, and how it is known
//! again.

use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};
use twox_hash::XxHash3_64;

use super::{
    batch::{self, NoBatch, Part},
    connection::BrokerError,
    message::Message,
    topology,
};
use crate::{
    event::{Entry, Exchange, InvalidEvent, OutgoingEvent, Position, PushedAt, RawBody, RawEvent},
    ids::random_id,
};

/// The AMQP type of a marker. Whatever else begins with [`OURS`] is of a newer build.
const MARKER: &str = "myxi.marker";

/// The AMQP type of a batch of events.
const BATCH: &str = "myxi.batch";

/// What the AMQP types of the gateway's own entries begin with.
const OURS: &str = "myxi.";

/// When a gateway took the event, in microseconds of Unix time. AMQP's own timestamp has
/// seconds.
const PUSHED_AT_HEADER: &str = "x-myxi-pushed-us";

/// True where the message id is one to know the event by if it is pushed again: its caller
/// chose it. Other programs' message ids may mean anything, so they count with this only.
const DEDUPLICATE_HEADER: &str = "x-myxi-deduplicate";

/// The entry of an event.
pub(super) fn event(event: OutgoingEvent) -> Message {
    // A Topic and an OutgoingEvent are checked to be short strings; were one not, an empty
    // key is better than the panic of `into`.
    let short = |text: &str| ShortString::try_new(text).unwrap_or_default();
    let mut headers = FieldTable::default();
    headers.insert(PUSHED_AT_HEADER.into(), pushed_at_value(event.pushed_at));
    if event.deduplicate {
        headers.insert(DEDUPLICATE_HEADER.into(), AMQPValue::Boolean(true));
    }
    Message {
        exchange: topology::input_exchange(&event.topic.exchange),
        routing_key: short(event.topic.routing_key()),
        properties: BasicProperties::default()
            .with_content_type("application/json".into())
            .with_message_id(short(&event.id)),
        headers,
        body: event.body.to_json(),
        mandatory: true,
    }
}

/// The entry of several events of one exchange, which must be within the bounds of a batch
/// ([`batch::EVENTS_MAX`], [`batch::BYTES_MAX`]).
pub(super) fn batch(exchange: &Exchange, events: Vec<OutgoingEvent>) -> Message {
    Message {
        exchange: topology::input_exchange(exchange),
        routing_key: "".into(),
        properties: BasicProperties::default()
            .with_type(BATCH.into())
            .with_content_type("application/x-protobuf".into()),
        headers: FieldTable::default(),
        body: batch::write(events),
        mandatory: true,
    }
}

/// A marker for this exchange's log, never the same twice, and its id.
pub(super) fn marker(exchange: &Exchange) -> (Message, String) {
    let id = random_id();
    let marker = Message {
        exchange: topology::input_exchange(exchange),
        routing_key: "".into(),
        properties: BasicProperties::default()
            .with_type(MARKER.into())
            .with_message_id(id.as_str().into()),
        headers: FieldTable::default(),
        body: Vec::new(),
        mandatory: true,
    };
    (marker, id)
}

pub(super) enum Kind {
    /// Events, or another program's nonsense.
    Events,
    Marker,
    /// What a gateway of a newer build published, which this one cannot read.
    Newer,
}

pub(super) fn kind(delivery: &Delivery) -> Kind {
    match amqp_type(delivery) {
        Some(MARKER) => Kind::Marker,
        Some(BATCH) => Kind::Events,
        Some(kind) if kind.starts_with(OURS) => Kind::Newer,
        _ => Kind::Events,
    }
}

/// What an entry of [`Kind::Events`] holds, in order: each event, or what is wrong with it.
/// `max_size` bounds an event's body as JSON, in bytes.
pub(super) fn events(
    delivery: &Delivery,
    entry: Entry,
    max_size: usize,
) -> Result<Vec<Result<RawEvent<'_>, InvalidEvent>>, NoBatch> {
    if amqp_type(delivery) != Some(BATCH) {
        let key = delivery.routing_key.as_str().as_bytes();
        let (body, position) = (RawBody::Json(&delivery.data), Position::behind(entry, 0));
        let pushed_at = pushed_at(&delivery.properties);
        let event = RawEvent::new(key, body, position, pushed_at, max_size);
        return Ok(vec![event.and_then(|event| event.deduplicated(chosen_id(delivery)))]);
    }
    let parts = (0..).zip(batch::read(&delivery.data)?);
    let position = |place| Position::behind(entry, place);
    Ok(parts.map(|(place, part)| of_batch(part, position(place), max_size)).collect())
}

fn of_batch(
    part: Part<'_>,
    position: Position,
    max_size: usize,
) -> Result<RawEvent<'_>, InvalidEvent> {
    let Part { routing_key, event_id, name, payload, pushed_at, deduplicate } = part;
    let pushed_at = (pushed_at > 0).then_some(PushedAt(pushed_at));
    let body = RawBody::Parts { name, payload };
    let event = RawEvent::new(routing_key, body, position, pushed_at, max_size)?;
    if deduplicate { event.deduplicated(event_id) } else { Ok(event) }
}

/// The id to know a single event by; empty where there is none.
fn chosen_id(delivery: &Delivery) -> &[u8] {
    match header(&delivery.properties, DEDUPLICATE_HEADER) {
        Some(AMQPValue::Boolean(true)) => id(delivery).as_bytes(),
        _ => b"",
    }
}

pub(super) fn offset(delivery: &Delivery) -> Result<u64, BrokerError> {
    match header(&delivery.properties, "x-stream-offset") {
        Some(AMQPValue::LongLongInt(offset)) => Ok(*offset as u64),
        _ => Err(BrokerError::Unexpected("the log is not a stream".into())),
    }
}

/// As it is known again, behind a marker with this id.
pub(super) fn of(delivery: &Delivery, marker: &str) -> Result<Entry, BrokerError> {
    Ok(Entry { offset: offset(delivery)?, hash: hash(delivery, marker) })
}

/// The id of a message; nothing where another program gave it none.
pub(super) fn id(delivery: &Delivery) -> &str {
    delivery.properties.message_id().as_ref().map_or("", |id| id.as_str())
}

/// XXH3 with 64 bits, so that all builds agree: of the body, seeded with that of what else the
/// entry says and of the last marker's id (a marker's own, where it is one). So entries of two
/// logs differ, though other programs published the same to both.
fn hash(delivery: &Delivery, marker: &str) -> u64 {
    let PushedAt(pushed_at) = pushed_at(&delivery.properties).unwrap_or(PushedAt(0));
    hash_of(pushed_at, [marker, delivery.routing_key.as_str(), id(delivery)], &delivery.data)
}

/// Of the marker with this id.
pub(super) fn marker_hash(id: &str) -> u64 {
    hash_of(0, [id, "", id], b"")
}

fn hash_of(pushed_at: u64, texts: [&str; 3], body: &[u8]) -> u64 {
    let mut head = Vec::with_capacity(128);
    head.extend(pushed_at.to_le_bytes());
    for text in texts {
        // With its length: what ends one must not pass for the beginning of the next.
        head.extend((text.len() as u64).to_le_bytes());
        head.extend(text.as_bytes());
    }
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&head), body)
}

fn amqp_type(delivery: &Delivery) -> Option<&str> {
    delivery.properties.kind().as_ref().map(|kind| kind.as_str())
}

fn pushed_at_value(PushedAt(micros): PushedAt) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// Absent where another program published the entry.
pub(super) fn pushed_at(properties: &BasicProperties) -> Option<PushedAt> {
    match header(properties, PUSHED_AT_HEADER)? {
        AMQPValue::LongLongInt(micros) => u64::try_from(*micros).ok().map(PushedAt),
        _ => None,
    }
}

fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}
