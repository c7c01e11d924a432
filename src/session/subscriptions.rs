//! A session's subscriptions: asked for, added and ended by the application, re-checked.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::value::{RawValue, to_raw_value};

use super::Session;
use crate::{
    application::{ApplicationError, CheckReason, Decision, SessionSnapshot},
    event::{Exchange, InvalidEvent, Topic},
    hub::{ExchangeState, outbox::Signal},
    metrics::Decided,
    protocol::{
        self, ClientError, ClientMessage, ErrorCode, KeyForm, KeySelection, Outcome, RoutingKey,
        Tag,
    },
};

/// What the session is subscribed to. The hub has the same topics.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    pub(super) held: HashMap<Topic, Subscription>,
    generations: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Subscription {
    form: KeyForm,
    /// Tells a subscription from an earlier one to the same topic.
    pub(super) generation: u64,
}

impl Subscriptions {
    fn insert(&mut self, topic: Topic, form: KeyForm) {
        self.generations += 1;
        self.held.insert(topic, Subscription { form, generation: self.generations });
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn take_topics(&mut self) -> Vec<Topic> {
        std::mem::take(&mut self.held).into_keys().collect()
    }
}

/// One key of a `Subscribe`, before the application is asked.
enum Candidate {
    Refused(ClientError),
    Ask(Topic, KeyForm),
    /// Held, or named before in the same message. A re-check may end the one and the
    /// application refuse the other before it is answered.
    Known(Topic, KeyForm),
}

impl Session {
    /// One reply per key, in the order asked, or one for them all where it is not the
    /// keys that matter. The outcome is that of the first key that failed.
    pub(super) async fn subscribe(
        &self,
        message: &ClientMessage<'_>,
    ) -> Result<Outcome, ClientError> {
        let request = message.topics()?;
        let name = request.exchange.ok_or_else(exchange_missing)?;
        let exchange = self.ready_exchange(&name)?;
        let keys = match request.keys {
            KeySelection::Missing => vec![RawValue::NULL],
            KeySelection::Named(keys) => keys,
        };
        self.check_key_count(&keys)?;
        let candidates = self.candidates(&exchange, &keys);
        let (mut decisions, failed) = match self.ask(&exchange, &candidates).await? {
            Ok(decisions) => (decisions.into_iter(), None),
            Err(failed) => (Vec::new().into_iter(), Some(failed)),
        };
        let not_allowed = |topic: &Topic, form| match &failed {
            Some(failed) => of_key(failed.clone(), topic, form),
            None => key_error(ErrorCode::SubscriptionDenied, topic, form),
        };
        let mut outcome = Outcome::Ok;
        for candidate in candidates {
            if self.hears_no_more() {
                break;
            }
            let refusal = match candidate {
                Candidate::Refused(error) => error,
                Candidate::Ask(topic, form) => match decisions.next() {
                    Some(Decision::Allow) => {
                        self.start(topic, form, message.tag);
                        continue;
                    }
                    _ => not_allowed(&topic, form),
                },
                Candidate::Known(topic, form) => match self.holds(&topic) {
                    true => key_error(ErrorCode::AlreadySubscribed, &topic, form),
                    false => not_allowed(&topic, form),
                },
            };
            outcome = outcome.or(self.tell_error(message.tag, &refusal));
        }
        Ok(outcome)
    }

    /// Replies by the hundred, with a great tag, cut off a client long before the last: what
    /// it will never read need not be written.
    fn hears_no_more(&self) -> bool {
        self.outbox.signal() == Signal::Sealed
    }

    fn ready_exchange(&self, name: &str) -> Result<Exchange, ClientError> {
        let exchange = Exchange::new(name).map_err(|_| unknown_exchange(name))?;
        match self.services.hub.exchange_state(&exchange) {
            ExchangeState::Ready => Ok(exchange),
            ExchangeState::Unknown => Err(unknown_exchange(name)),
            ExchangeState::Unavailable => {
                Err(ClientError::retryable(ErrorCode::ExchangeUnavailable).detail("exchange", name))
            }
        }
    }

    fn candidates(&self, exchange: &Exchange, keys: &[&RawValue]) -> Vec<Candidate> {
        let state = self.lock();
        let mut asked: HashSet<Topic> = HashSet::new();
        let mut candidate = |sent: &RawValue| {
            let (topic, form) = match KeyForm::read(exchange, sent) {
                Ok(read) => read,
                Err(error) => return Candidate::Refused(invalid_key(exchange, sent, &error)),
            };
            let held = &state.subscriptions.held;
            if held.contains_key(&topic) || asked.contains(&topic) {
                return Candidate::Known(topic, form);
            }
            if held.len() + asked.len() >= self.services.max_subscriptions {
                let error = key_error(ErrorCode::TooManySubscriptions, &topic, form);
                return Candidate::Refused(error);
            }
            asked.insert(topic.clone());
            Candidate::Ask(topic, form)
        };
        keys.iter().map(|sent| candidate(sent)).collect()
    }

    /// One call for all keys; none where there is nothing left to ask. The outer error is
    /// about the exchange, the inner one about each key: the application could not be asked.
    async fn ask(
        &self,
        exchange: &Exchange,
        candidates: &[Candidate],
    ) -> Result<Result<Vec<Decision>, ClientError>, ClientError> {
        let topics: Vec<Topic> = candidates
            .iter()
            .filter_map(|candidate| match candidate {
                Candidate::Ask(topic, _) => Some(topic.clone()),
                Candidate::Refused(_) | Candidate::Known(..) => None,
            })
            .collect();
        if topics.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let snapshot = self.snapshot();
        let answer = self.check(&snapshot, &topics, CheckReason::Subscribe).await;
        match answer {
            Ok(decisions) if decisions.contains(&Decision::UnknownExchange) => {
                Err(unknown_exchange(exchange.as_str()))
            }
            Ok(decisions) => Ok(Ok(decisions)),
            Err(error) => {
                tracing::debug!(session = %snapshot.id, %error, "subscription check failed");
                Ok(Err(check_error(&error).because(error.problem())))
            }
        }
    }

    pub(super) async fn check(
        &self,
        snapshot: &SessionSnapshot,
        topics: &[Topic],
        reason: CheckReason,
    ) -> Result<Vec<Decision>, ApplicationError> {
        let answer = self.services.application.check_subscriptions(snapshot, topics, reason).await;
        let count = |decided, topics| self.metrics().checked(reason.into(), decided, topics);
        match &answer {
            Ok(decisions) => decisions.iter().for_each(|one| count((*one).into(), 1)),
            Err(_) => count(Decided::Failed, topics.len()),
        }
        answer
    }

    fn holds(&self, topic: &Topic) -> bool {
        self.lock().subscriptions.held.contains_key(topic)
    }

    fn start(&self, topic: Topic, form: KeyForm, tag: Option<&Tag>) {
        self.services.hub.subscribe(&topic, form, &self.outbox, tag);
        self.lock().subscriptions.insert(topic, form);
    }

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
        if self.lock().subscriptions.held.remove(topic).is_some() {
            self.services.hub.unsubscribe(topic, self.outbox.session());
        }
        self.outbox.push(protocol::unsubscribed(tag, &topic.exchange, key(topic, form), false));
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

    pub(super) fn list_subscriptions(&self, tag: Option<&Tag>) {
        let held = self.held(None);
        let mut by_exchange: BTreeMap<&str, Vec<RoutingKey<'_>>> = BTreeMap::new();
        for (topic, form) in &held {
            by_exchange.entry(topic.exchange.as_str()).or_default().push(key(topic, *form));
        }
        self.outbox.push(protocol::your_subscriptions(tag, &by_exchange));
    }

    /// The application's wish: counts as allowed. What cannot be is told to the client.
    pub(super) fn add_subscription(&self, exchange: &str, routing_key: &str) {
        let sent = to_raw_value(routing_key).expect("text always serializes");
        let candidates =
            self.ready_exchange(exchange).map(|exchange| self.candidates(&exchange, &[&sent]));
        for candidate in candidates.unwrap_or_else(|error| vec![Candidate::Refused(error)]) {
            match candidate {
                Candidate::Refused(error) => {
                    self.tell_error(None, &error);
                }
                Candidate::Ask(topic, form) => self.start(topic, form, None),
                Candidate::Known(topic, form) => {
                    let error = key_error(ErrorCode::AlreadySubscribed, &topic, form);
                    self.tell_error(None, &error);
                }
            }
        }
    }

    /// Ended by the application or by a re-check; told only where there was one.
    pub(super) fn end_subscription(&self, topic: &Topic) {
        let Some(held) = self.lock().subscriptions.held.remove(topic) else { return };
        self.services.hub.unsubscribe(topic, self.outbox.session());
        let routing_key = key(topic, held.form);
        self.outbox.push(protocol::unsubscribed(None, &topic.exchange, routing_key, true));
    }

    /// A message that names more keys than a session may hold is not worth its replies.
    fn check_key_count(&self, keys: &[&RawValue]) -> Result<(), ClientError> {
        let max = self.services.max_subscriptions;
        if keys.len() > max {
            let message = format!("{} routing keys in one message, {max} is the most", keys.len());
            return Err(ClientError::new(ErrorCode::TooManySubscriptions).message(message));
        }
        Ok(())
    }
}

/// What a failed check means to the client that subscribes. It asked a question and changed
/// nothing, so nothing happened, however the call ended; but what broke the contract once
/// would do so again.
fn check_error(error: &ApplicationError) -> ClientError {
    match error {
        ApplicationError::Unreachable(_)
        | ApplicationError::Lost(_)
        | ApplicationError::Unavailable(_) => {
            ClientError::retryable(ErrorCode::ApplicationUnavailable)
        }
        ApplicationError::Timeout => ClientError::retryable(ErrorCode::ActionTimeout),
        ApplicationError::Busy | ApplicationError::Exhausted(_) => ClientError::busy(),
        ApplicationError::Failed(_)
        | ApplicationError::Refused { .. }
        | ApplicationError::Unimplemented
        | ApplicationError::Unauthenticated
        | ApplicationError::PermissionDenied
        | ApplicationError::InvalidPayload(_) => ClientError::new(ErrorCode::InternalError),
    }
}

fn key(topic: &Topic, form: KeyForm) -> RoutingKey<'_> {
    RoutingKey { text: topic.routing_key(), form }
}

fn key_error(code: ErrorCode, topic: &Topic, form: KeyForm) -> ClientError {
    of_key(ClientError::new(code), topic, form)
}

fn of_key(error: ClientError, topic: &Topic, form: KeyForm) -> ClientError {
    error.detail("exchange", &topic.exchange).detail("routing_key", &key(topic, form))
}

fn invalid_key(exchange: &Exchange, sent: &RawValue, error: &InvalidEvent) -> ClientError {
    ClientError::new(ErrorCode::InvalidRoutingKey)
        .message(error.to_string())
        .detail("exchange", exchange)
        .detail("routing_key", sent)
}

fn unknown_exchange(name: &str) -> ClientError {
    ClientError::new(ErrorCode::InvalidExchangeName).detail("exchange", name)
}

fn exchange_missing() -> ClientError {
    ClientError::new(ErrorCode::InvalidPayload).message("\"exchange\" is missing")
}
