//! Which topics somebody is subscribed to, on whichever hub: so that what nobody wants is known
//! by one look, before it is read. And how far that was looked at, for what nobody wants is not
//! handed to the hubs, and yet they stand behind it. Hubs have it up to date; it is no part of
//! their locks, so that whoever looks waits for no delivery.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

use super::Here;
use crate::event::{Exchange, Position, RawEvent, Topic};

#[derive(Debug)]
pub struct Interest(HashMap<Exchange, Mutex<OfExchange>>);

#[derive(Debug, Default)]
struct OfExchange {
    /// How many hubs have subscribers of a key, and sessions that will be.
    keys: HashMap<Arc<str>, usize>,
    /// How far it was read.
    up_to: Option<Position>,
    /// What was handed to the hubs so far: entries, and gaps.
    handed: u64,
}

impl Interest {
    /// In these exchanges, in which nobody is interested yet.
    pub fn new(exchanges: impl IntoIterator<Item = Exchange>) -> Arc<Self> {
        Arc::new(Self(exchanges.into_iter().map(|name| (name, Mutex::default())).collect()))
    }

    pub fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.0.keys()
    }

    /// The log, where there is one, is read from here on.
    pub fn begin(&self, exchange: &Exchange, at: Option<Position>) {
        if let Some(mut of_exchange) = self.of(exchange) {
            of_exchange.up_to = at;
        }
    }

    /// Drops the events of an entry that nobody is subscribed to, unless all are wanted. Returns
    /// whether the entry is to be handed to the hubs.
    pub fn pass(
        &self,
        exchange: &Exchange,
        up_to: Position,
        events: &mut Vec<RawEvent<'_>>,
        all: bool,
    ) -> bool {
        let Some(mut of_exchange) = self.of(exchange) else { return false };
        if !all {
            events.retain(|event| of_exchange.keys.contains_key(event.routing_key()));
        }
        let wanted = !events.is_empty();
        of_exchange.up_to = Some(up_to);
        of_exchange.handed += u64::from(wanted);
        wanted
    }

    /// The same of an event of an exchange without a log.
    pub fn pass_one(&self, topic: &Topic, all: bool) -> bool {
        let Some(mut of_exchange) = self.of(&topic.exchange) else { return false };
        let wanted = all || of_exchange.keys.contains_key(topic.routing_key());
        of_exchange.handed += u64::from(wanted);
        wanted
    }

    /// A gap is to be handed to the hubs.
    pub fn interrupt(&self, exchange: &Exchange, whole_from: Option<Position>) {
        if let Some(mut of_exchange) = self.of(exchange) {
            of_exchange.up_to = whole_from.or(of_exchange.up_to);
            of_exchange.handed += 1;
        }
    }

    /// What was handed to the hubs so far, in number.
    pub(super) fn handed(&self, exchange: &Exchange) -> u64 {
        self.of(exchange).map_or(0, |of| of.handed)
    }

    /// How far the log was read, if so much has been handed to the hubs so far.
    pub(super) fn up_to(&self, exchange: &Exchange, handed: u64) -> Option<Position> {
        self.of(exchange).filter(|of| of.handed == handed).and_then(|of| of.up_to)
    }

    /// To be called before a hub's first subscriber of a topic is told so. What is read of it
    /// behind this will be handed to the hubs.
    pub(super) fn add(&self, topic: &Topic) -> Option<Here> {
        let mut of_exchange = self.of(&topic.exchange)?;
        *of_exchange.keys.entry(topic.shared_routing_key()).or_default() += 1;
        let OfExchange { handed, up_to, .. } = *of_exchange;
        up_to.map(|position| Here { handed, position })
    }

    /// To be called when a hub's last subscriber of a topic is gone.
    pub(super) fn remove(&self, topic: &Topic) {
        let Some(mut of_exchange) = self.of(&topic.exchange) else { return };
        let Some(hubs) = of_exchange.keys.get_mut(topic.routing_key()) else { return };
        *hubs -= 1;
        if *hubs == 0 {
            of_exchange.keys.remove(topic.routing_key());
        }
    }

    fn of(&self, exchange: &Exchange) -> Option<MutexGuard<'_, OfExchange>> {
        self.0.get(exchange).map(Mutex::lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Entry, RawBody};

    fn position(offset: u64) -> Position {
        Position::end_of(Entry { offset, hash: 0 })
    }

    fn interest() -> (Arc<Interest>, Exchange, Topic) {
        let exchange = Exchange::new("widgets").expect("valid");
        let topic = Topic::new(exchange.clone(), "1").expect("valid");
        (Interest::new([exchange.clone()]), exchange, topic)
    }

    fn events(keys: &[&'static str]) -> Vec<RawEvent<'static>> {
        let event = |key: &&'static str| {
            RawEvent::new(key.as_bytes(), RawBody::Json(b"{}"), position(0), None, 10)
        };
        keys.iter().map(event).collect::<Result<_, _>>().expect("valid")
    }

    #[test]
    fn a_topic_is_wanted_for_as_long_as_one_hub_has_subscribers() {
        let (interest, exchange, topic) = interest();
        let wanted = || {
            let mut events = events(&["1", "2"]);
            let handed = interest.pass(&exchange, position(0), &mut events, false);
            assert_eq!(handed, !events.is_empty());
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

    #[test]
    fn who_has_been_handed_all_stands_behind_what_nobody_wants() {
        let (interest, exchange, topic) = interest();
        assert_eq!(interest.up_to(&exchange, 0), None);
        interest.begin(&exchange, Some(position(1)));
        assert_eq!(interest.up_to(&exchange, 0), Some(position(1)));
        interest.pass(&exchange, position(2), &mut events(&["1"]), false);
        assert_eq!(interest.up_to(&exchange, 0), Some(position(2)));
        let here = Here { handed: 0, position: position(2) };
        assert_eq!(interest.add(&topic), Some(here));
        interest.pass(&exchange, position(3), &mut events(&["1"]), false);
        assert_eq!(interest.up_to(&exchange, 0), None);
        interest.pass(&exchange, position(4), &mut events(&["2"]), false);
        assert_eq!(interest.up_to(&exchange, 1), Some(position(4)));
        interest.interrupt(&exchange, None);
        assert_eq!(interest.up_to(&exchange, 1), None);
        assert_eq!(interest.up_to(&exchange, 2), Some(position(4)));
    }
}
