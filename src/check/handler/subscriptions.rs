//! Subscriptions: what is allowed and denied, what nobody knows, and many in one call.

use super::{Outcome, Run, found, session, words};
use crate::{
    application::{CheckReason, Decision, SessionSnapshot, grpc::Answer},
    event::{Exchange, Topic},
    ids::random_suffix,
    metrics::CallStatus,
};

/// What one call may ask, and a client's subscriptions together.
const MANY: usize = 1_000;

/// Every key is text without control characters.
const ODD_KEYS: [&str; 6] = ["", "שלום", "👩\u{200d}👧 𝄞", "a b/c#*.%", "e\u{301}\u{200f}", "null"];

const COUNT: &str = "answer one decision for each topic, in the order asked";

impl Run<'_> {
    pub(super) async fn subscriptions(&mut self) {
        if self.is_missing() {
            let came = "CheckSubscriptions is UNIMPLEMENTED: see gateways-own-question";
            self.add("subscriptions", Outcome::NotChecked, "CheckSubscriptions", came);
            return;
        }
        let session = self.session.clone();
        self.as_told("allow", Decision::Allow, &session).await;
        self.as_told("deny", Decision::Deny, &session).await;
        self.unknown_exchange(&session).await;
        self.nobody_subscribes().await;
        self.batch(&session).await;
        self.odd_keys(&session).await;
        self.many(&session).await;
    }

    fn is_missing(&self) -> bool {
        let mut of_it = self.heard.iter().filter(|(rpc, _)| *rpc == "CheckSubscriptions");
        of_it.all(|(_, status)| *status == CallStatus::Unimplemented)
    }

    async fn as_told(&mut self, flag: &str, expected: Decision, session: &SessionSnapshot) {
        let topics = match expected {
            Decision::Allow => self.wanted.allow.clone(),
            _ => self.wanted.deny.clone(),
        };
        if topics.is_empty() {
            let asked = format!("a topic that it is to {flag}");
            self.add(
                flag,
                Outcome::NotChecked,
                asked,
                format!("no --{flag} EXCHANGE:KEY tells one"),
            );
        }
        for topic in topics {
            let name = format!("{flag} {}", shown(&topic));
            let asked = format!("may the session receive {}", shown(&topic));
            let answer = self.decide(session, std::slice::from_ref(&topic), &asked).await;
            let Some(decision) = self.one_decision(&name, &asked, &topic, &answer) else {
                continue;
            };
            let as_told = match expected {
                Decision::Allow => decision == Decision::Allow,
                _ => decision != Decision::Allow,
            };
            let outcome = match as_told {
                true if answer.remarks.is_empty() => Outcome::Ok,
                true => Outcome::Warning,
                false => Outcome::Failed,
            };
            let came = format!("{decision:?} ({})", words::came(&answer));
            let mut found =
                found(name, outcome, asked, came).client(words::decided(&topic, decision));
            if outcome == Outcome::Failed {
                found =
                    found.advice(format!("{flag} it, or correct --{flag} (or --auth, --action)"));
            }
            self.report.add(found);
        }
    }

    async fn unknown_exchange(&mut self, session: &SessionSnapshot) {
        let topic = no_topic();
        let asked = format!("may the session receive {}, which nobody has", shown(&topic));
        let answer = self.decide(session, std::slice::from_ref(&topic), &asked).await;
        let name = "unknown-exchange";
        let Some(decision) = self.one_decision(name, &asked, &topic, &answer) else { return };
        let came = format!("{decision:?} ({})", words::came(&answer));
        let client = words::decided(&topic, decision);
        let found = match decision {
            Decision::Allow => found(name, Outcome::Warning, asked, came).client(client).advice(
                "it allows what it does not know: allow what is yours, and answer \
                 DECISION_UNKNOWN_EXCHANGE or DECISION_DENY to everything else",
            ),
            _ if answer.remarks.is_empty() => found(name, Outcome::Ok, asked, came).client(client),
            _ => found(name, Outcome::Warning, asked, came).client(client),
        };
        self.report.add(found);
    }

    /// Of a session without auth: a chat for strangers may mean it, a mistake looks the same.
    async fn nobody_subscribes(&mut self) {
        let topic = self.wanted.allow.first().or(self.wanted.deny.first()).cloned();
        let topic = topic.unwrap_or_else(no_topic);
        let nobody = session(None);
        let asked = format!("may a session without auth receive {}", shown(&topic));
        let answer = self.decide(&nobody, std::slice::from_ref(&topic), &asked).await;
        let name = "subscribe-without-auth";
        let Some(decision) = self.one_decision(name, &asked, &topic, &answer) else { return };
        let came = format!("{decision:?} ({})", words::came(&answer));
        let client = words::decided(&topic, decision);
        let open = decision == Decision::Allow && self.session.auth.is_some();
        let blind =
            decision == Decision::Allow && topic.exchange.as_str().starts_with("myxi-check");
        let found = match open || blind {
            true => found(name, Outcome::Warning, asked, came)
                .client(client)
                .advice("deny it, unless this is for everybody: whoever connects may read along"),
            false => found(name, Outcome::Ok, asked, came).client(client),
        };
        self.report.add(found);
    }

    /// Some of those that are named.
    pub(super) fn topics(&self) -> Vec<Topic> {
        self.wanted.allow.iter().chain(&self.wanted.deny).take(20).cloned().collect()
    }

    /// The same topics in one call as alone, in another order.
    async fn batch(&mut self, session: &SessionSnapshot) {
        let mut topics = self.topics();
        topics.push(no_topic());
        let mut alone = Vec::new();
        for topic in &topics {
            let asked = format!("{} alone", shown(topic));
            let answer = self.decide(session, std::slice::from_ref(topic), &asked).await;
            alone.push(answer.read.ok().and_then(|decisions| decisions.first().copied()));
        }
        let mixed = (0..3 * topics.len()).map(|at| (at * 2 + at / topics.len()) % topics.len());
        // The first is another than the last: backwards it is not the same.
        let mixed: Vec<_> = mixed.chain([topics.len() - 1]).collect();
        let batch: Vec<_> = mixed.iter().map(|&at| topics[at].clone()).collect();
        let asked = format!("{} topics in one CheckSubscriptions, some of them twice", batch.len());
        let answer = self.decide(session, &batch, &asked).await;
        let client = |topic, answer: &Answer<Vec<Decision>>| match &answer.read {
            Ok(decisions) => words::decided(topic, decisions[0]),
            Err(error) => words::undecided(topic, error),
        };
        let found = match &answer.read {
            Err(_) => found("batch", Outcome::Failed, asked, words::came(&answer))
                .client(client(&batch[0], &answer) + ", for each of them")
                .advice(COUNT),
            Ok(decisions) => {
                let wrong = mixed
                    .iter()
                    .zip(decisions)
                    .position(|(&at, decision)| alone[at].is_some_and(|alone| alone != *decision));
                match wrong {
                    None => found("batch", Outcome::Ok, asked, words::came(&answer)),
                    Some(at) => {
                        let (topic, decision) = (&batch[at], decisions[at]);
                        let came = format!(
                            "decision {at} is {decision:?}, and for {} alone it is {:?}",
                            shown(topic),
                            alone[mixed[at]]
                        );
                        found("batch", Outcome::Failed, asked, came)
                            .client("somebody else's decision, for each key that is out of order")
                            .advice(COUNT)
                    }
                }
            }
        };
        self.report.add(found);
    }

    async fn odd_keys(&mut self, session: &SessionSnapshot) {
        let exchange = self.some_exchange();
        let longest = "𝄞".repeat(63) + "abc";
        let keys = ODD_KEYS.iter().copied().chain([longest.as_str()]);
        let topics: Vec<_> =
            keys.filter_map(|key| Topic::new(exchange.clone(), key).ok()).collect();
        let asked =
            format!("{} routing keys of every kind of text, one of 255 bytes", topics.len());
        self.all_decided("unicode-keys", asked, session, &topics).await;
    }

    async fn many(&mut self, session: &SessionSnapshot) {
        let exchange = self.some_exchange();
        let key = |number: usize| Topic::new(exchange.clone(), &format!("myxi-check-{number}"));
        let topics: Vec<_> = (0..MANY).filter_map(|number| key(number).ok()).collect();
        let asked = format!("{MANY} topics in one CheckSubscriptions, the most that are asked");
        self.all_decided("many-topics", asked, session, &topics).await;
    }

    /// Whatever is decided of them.
    async fn all_decided(
        &mut self,
        name: &str,
        asked: String,
        session: &SessionSnapshot,
        topics: &[Topic],
    ) {
        let answer = self.decide(session, topics, &asked).await;
        let came = words::came(&answer);
        let found = match &answer.read {
            Ok(_) if answer.remarks.is_empty() => found(name, Outcome::Ok, asked, came),
            Ok(_) => found(name, Outcome::Warning, asked, came),
            Err(error) => {
                let serious = answer.is_silence() || answer.broken().is_some();
                let outcome = if serious { Outcome::Failed } else { Outcome::Warning };
                found(name, outcome, asked, came)
                    .client(words::undecided(&topics[0], error))
                    .advice(format!("{COUNT}, whatever the keys are"))
            }
        };
        self.report.add(found);
    }

    async fn decide(
        &mut self,
        session: &SessionSnapshot,
        topics: &[Topic],
        asked: &str,
    ) -> Answer<Vec<Decision>> {
        let answer = self.probe.check(session, topics, CheckReason::Subscribe).await;
        self.note("CheckSubscriptions", &answer, asked);
        answer
    }

    /// Or it is told that there is none.
    fn one_decision(
        &mut self,
        name: &str,
        asked: &str,
        topic: &Topic,
        answer: &Answer<Vec<Decision>>,
    ) -> Option<Decision> {
        match &answer.read {
            Ok(decisions) => decisions.first().copied(),
            Err(error) => {
                let found = found(name, Outcome::Failed, asked, words::came(answer))
                    .client(words::undecided(topic, error))
                    .advice("answer DECISION_DENY where the answer is no: a status is none");
                self.report.add(found);
                None
            }
        }
    }

    fn some_exchange(&self) -> Exchange {
        let told = self.wanted.allow.iter().chain(&self.wanted.deny).next();
        told.map_or_else(|| no_topic().exchange, |topic| topic.exchange.clone())
    }
}

fn no_topic() -> Topic {
    let exchange = Exchange::new(&format!("myxi-check-{}", random_suffix())).expect("a valid name");
    Topic::new(exchange, "myxi-check").expect("a valid key")
}

fn shown(topic: &Topic) -> String {
    format!("{}:{}", topic.exchange, topic.routing_key())
}
