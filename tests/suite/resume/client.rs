//! A client that knows what it is told of positions.

use serde_json::{Value, json};

use crate::support::{client::Client, gateway::Addresses};

pub struct Resuming {
    pub client: Client,
    exchange: String,
    tags: u64,
}

/// What came of a wish for what was missed.
#[derive(Debug, Default)]
pub struct Replay {
    /// The payloads of its events.
    pub events: Vec<Value>,
    /// Of [`Replay::events`], in the order of the log.
    pub keys: Vec<String>,
    /// What it says of its events.
    pub count: u64,
    /// Where it ended.
    pub id: String,
}

impl Resuming {
    pub async fn connect(gateway: &Addresses, exchange: &str) -> Self {
        Self { client: gateway.client().await, exchange: exchange.into(), tags: 0 }
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        self.client.positioned().await
    }

    /// The payload of the next pushed event, and its position.
    pub async fn event(&mut self) -> (Value, String) {
        let message = self.next().await;
        assert!(message["mq"].is_object(), "{message}");
        (message["payload"].clone(), id(&message["mq"]))
    }

    /// Sends a `Subscribe` with these members, and returns its tag.
    pub async fn ask(&mut self, keys: &[&str], members: Value) -> Value {
        self.tags += 1;
        let tag = json!(format!("s{}", self.tags));
        let mut payload = json!({"exchange": self.exchange, "routing_keys": keys});
        let members = members.as_object().expect("an object").clone();
        payload.as_object_mut().expect("an object").extend(members);
        self.client.send(json!({"action": "Subscribe", "tag": tag, "payload": payload})).await;
        tag
    }

    /// Subscribes, and returns the position of the last `Subscribed`.
    pub async fn subscribe(&mut self, keys: &[&str]) -> String {
        let tag = self.ask(keys, json!({})).await;
        let mut position = String::new();
        for key in keys {
            let answer = self.next().await;
            assert_eq!(
                (&answer["event"], &answer["tag"]),
                (&json!("Subscribed"), &tag),
                "{answer}"
            );
            assert_eq!(answer["payload"]["routing_key"], *key);
            assert_eq!(answer["payload"].get("recovered"), None);
            position = id(&answer["payload"]);
        }
        position
    }

    /// Subscribes with these members; so many events follow at least. A replica that has not read
    /// the last of them yet delivers it when it has.
    pub async fn recover(&mut self, keys: &[&str], members: Value, events: usize) -> Replay {
        let tag = self.acknowledged_anew(keys, members).await;
        let mut replay = self.replayed(&tag).await;
        assert_eq!(replay.count, replay.events.len() as u64);
        while replay.events.len() < events {
            let message = self.next().await;
            replay.id = id(&message["mq"]);
            replay.hear(&message);
        }
        replay
    }

    /// Asks until this replica has read as far as the client has.
    async fn first_answer(&mut self, keys: &[&str], members: Value) -> (Value, Value) {
        loop {
            let tag = self.ask(keys, members.clone()).await;
            let answer = self.next().await;
            if answer["payload"]["error"] != "ExchangeUnavailable" {
                return (tag, answer);
            }
        }
    }

    async fn acknowledged_anew(&mut self, keys: &[&str], members: Value) -> Value {
        let (tag, first) = self.first_answer(keys, members).await;
        self.acknowledged_after(Some(first), keys, &tag).await;
        tag
    }

    pub async fn acknowledged(&mut self, keys: &[&str], tag: &Value) {
        self.acknowledged_after(None, keys, tag).await;
    }

    async fn acknowledged_after(&mut self, first: Option<Value>, keys: &[&str], tag: &Value) {
        let mut first = first;
        for key in keys {
            let answer = match first.take() {
                Some(answer) => answer,
                None => self.next().await,
            };
            assert_eq!((&answer["event"], &answer["tag"]), (&json!("Subscribed"), tag), "{answer}");
            let payload = &answer["payload"];
            assert_eq!(
                (&payload["routing_key"], &payload["recovered"]),
                (&json!(key), &json!(true))
            );
            id(payload);
        }
    }

    pub async fn replayed(&mut self, tag: &Value) -> Replay {
        let mut replay = Replay::default();
        loop {
            let message = self.next().await;
            if message["mq"].is_object() {
                replay.hear(&message);
                continue;
            }
            let payload = &message["payload"];
            assert_eq!(
                (&message["event"], &message["tag"]),
                (&json!("Replayed"), tag),
                "{message}"
            );
            assert_eq!(payload["exchange"], self.exchange);
            (replay.count, replay.id) = (payload["count"].as_u64().expect("a count"), id(payload));
            return replay;
        }
    }

    /// Subscribes with these members, and returns why nothing of what was missed follows. It is
    /// subscribed.
    pub async fn not_recovered(&mut self, keys: &[&str], members: Value) -> String {
        let (tag, first) = self.first_answer(keys, members).await;
        let (mut first, mut reason) = (Some(first), String::new());
        for _ in keys {
            let answer = match first.take() {
                Some(answer) => answer,
                None => self.next().await,
            };
            assert_eq!(
                (&answer["event"], &answer["tag"]),
                (&json!("Subscribed"), &tag),
                "{answer}"
            );
            assert_eq!(answer["payload"]["recovered"], false, "{answer}");
            reason = answer["payload"]["reason"].as_str().expect("a reason").to_owned();
        }
        reason
    }

    /// What `Pong` says of the exchange, if it says something.
    pub async fn pong(&mut self) -> Option<String> {
        self.client.send(json!({"action": "Ping"})).await;
        let pong = self.next().await;
        assert_eq!(pong["event"], "Pong", "{pong}");
        let position = pong["payload"]["positions"].get(&self.exchange)?;
        Some(position.as_str().expect("a position").to_owned())
    }
}

impl Replay {
    fn hear(&mut self, message: &Value) {
        self.events.push(message["payload"].clone());
        self.keys.push(message["mq"]["rk"].as_str().expect("a key").to_owned());
    }
}

pub fn id(of: &Value) -> String {
    of["id"].as_str().unwrap_or_else(|| panic!("no id: {of}")).to_owned()
}
