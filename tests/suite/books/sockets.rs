//! The same promises over real sockets: what clients hear while everything happens at once.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::promises::{Promises, text};
use crate::support::{
    gateway::{Gateway, push_request},
    handler::{
        TestHandler,
        proto::{Decision, gateway_client::GatewayClient},
        reply,
    },
};

const CLIENTS: usize = 4;
const STEPS: usize = 150;
const TOPICS: [(&str, &str); 4] =
    [("widgets", "1"), ("widgets", "k"), ("gadgets", "1"), ("gadgets", "")];

/// Re-checks come all the time; not everything can be held.
const FLAGS: [&str; 4] = [
    "--exchange=widgets,gadgets",
    "--recheck-interval=10ms",
    "--max-subscriptions=3",
    "--drain-time=100ms",
];

pub async fn round(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let denies = Arc::new(AtomicBool::new(true));
    let app = application(denies.clone(), SmallRng::seed_from_u64(seed)).await;
    let gateway = Gateway::with(&app, &FLAGS).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(&gateway).await);
    }
    let mut events = Events { api: gateway.api().await, pushed: [0; 4] };
    for _ in 0..STEPS {
        let at = rng.random_range(0..CLIENTS);
        let client = &mut clients[at];
        let (exchange, key) = TOPICS[rng.random_range(0..TOPICS.len())];
        let payload = json!({"exchange": exchange, "routing_keys": [key, "k"]});
        match rng.random_range(0..100) {
            0..30 => client.send("Subscribe", payload).await,
            30..40 => client.send("Unsubscribe", payload).await,
            40..43 => client.send("Unsubscribe", json!({})).await,
            43..55 => client.send("Auth", json!(rng.random::<u32>())).await,
            // Gone without a word.
            55..57 => *client = Client::connect(&gateway).await,
            57..65 => client.hear_what_was_asked().await,
            _ => events.push(rng.random_range(0..TOPICS.len())).await,
        }
    }
    // What was asked before is about an auth that is no more; from now on nobody is denied.
    denies.store(false, Ordering::SeqCst);
    for client in &mut clients {
        client.send("Auth", json!("settled")).await;
        client.hear_what_was_asked().await;
    }
    for topic in 0..TOPICS.len() {
        events.push(topic).await;
    }
    for client in &mut clients {
        client.hear_to_the_end(&events.pushed).await;
    }
    let draining = tokio::spawn(gateway.drain());
    for client in &mut clients {
        assert_eq!(client.socket.closed().await.code, 1012);
    }
    draining.await.expect("drained");
}

/// Decides by chance, and takes its time by chance.
async fn application(denies: Arc<AtomicBool>, rng: SmallRng) -> TestHandler {
    let app = TestHandler::start().await;
    let rng = Mutex::new(rng);
    app.on("Auth", |request| Ok(reply::set_auth(&request.payload)));
    app.on_check_async(move |request| {
        let mut rng = rng.lock().unwrap();
        let denies = denies.load(Ordering::SeqCst);
        let decisions: Vec<_> = request
            .topics
            .iter()
            .map(|_| match denies && rng.random_bool(0.3) {
                true => Decision::Deny,
                false => Decision::Allow,
            })
            .collect();
        let turns = rng.random_range(0..200);
        async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            Ok(reply::decisions(decisions))
        }
    });
    app
}

/// One who pushes, one event after another.
struct Events {
    api: GatewayClient<Channel>,
    pushed: [u64; TOPICS.len()],
}

impl Events {
    async fn push(&mut self, topic: usize) {
        let (exchange, key) = TOPICS[topic];
        self.pushed[topic] += 1;
        let request = push_request(exchange, key, "Pushed", &json!(self.pushed[topic]));
        self.api.push_event(request).await.expect("pushed");
    }
}

struct Client {
    socket: crate::support::client::Client,
    promises: Promises,
}

impl Client {
    async fn connect(gateway: &Gateway) -> Self {
        Self { socket: gateway.client().await, promises: Promises::default() }
    }

    /// Does not wait for an answer.
    async fn send(&mut self, action: &str, payload: Value) {
        self.socket.send(json!({"action": action, "tag": "sent", "payload": payload})).await;
    }

    async fn hear(&mut self) -> Value {
        let message = self.socket.text().await;
        let message: Value = serde_json::from_str(&message).expect("JSON");
        if let Err(problem) = self.promises.hear(&message) {
            panic!("{problem:#}, hearing {message}; subscribed: {:?}", self.promises);
        }
        message
    }

    /// Actions are carried out in order: when this one is answered, all are.
    async fn hear_what_was_asked(&mut self) {
        self.socket.send(json!({"action": "ListSubscriptions", "tag": "asked"})).await;
        let listed = loop {
            let message = self.hear().await;
            if message["tag"] == "asked" {
                break message["payload"]["subscriptions"].clone();
            }
        };
        let mut topics = Vec::new();
        for (exchange, keys) in listed.as_object().expect("an object") {
            let keys = keys.as_array().expect("an array");
            topics.extend(keys.iter().map(|key| (exchange.clone(), text(key))));
        }
        topics.sort();
        let subscribed: Vec<_> = self.promises.subscribed().keys().cloned().collect();
        assert_eq!(topics, subscribed, "what it was told and what is listed");
    }

    /// Up to the last event of every topic it is subscribed to.
    async fn hear_to_the_end(&mut self, pushed: &[u64]) {
        for ((exchange, key), last) in TOPICS.iter().zip(pushed) {
            let topic = (exchange.to_string(), key.to_string());
            while self.promises.subscribed().get(&topic).is_some_and(|heard| *heard != Some(*last))
            {
                self.hear().await;
            }
        }
        self.hear_what_was_asked().await;
    }
}
