//! The messages of a direct exchange: an event for each, as the Ruby original publishes them.

use lapin::message::Delivery;

use crate::{
    bus::rabbitmq::{entry, message::Message, topology},
    event::{Event, EventBody, Exchange, InvalidEvent, OutgoingEvent, Topic},
};

/// It may well lead nowhere: nobody wants it then.
pub(in crate::bus::rabbitmq) fn outgoing(event: OutgoingEvent) -> Message {
    let exchange = topology::direct_exchange(&event.topic.exchange);
    // Nobody remembers ids here.
    let entry = entry::event(OutgoingEvent { deduplicate: false, ..event });
    Message { exchange, mandatory: false, ..entry }
}

/// `max_size` bounds its body, in bytes.
pub(super) fn event(
    delivery: &Delivery,
    exchange: &Exchange,
    max_size: usize,
) -> Result<Event, InvalidEvent> {
    let size = delivery.data.len();
    if size > max_size {
        return Err(InvalidEvent::TooBig { size, max: max_size });
    }
    let topic = Topic::new(exchange.clone(), delivery.routing_key.as_str())?;
    let body = EventBody::from_json(&delivery.data)?;
    Ok(Event { topic, body, position: None, pushed_at: entry::pushed_at(&delivery.properties) })
}
