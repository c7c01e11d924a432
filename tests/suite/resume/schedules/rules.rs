//! What a client keeps of what it is told, as the protocol says it, and what it must not be told.

use std::{cell::Cell, collections::BTreeMap};

use myxi::internals::event::Position;
use serde_json::Value;

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// What is said where something is wrong.
pub fn note_seed(seed: u64) {
    SEED.set(seed);
}

fn seed() -> u64 {
    SEED.get()
}

#[derive(Default)]
pub struct Rules {
    /// Of all keys that are live.
    live: Option<String>,
    keys: BTreeMap<&'static str, Key>,
    /// Of messages that are not answered, or whose replay is not over: where their keys are.
    unfinished: BTreeMap<String, Option<String>>,
    tags: u64,
}

#[derive(Default)]
struct Key {
    /// The message that it waits for; none where it is live.
    waits: Option<String>,
    heard: u64,
    /// It may miss events now, and knows.
    told: bool,
    /// It has been told so at least once.
    ever_told: bool,
}

impl Key {
    fn tell(&mut self) {
        (self.told, self.ever_told) = (true, true);
    }
}

impl Rules {
    pub fn new(keys: &[&'static str]) -> Self {
        // What came before the first subscription was never promised.
        let key = |key: &&'static str| (*key, Key { told: true, ..Key::default() });
        Self { keys: keys.iter().map(key).collect(), ..Self::default() }
    }

    /// The messages that a new connection begins with.
    pub fn reconnect(&mut self) -> Vec<String> {
        let mut by_position: BTreeMap<Option<String>, Vec<&'static str>> = BTreeMap::new();
        for (name, key) in &self.keys {
            let position = match &key.waits {
                Some(tag) => self.unfinished[tag].clone(),
                None => self.live.clone(),
            };
            by_position.entry(position).or_default().push(name);
        }
        self.unfinished.clear();
        self.live = None;
        let messages = by_position.into_iter().map(|(after, keys)| self.ask(after, keys));
        messages.collect::<Vec<_>>()
    }

    fn ask(&mut self, after: Option<String>, keys: Vec<&'static str>) -> String {
        self.tags += 1;
        let tag = self.tags.to_string();
        for key in &keys {
            self.keys.get_mut(key).expect("ours").waits = Some(tag.clone());
        }
        let mut payload = serde_json::json!({"exchange": "widgets", "routing_keys": keys});
        if let Some(after) = &after {
            payload["after"] = after.as_str().into();
        }
        self.unfinished.insert(tag.clone(), after);
        serde_json::json!({"action": "Subscribe", "tag": tag, "payload": payload}).to_string()
    }

    /// Takes a message; one that it leads to is to be sent.
    pub fn hear(&mut self, message: &Value) -> Option<String> {
        let payload = &message["payload"];
        let tag = message["tag"].as_str();
        let id = |of: &Value| of["id"].as_str().map(str::to_owned);
        match message["event"].as_str().expect("a name") {
            "Welcome" => {}
            "Event" => self.hear_event(message),
            "Subscribed" => {
                let tag = tag.expect("a tag");
                let had_position = self.unfinished[tag].is_some();
                let key = self.key(&payload["routing_key"]);
                assert_eq!(payload["recovered"].is_boolean(), had_position, "seed {}", seed());
                match payload["recovered"].as_bool() {
                    Some(true) => {}
                    Some(false) => {
                        key.tell();
                        key.waits = None;
                    }
                    None => key.waits = None,
                }
                self.comes_to(Some(id(payload).expect("a position")));
                self.forget(tag);
            }
            "Gap" => {
                self.key(&payload["routing_key"]).tell();
                self.comes_to(id(payload));
            }
            "Replayed" => {
                let tag = tag.expect("a tag");
                for key in self.keys.values_mut().filter(|key| key.waits.as_deref() == Some(tag)) {
                    key.waits = None;
                }
                self.comes_to(Some(id(payload).expect("a position")));
                self.forget(tag);
            }
            "Pong" => {
                let position = payload["positions"]["widgets"].as_str();
                self.comes_to(position.map(str::to_owned));
            }
            "Error" => {
                assert_eq!(payload["error"], "ExchangeUnavailable", "seed {}", seed());
                let tag = tag.expect("a tag");
                let after = self.unfinished.remove(tag).expect("asked");
                let waits = |key: &Key| key.waits.as_deref() == Some(tag);
                let keys = self.keys.iter().filter(|(_, key)| waits(key)).map(|(name, _)| *name);
                let keys = keys.collect();
                return Some(self.ask(after, keys));
            }
            other => panic!("seed {}: {other}", seed()),
        }
        None
    }

    fn hear_event(&mut self, message: &Value) {
        let (source, number) = (&message["mq"], message["payload"][0].as_u64().expect("a number"));
        let key = self.key(&source["rk"]);
        let (heard, told) = (key.heard, std::mem::take(&mut key.told));
        key.heard = number;
        let in_order = if told { number > heard } else { number == heard + 1 };
        assert!(in_order, "seed {}: {} {number} after {heard}, told: {told}", seed(), source["rk"]);
        let position = source["id"].as_str().map(str::to_owned);
        let waits = key.waits.clone();
        match waits {
            Some(tag) => drop(self.unfinished.insert(tag, position)),
            None => self.comes_to(position),
        }
    }

    /// All that is live, which never goes back: else what a replay brought would come again.
    fn comes_to(&mut self, position: Option<String>) {
        let at = |position: &String| Position::parse(position).expect("a position");
        let Some(position) = position else { return };
        let was = self.live.as_ref().map(at);
        assert!(was <= Some(at(&position)), "seed {}: back from {was:?}", seed());
        self.live = Some(position);
    }

    /// Nothing of this message is left.
    fn forget(&mut self, tag: &str) {
        if self.keys.values().all(|key| key.waits.as_deref() != Some(tag)) {
            self.unfinished.remove(tag);
        }
    }

    fn key(&mut self, name: &Value) -> &mut Key {
        self.keys.get_mut(name.as_str().expect("a key")).expect("ours")
    }

    /// Whether it waits for nothing.
    pub fn is_live(&self) -> bool {
        self.keys.values().all(|key| key.waits.is_none())
    }

    /// `last`: the number of a key's last event.
    pub fn judge_end(&self, last: impl Fn(&str) -> u64, in_calm: bool) {
        for (name, key) in &self.keys {
            let (seed, heard, last) = (seed(), key.heard, last(name));
            assert!(key.waits.is_none(), "seed {seed}: {name} waits for ever");
            assert!(heard == last || key.told, "seed {seed}: {name}: {heard} of {last}");
            assert!(!(in_calm && key.ever_told), "seed {seed}: {name} was told without need");
        }
    }
}
