//! A session's subscriptions: which there are, and how they end.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;

use super::{
    Session,
    errors::{exchange_missing, invalid_key, unknown_exchange},
};
use crate::{
    event::{Exchange, Topic},
    hub::outbox::Signal,
    protocol::{
        self, ClientError, ClientMessage, ErrorCode, KeyForm, KeySelection, Outcome, RoutingKey,
        Tag,
    },
};

/// What the session is subscribed to. The hub has the same topics.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    held: HashMap<Topic, Subscription>,
    generations: u64,
    /// Of each exchange, those that do not catch up any more.
    live: BTreeMap<Exchange, usize>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Subscription {
    pub(super) form: KeyForm,
    /// Tells a subscription from an earlier one to the same topic.
    pub(super) generation: u64,
    /// Catching up; the hub does not have it yet.
    pub(super) replays: bool,
}

impl Subscriptions {
    /// Returns its generation.
    pub(super) fn insert(&mut self, topic: Topic, form: KeyForm, replays: bool) -> u64 {
        self.remove(&topic);
        self.generations += 1;
        let generation = self.generations;
        if !replays {
            *self.live.entry(topic.exchange.clone()).or_default() += 1;
        }
        self.held.insert(topic, Subscription { form, generation, replays });
        generation
    }

    pub(super) fn remove(&mut self, topic: &Topic) -> Option<Subscription> {
        let held = self.held.remove(topic)?;
        if !held.replays
            && let Some(live) = self.live.get_mut(&topic.exchange)
        {
            *live -= 1;
            if *live == 0 {
                self.live.remove(&topic.exchange);
            }
        }
        Some(held)
    }

    /// It has caught up.
    pub(super) fn go_live(&mut self, topic: &Topic) {
        if let Some(held) = self.held.get_mut(topic)
            && std::mem::take(&mut held.replays)
        {
            *self.live.entry(topic.exchange.clone()).or_default() += 1;
        }
    }

    pub(super) fn held(&self) -> &HashMap<Topic, Subscription> {
        &self.held
    }

    pub(super) fn holds(&self, topic: &Topic, generation: u64) -> bool {
        self.held.get(topic).is_some_and(|held| held.generation == generation)
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Those that have not received yet what they missed.
    pub(super) fn catching_up(&self) -> usize {
        self.held.len() - self.live.values().sum::<usize>()
    }

    pub(super) fn take_topics(&mut self) -> Vec<Topic> {
        std::mem::take(self).held.into_keys().collect()
    }
}

impl Session {
    /// The client's own wish: acknowledged for each key, also one that was not subscribed.
    /// The outcome is that of the first key that is none.
    pub(super) fn unsubscribe(&self, message: &ClientMessage<'_>) -> Result<Outcome, ClientError> {
        let request = message.topics()?;
        let mut outcome = Outcome::Ok;
        let exchange = match &request.exchange {
            Some(name) => Some(Exchange::new(name).map_err(|_| unknown_exchange(name))?),
            None => None,
        };
        match (exchange, request.keys) {
            (None, KeySelection::Named(_)) => return Err(exchange_missing()),
            (Some(exchange), KeySelection::Named(keys)) => {
                self.check_key_count(&keys)?;
                for sent in keys {
                    if self.hears_no_more() {
                        break;
                    }
                    match KeyForm::read(&exchange, sent) {
                        Ok((topic, form)) => self.end_own(&topic, form, message.tag),
                        Err(error) => {
                            let refusal = invalid_key(&exchange, sent, &error);
                            outcome = outcome.or(self.tell_error(message.tag, &refusal));
                        }
                    }
                }
            }
            (exchange, KeySelection::Missing) => {
                let held = self.held(exchange.as_ref());
                for (topic, form) in &held {
                    self.end_own(topic, *form, message.tag);
                }
                if let (Some(tag), true) = (message.tag, held.is_empty()) {
                    self.outbox.push(protocol::done(tag));
                }
            }
        }
        Ok(outcome)
    }

    fn end_own(&self, topic: &Topic, form: KeyForm, tag: Option<&Tag>) {
        if self.lock().subscriptions.remove(topic).is_some() {
            self.services.hub.unsubscribe(topic, self.outbox.session());
        }
        self.outbox.push(protocol::unsubscribed(tag, &topic.exchange, key(topic, form), false));
    }

    /// Ended by the application or by a re-check; told only where there was one.
    pub(super) fn end_subscription(&self, topic: &Topic) {
        let Some(held) = self.lock().subscriptions.remove(topic) else { return };
        self.services.hub.unsubscribe(topic, self.outbox.session());
        let routing_key = key(topic, held.form);
        self.outbox.push(protocol::unsubscribed(None, &topic.exchange, routing_key, true));
    }

    pub(super) fn list_subscriptions(&self, tag: Option<&Tag>) {
        let held = self.held(None);
        let mut by_exchange: BTreeMap<&str, Vec<RoutingKey<'_>>> = BTreeMap::new();
        for (topic, form) in &held {
            by_exchange.entry(topic.exchange.as_str()).or_default().push(key(topic, *form));
        }
        self.outbox.push(protocol::your_subscriptions(tag, &by_exchange));
    }

    /// Those with a subscription that does not catch up any more.
    pub(super) fn live_exchanges(&self) -> Vec<Exchange> {
        self.lock().subscriptions.live.keys().cloned().collect()
    }

    /// Every subscription, or those to one exchange, sorted.
    fn held(&self, exchange: Option<&Exchange>) -> Vec<(Topic, KeyForm)> {
        let state = self.lock();
        let wanted = |topic: &Topic| exchange.is_none_or(|exchange| topic.exchange == *exchange);
        let held = state.subscriptions.held.iter().filter(|(topic, _)| wanted(topic));
        let mut held: Vec<_> = held.map(|(topic, held)| (topic.clone(), held.form)).collect();
        held.sort_by(|(one, _), (other, _)| one.cmp(other));
        held
    }

    /// A message that names more keys than a session may hold is not worth its replies.
    pub(super) fn check_key_count(&self, keys: &[&RawValue]) -> Result<(), ClientError> {
        let max = self.services.max_subscriptions;
        if keys.len() > max {
            let message = format!("{} routing keys in one message, {max} is the most", keys.len());
            return Err(ClientError::new(ErrorCode::TooManySubscriptions).message(message));
        }
        Ok(())
    }

    /// Replies by the hundred, with a great tag, cut off a client long before the last: what
    /// it will never read need not be written.
    pub(super) fn hears_no_more(&self) -> bool {
        self.outbox.signal() == Signal::Sealed
    }
}

pub(super) fn key(topic: &Topic, form: KeyForm) -> RoutingKey<'_> {
    RoutingKey { text: topic.routing_key(), form }
}
