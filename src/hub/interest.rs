//! Which topics somebody is subscribed to, on whichever hub: so that what nobody wants is known
//! by one look, before it is read. Hubs have it up to date; it is no part of their locks, so
//! that whoever looks waits for no delivery.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

use crate::event::{Exchange, RawEvent, Topic};

#[derive(Debug)]
pub struct Interest(HashMap<Exchange, Mutex<Keys>>);

/// How many hubs have subscribers of a key.
type Keys = HashMap<Arc<str>, usize>;

impl Interest {
    /// In these exchanges, in which nobody is interested yet.
    pub fn new(exchanges: impl IntoIterator<Item = Exchange>) -> Arc<Self> {
        Arc::new(Self(exchanges.into_iter().map(|name| (name, Mutex::default())).collect()))
    }

    pub fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.0.keys()
    }

    /// Drops the events that nobody is subscribed to.
    pub fn keep_wanted(&self, exchange: &Exchange, events: &mut Vec<RawEvent<'_>>) {
        match self.keys(exchange) {
            Some(keys) => events.retain(|event| keys.contains_key(event.routing_key())),
            None => events.clear(),
        }
    }

    /// To be called before a hub's first subscriber of a topic is told so.
    pub(super) fn add(&self, topic: &Topic) {
        if let Some(mut keys) = self.keys(&topic.exchange) {
            *keys.entry(topic.shared_routing_key()).or_default() += 1;
        }
    }

    /// To be called when a hub's last subscriber of a topic is gone.
    pub(super) fn remove(&self, topic: &Topic) {
        let Some(mut keys) = self.keys(&topic.exchange) else { return };
        let Some(hubs) = keys.get_mut(topic.routing_key()) else { return };
        *hubs -= 1;
        if *hubs == 0 {
            keys.remove(topic.routing_key());
        }
    }

    fn keys(&self, exchange: &Exchange) -> Option<MutexGuard<'_, Keys>> {
        self.0.get(exchange).map(Mutex::lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Position, RawBody};

    #[test]
    fn a_topic_is_wanted_for_as_long_as_one_hub_has_subscribers() {
        let exchange = Exchange::new("widgets").expect("valid");
        let topic = Topic::new(exchange.clone(), "1").expect("valid");
        let interest = Interest::new([exchange.clone()]);
        let wanted = || {
            let event = |key: &'static str| {
                let position = Position::single(0);
                RawEvent::new(key.as_bytes(), RawBody::Json(b"{}"), position, None, 10)
            };
            let mut events = vec![event("1").expect("valid"), event("2").expect("valid")];
            interest.keep_wanted(&exchange, &mut events);
            events.iter().map(RawEvent::routing_key).collect::<Vec<_>>()
        };
        assert_eq!(wanted(), [""; 0]);
        interest.add(&topic);
        interest.add(&topic);
        assert_eq!(wanted(), ["1"]);
        interest.remove(&topic);
        assert_eq!(wanted(), ["1"]);
        interest.remove(&topic);
        interest.remove(&topic);
        assert_eq!(wanted(), [""; 0]);
    }
}
