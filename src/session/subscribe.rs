//! How a session comes to be subscribed: the client asks and the application decides, or the
//! application wants it so.

use std::{
    collections::{HashMap, HashSet},
    vec,
};

use futures_util::future::join_all;
use serde_json::value::{RawValue, to_raw_value};

use super::{
    Session,
    errors::{
        check_error, exchange_missing, invalid_key, key_error, of_key, unavailable_exchange,
        unknown_exchange,
    },
    resume::Start,
};
use crate::{
    application::{ApplicationError, CheckReason, Decision, SessionSnapshot},
    bus::{Hold, NotBound},
    event::{Exchange, Topic},
    hub::ExchangeState,
    metrics::Decided,
    protocol::{ClientError, ClientMessage, ErrorCode, KeyForm, KeySelection, Outcome, Past, Tag},
};

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
        let request = self.outbox.dialect().topics(message)?;
        let name = request.exchange.ok_or_else(exchange_missing)?;
        let exchange = self.ready_exchange(&name)?;
        let keys = match request.keys {
            KeySelection::Missing => vec![RawValue::NULL],
            KeySelection::Named(keys) => keys,
        };
        self.check_key_count(&keys)?;
        let of_exchange = keys.iter().map(|key| (Ok(exchange.clone()), *key));
        let candidates = self.candidates(of_exchange);
        let reason = match request.past {
            Past::Nothing => CheckReason::Subscribe,
            Past::After(_) | Past::Last(_) => CheckReason::Resume,
        };
        let (mut decisions, failed) = match self.ask(&exchange, &candidates, reason).await? {
            Ok(decisions) => (decisions.into_iter(), None),
            Err(failed) => (Vec::new().into_iter(), Some(failed)),
        };
        let allowed = allowed(&candidates, decisions.as_slice());
        // Asked for once it is known who may have it.
        let mut holds = self.hold(&allowed).await?;
        let mut start = self.prepare(&exchange, request.past, &allowed).await?;
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
                        let hold = holds.next().unwrap_or_default();
                        self.start(topic, form, message.tag, &mut start, hold);
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
        if let Start::Replay(replay) = start {
            self.queue_replay(replay, message.tag);
        }
        Ok(outcome)
    }

    /// The application's wishes, in its order: they count as allowed. What cannot be is told to the
    /// client.
    pub(super) async fn add_subscriptions(&self, wanted: &[(String, String)]) {
        let as_sent = |key| to_raw_value(key).expect("text always serializes");
        let sent: Vec<_> = wanted.iter().map(|(_, key)| as_sent(key)).collect();
        let exchanges = wanted.iter().map(|(name, _)| self.ready_exchange(name));
        let candidates = self.candidates(exchanges.zip(sent.iter().map(|key| &**key)));
        let mut holds = self.hold_each(to_ask(&candidates)).await;
        for candidate in candidates {
            let error = match candidate {
                Candidate::Refused(error) => error,
                Candidate::Ask(topic, form) => match holds.next() {
                    Some(Err(error)) => error,
                    held => {
                        let hold = held.and_then(Result::ok).unwrap_or_default();
                        self.start(topic, form, None, &mut Start::Live(None), hold);
                        continue;
                    }
                },
                Candidate::Known(topic, form) => {
                    key_error(ErrorCode::AlreadySubscribed, &topic, form)
                }
            };
            if self.sends_away(&error) {
                return;
            }
            self.tell_error(None, &error);
        }
    }

    /// Each of these topics, in their order. All exchanges are waited for at once.
    async fn hold_each<'a>(
        &self,
        topics: impl Iterator<Item = &'a Topic> + Clone,
    ) -> vec::IntoIter<Result<Hold, ClientError>> {
        let mut of_exchanges: HashMap<&Exchange, Vec<Topic>> = HashMap::new();
        for topic in topics.clone() {
            of_exchanges.entry(&topic.exchange).or_default().push(topic.clone());
        }
        let hold = async |(exchange, topics): (_, Vec<_>)| (exchange, self.hold(&topics).await);
        let held = join_all(of_exchanges.into_iter().map(hold)).await;
        let mut held: HashMap<_, _> = held.into_iter().collect();
        let of_topic = |topic: &Topic| match held.get_mut(&topic.exchange) {
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(holds)) => Ok(holds.next().unwrap_or_default()),
            None => Ok(Hold::default()),
        };
        topics.map(of_topic).collect::<Vec<_>>().into_iter()
    }

    /// What is published to these topics, which are of one exchange, comes to this replica.
    async fn hold(&self, topics: &[Topic]) -> Result<vec::IntoIter<Hold>, ClientError> {
        match (self.services.bindings.hold(topics).await, topics.first()) {
            (Ok(holds), _) => Ok(holds.into_iter()),
            (Err(NotBound), topic) => {
                let name = topic.map_or("", |topic| topic.exchange.as_str());
                Err(unavailable_exchange(name))
            }
        }
    }

    fn ready_exchange(&self, name: &str) -> Result<Exchange, ClientError> {
        let exchange = Exchange::new(name).map_err(|_| unknown_exchange(name))?;
        match self.services.hub.exchange_state(&exchange) {
            ExchangeState::Ready => Ok(exchange),
            ExchangeState::Unknown => Err(unknown_exchange(name)),
            ExchangeState::Unavailable => Err(unavailable_exchange(name)),
        }
    }

    fn candidates<'a>(
        &self,
        keys: impl Iterator<Item = (Result<Exchange, ClientError>, &'a RawValue)>,
    ) -> Vec<Candidate> {
        let state = self.lock();
        let mut asked: HashSet<Topic> = HashSet::new();
        let candidate = |(exchange, sent): (Result<Exchange, ClientError>, &RawValue)| {
            let exchange = match exchange {
                Ok(exchange) => exchange,
                Err(error) => return Candidate::Refused(error),
            };
            let (topic, form) = match KeyForm::read(&exchange, sent) {
                Ok(read) => read,
                Err(error) => return Candidate::Refused(invalid_key(&exchange, sent, &error)),
            };
            let held = state.subscriptions.held();
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
        keys.map(candidate).collect()
    }

    /// One call for all keys; none where there is nothing left to ask. The outer error is
    /// about the exchange, the inner one about each key: the application could not be asked.
    async fn ask(
        &self,
        exchange: &Exchange,
        candidates: &[Candidate],
        reason: CheckReason,
    ) -> Result<Result<Vec<Decision>, ClientError>, ClientError> {
        let topics: Vec<_> = to_ask(candidates).cloned().collect();
        if topics.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let snapshot = self.snapshot();
        let answer = self.check(&snapshot, &topics, reason).await;
        match answer {
            Ok(decisions) if decisions.contains(&Decision::UnknownExchange) => {
                Err(unknown_exchange(exchange.as_str()))
            }
            Ok(decisions) => Ok(Ok(decisions)),
            Err(error) => {
                tracing::debug!(session = %snapshot.id, %error, "subscription check failed");
                let failed = check_error(&error).because(error.problem());
                // Who is sent away for it need not be told of each key.
                match self.outbox.dialect().asks_when_connected(&failed) {
                    true => Err(failed),
                    false => Ok(Err(failed)),
                }
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
        self.lock().subscriptions.held().contains_key(topic)
    }

    fn start(&self, topic: Topic, form: KeyForm, tag: Option<&Tag>, start: &mut Start, hold: Hold) {
        let hub = &self.services.hub;
        let kept = self.outbox.dialect().kept(form);
        match start {
            Start::Live(recovered) => {
                hub.subscribe(&topic, form, &self.outbox, tag, *recovered);
                self.lock().subscriptions.insert(topic, kept, false, hold);
            }
            Start::Replay(replay) => {
                hub.acknowledge(&topic, form, &self.outbox, tag);
                let generation = self.lock().subscriptions.insert(topic.clone(), kept, true, hold);
                let expected = hub.expect(&topic);
                replay.add(topic, form, generation, expected);
            }
        }
    }
}

/// The topics that the application said yes to.
fn allowed(candidates: &[Candidate], decisions: &[Decision]) -> Vec<Topic> {
    let decided = to_ask(candidates).zip(decisions);
    decided.filter(|(_, decision)| **decision == Decision::Allow).map(|(t, _)| t.clone()).collect()
}

fn to_ask(candidates: &[Candidate]) -> impl Iterator<Item = &Topic> + Clone {
    candidates.iter().filter_map(|candidate| match candidate {
        Candidate::Ask(topic, _) => Some(topic),
        Candidate::Refused(_) | Candidate::Known(..) => None,
    })
}
