//! One session as the documents describe it: what it holds, and every message it is due, in
//! order. Messages are written in short: `Subscribed t1 a "k"`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::op::{Action, Answer, MAX_SUBSCRIPTIONS, Reply};

/// Exchange and the text of the routing key.
pub type Topic = (String, String);

#[derive(Debug, Default)]
pub struct Model {
    /// With the key as the client wrote it.
    held: BTreeMap<Topic, Held>,
    generations: u64,
    auth_version: u64,
    due: Vec<Due>,
    /// Nothing that comes now is due any more.
    pub sealed: bool,
}

#[derive(Debug, Clone)]
struct Held {
    written: String,
    generation: u64,
}

/// Messages that are to come.
#[derive(Debug)]
pub enum Due {
    Message(String),
    /// Gaps of one exchange: in any order.
    Gaps(Vec<String>),
}

/// What the application is asked, and what to do with its answer.
#[derive(Debug)]
pub enum Pending {
    Forward { tag: String },
    Subscribe { tag: String, exchange: String, keys: Vec<Key> },
}

#[derive(Debug)]
pub enum Key {
    Refused(String),
    Ask {
        topic: Topic,
        written: String,
    },
    /// Asked about, or held, already: whether it is in the end, decides.
    Known {
        topic: Topic,
        written: String,
    },
}

/// What a re-check asks about.
#[derive(Debug)]
pub struct Asked {
    auth_version: u64,
    generations: BTreeMap<Topic, u64>,
}

impl Asked {
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.generations.keys()
    }
}

impl Pending {
    pub fn topics(&self) -> Vec<Topic> {
        let Self::Subscribe { keys, .. } = self else { return Vec::new() };
        let asked = |key: &Key| match key {
            Key::Ask { topic, .. } => Some(topic.clone()),
            _ => None,
        };
        keys.iter().filter_map(asked).collect()
    }
}

impl Model {
    pub fn say(&mut self, message: impl Into<String>) {
        if !self.sealed {
            self.due.push(Due::Message(message.into()));
        }
    }

    pub fn take_due(&mut self) -> Vec<Due> {
        std::mem::take(&mut self.due)
    }

    pub fn deliver(&mut self, exchange: &str, key: &str, number: u64) {
        if self.held.contains_key(&topic(exchange, key)) {
            self.say(format!("Event {exchange} {key:?} {number}"));
        }
    }

    pub fn gap(&mut self, exchange: &str) {
        let of_exchange = self.held.iter().filter(|((of, _), _)| of == exchange);
        let gaps: Vec<_> =
            of_exchange.map(|(_, held)| format!("Gap - {exchange} {}", held.written)).collect();
        if !self.sealed {
            self.due.push(Due::Gaps(gaps));
        }
    }

    /// Carries out an action as far as the application need not be asked.
    pub fn act(&mut self, action: &Action, tag: String, attached: bool) -> Option<Pending> {
        match action {
            Action::Forward => return Some(Pending::Forward { tag }),
            Action::List => {
                let mut by_exchange: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
                for ((exchange, _), held) in &self.held {
                    by_exchange.entry(exchange).or_default().push(value(&held.written));
                }
                let list = json!(by_exchange);
                self.say(format!("YourSubscriptions {tag} {list}"));
            }
            Action::Unsubscribe { exchange, keys } => self.unsubscribe(*exchange, keys, &tag),
            Action::Subscribe { exchange, keys } => match problem(exchange, attached) {
                _ if keys.len() > MAX_SUBSCRIPTIONS && attached => {
                    self.say(format!("Error {tag} TooManySubscriptions"));
                }
                Some(code) => self.say(format!("Error {tag} {code} {exchange}")),
                None => return self.subscribe(exchange, keys, tag),
            },
        }
        None
    }

    fn subscribe(&mut self, exchange: &str, keys: &[&str], tag: String) -> Option<Pending> {
        let written = if keys.is_empty() { &["null"][..] } else { keys };
        let mut keys: Vec<Key> = Vec::new();
        let mut asked: Vec<Topic> = Vec::new();
        for written in written.iter().map(|key| key.to_string()) {
            let Some(text) = text(&written) else {
                keys.push(Key::Refused(format!("InvalidRoutingKey {exchange} {written}")));
                continue;
            };
            let topic = topic(exchange, &text);
            if asked.contains(&topic) || self.held.contains_key(&topic) {
                keys.push(Key::Known { topic, written });
            } else if self.held.len() + asked.len() >= MAX_SUBSCRIPTIONS {
                keys.push(Key::Refused(format!("TooManySubscriptions {exchange} {written}")));
            } else {
                asked.push(topic.clone());
                keys.push(Key::Ask { topic, written });
            }
        }
        if !asked.is_empty() {
            return Some(Pending::Subscribe { tag, exchange: exchange.into(), keys });
        }
        self.decide(keys, &tag, exchange, 0, "SubscriptionDenied");
        None
    }

    /// `otherwise`: what is said of a key that was not allowed.
    fn decide(
        &mut self,
        keys: Vec<Key>,
        tag: &str,
        exchange: &str,
        mut denied: u8,
        otherwise: &str,
    ) {
        for key in keys {
            match key {
                Key::Refused(error) => self.say(format!("Error {tag} {error}")),
                Key::Ask { topic, written } => {
                    if denied & 1 == 0 {
                        self.start(topic, written, tag);
                    } else {
                        self.say(format!("Error {tag} {otherwise} {exchange} {written}"));
                    }
                    denied >>= 1;
                }
                Key::Known { topic, written } => {
                    let code = match self.held.contains_key(&topic) {
                        true => "AlreadySubscribed",
                        false => otherwise,
                    };
                    self.say(format!("Error {tag} {code} {exchange} {written}"));
                }
            }
        }
    }

    fn start(&mut self, topic: Topic, written: String, tag: &str) {
        self.say(format!("Subscribed {tag} {} {written}", topic.0));
        self.generations += 1;
        self.held.insert(topic, Held { written, generation: self.generations });
    }

    fn unsubscribe(&mut self, exchange: Option<&str>, keys: &[&str], tag: &str) {
        let Some(exchange) = exchange.filter(|_| !keys.is_empty()) else {
            let wanted = |topic: &Topic| exchange.is_none_or(|exchange| exchange == topic.0);
            let topics: Vec<_> = self.held.keys().filter(|topic| wanted(topic)).cloned().collect();
            if topics.is_empty() && tag != "-" {
                self.say(format!("Done {tag}"));
            }
            for topic in topics {
                let held = self.held.remove(&topic).expect("just found");
                self.say(format!("Unsubscribed {tag} {} {} false", topic.0, held.written));
            }
            return;
        };
        if keys.len() > MAX_SUBSCRIPTIONS {
            return self.say(format!("Error {tag} TooManySubscriptions"));
        }
        for written in keys {
            match text(written) {
                Some(text) => {
                    self.held.remove(&topic(exchange, &text));
                    self.say(format!("Unsubscribed {tag} {exchange} {written} false"));
                }
                None => self.say(format!("Error {tag} InvalidRoutingKey {exchange} {written}")),
            }
        }
    }

    /// The application's answer to an action or a `Subscribe`.
    pub fn answered(&mut self, pending: Pending, answer: &Answer, attached: impl Fn(&str) -> bool) {
        match pending {
            Pending::Forward { tag } if answer.fails => {
                self.say(format!("Error {tag} ActionTimeout"))
            }
            Pending::Forward { tag } => self.apply(&answer.reply, &tag, attached),
            Pending::Subscribe { tag, exchange, keys } if answer.fails => {
                self.decide(keys, &tag, &exchange, u8::MAX, "ActionTimeout");
            }
            Pending::Subscribe { tag, exchange, .. } if answer.unknown_exchange => {
                self.say(format!("Error {tag} InvalidExchangeName {exchange}"));
            }
            Pending::Subscribe { tag, exchange, keys } => {
                self.decide(keys, &tag, &exchange, answer.denied, "SubscriptionDenied");
            }
        }
    }

    fn apply(&mut self, reply: &Reply, tag: &str, attached: impl Fn(&str) -> bool) {
        self.auth_version += u64::from(reply.changes_auth);
        for (exchange, key) in &reply.unsubscribe {
            self.end(&topic(exchange, key));
        }
        for (exchange, key) in &reply.subscribe {
            let topic = topic(exchange, key);
            let written = json!(key).to_string();
            if let Some(code) = problem(exchange, attached(exchange)) {
                self.say(format!("Error - {code} {exchange}"));
            } else if self.held.contains_key(&topic) {
                self.say(format!("Error - AlreadySubscribed {exchange} {written}"));
            } else if self.held.len() >= MAX_SUBSCRIPTIONS {
                self.say(format!("Error - TooManySubscriptions {exchange} {written}"));
            } else {
                self.start(topic, written, "-");
            }
        }
        for _ in 0..reply.events {
            self.say(format!("Reply {tag}"));
        }
        if reply.events == 0 && tag != "-" {
            self.say(format!("Done {tag}"));
        }
        self.sealed |= reply.disconnects;
    }

    fn end(&mut self, topic: &Topic) {
        if let Some(held) = self.held.remove(topic) {
            self.say(format!("Unsubscribed - {} {} true", topic.0, held.written));
        }
    }

    /// `None` where there is nothing to ask.
    pub fn recheck(&self) -> Option<Asked> {
        let generations: BTreeMap<_, _> =
            self.held.iter().map(|(topic, held)| (topic.clone(), held.generation)).collect();
        let asked = Asked { auth_version: self.auth_version, generations };
        (!self.held.is_empty()).then_some(asked)
    }

    /// Whether auth is what the re-check asks about.
    pub fn still(&self, asked: &Asked) -> bool {
        self.auth_version == asked.auth_version
    }

    /// A denial ends only what was asked about, and only by the auth that was asked about.
    pub fn denied(&mut self, asked: &Asked, topic: &Topic) {
        let held = self.held.get(topic).map(|held| held.generation);
        if self.still(asked) && held == asked.generations.get(topic).copied() {
            self.end(topic);
        }
    }
}

fn topic(exchange: &str, key: &str) -> Topic {
    (exchange.into(), key.into())
}

fn problem(exchange: &str, attached: bool) -> Option<&'static str> {
    match exchange {
        "none" => Some("InvalidExchangeName"),
        _ if !attached => Some("ExchangeUnavailable"),
        _ => None,
    }
}

fn value(written: &str) -> Value {
    serde_json::from_str(written).expect("JSON")
}

/// The text of a key as a client wrote it.
fn text(written: &str) -> Option<String> {
    match value(written) {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
