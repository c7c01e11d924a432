//! Exchanges without a log, as the Ruby original publishes to them: what clients hear of them,
//! and what they are told that they cannot.

mod also;
mod bus;

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;
use tonic::Code;

use crate::support::{
    DEADLINE,
    bunny::Bunny,
    client::Client,
    gateway::Gateway,
    handler::{TestHandler, proto::Topic, reply},
    program::Program,
    rabbitmq::{LEGACY, RabbitMq},
    unique, within,
};

/// Between two looks at something that tells nobody when it changes.
const POLL: Duration = Duration::from_millis(50);

/// Replicas of one application with one such exchange.
struct Direct {
    app: TestHandler,
    exchange: String,
    url: String,
}

impl Direct {
    async fn on(broker: &RabbitMq) -> Self {
        let (app, exchange) = (TestHandler::start().await, unique(LEGACY));
        Self { app, exchange, url: broker.legacy_url() }
    }

    async fn replica(&self) -> Gateway {
        let url = format!("--rabbitmq-url={}", self.url);
        let exchange = format!("--exchange={};kind=direct", self.exchange);
        Gateway::with(&self.app, &[&url, &exchange]).await
    }

    async fn subscriber(&self, replica: &Gateway, key: &str) -> Client {
        let mut client = replica.client().await;
        client.subscribe(&self.exchange, key).await;
        client
    }

    /// An event, as a client hears it.
    fn event(&self, key: &str, event: &str, payload: Value) -> Value {
        let mq = json!({"e": self.exchange, "rk": key});
        json!({"event": event, "payload": payload, "mq": mq})
    }

    /// Pushes until it is taken.
    async fn push_until_ok(&self, replica: &Gateway, key: &str, event: &str) {
        let pushed = async {
            while replica.try_push(&self.exchange, key, event, json!(0)).await != Code::Ok {
                sleep(POLL).await;
            }
        };
        within(DEADLINE, "an event is pushed", pushed).await;
    }
}

#[tokio::test]
async fn what_the_original_publishes_reaches_clients_whoever_comes_first() {
    let broker = RabbitMq::shared().await;
    let mut bunny = Bunny::connect(&broker.url_of("guest", "%2f")).await;
    for publisher_first in [true, false] {
        let direct = Direct::on(broker).await;
        if publisher_first {
            // It reaches nobody, but the exchange is there.
            bunny.publish(&direct.exchange, json!(1), "Early", json!(null)).await;
        }
        let replica = direct.replica().await;
        let mut client = replica.client().await;
        let payload = json!({"exchange": direct.exchange, "routing_keys": [1, "two"]});
        client.send(json!({"action": "Subscribe", "payload": payload})).await;
        for key in [json!(1), json!("two")] {
            let subscribed = client.positioned().await;
            let payload = json!({"exchange": direct.exchange, "routing_key": key});
            assert_eq!(subscribed, json!({"event": "Subscribed", "payload": payload}));
        }
        let changed = json!({"quantity": 7, "ü": [null, 1.5]});
        bunny.publish(&direct.exchange, json!(1), "Changed", changed.clone()).await;
        assert_eq!(client.positioned().await, direct.event("1", "Changed", changed));
        // Nobody wants the first one.
        bunny.publish(&direct.exchange, json!("three"), "Unheard", json!(0)).await;
        bunny.publish(&direct.exchange, json!("two"), "Heard", json!(null)).await;
        assert_eq!(client.positioned().await, direct.event("two", "Heard", json!(null)));
        client.send(json!({"action": "Ping"})).await;
        let pong = client.positioned().await;
        assert_eq!((&pong["event"], pong["payload"].get("positions")), (&json!("Pong"), None));
    }
}

#[tokio::test]
async fn what_the_gateway_pushes_is_what_the_original_publishes() {
    let broker = RabbitMq::shared().await;
    let direct = Direct::on(broker).await;
    let replica = direct.replica().await;
    let program = Program::connect(broker).await;
    let mut heard = program.listen(&direct.exchange, "1").await;
    // Who listens elsewhere hears nothing of it, and nobody at all need listen.
    replica.push(&direct.exchange, "2", "Unheard", json!(0)).await;
    replica.push(&direct.exchange, "1", "Changed", json!({"quantity": 7})).await;
    let body: Value = serde_json::from_slice(&heard.next().await.data).expect("JSON");
    assert_eq!(body, json!({"event": "Changed", "payload": {"quantity": 7}}));
}

#[tokio::test]
async fn nothing_of_the_past_follows() {
    let direct = Direct::on(RabbitMq::shared().await).await;
    let replica = direct.replica().await;
    let mut client = replica.client().await;
    for (key, member) in [("1", json!({"after": "A".repeat(24)})), ("2", json!({"last": 1}))] {
        replica.push(&direct.exchange, key, "Missed", json!(0)).await;
        let mut payload = json!({"exchange": direct.exchange, "routing_key": key});
        payload.as_object_mut().expect("one").extend(member.as_object().cloned().expect("one"));
        client.send(json!({"action": "Subscribe", "tag": key, "payload": payload})).await;
        let subscribed = client.positioned().await;
        let payload = json!({
            "exchange": direct.exchange, "routing_key": key,
            "recovered": false, "reason": "no_log",
        });
        assert_eq!(subscribed, json!({"event": "Subscribed", "tag": key, "payload": payload}));
        replica.push(&direct.exchange, key, "Live", json!(0)).await;
        assert_eq!(client.next().await, direct.event(key, "Live", json!(0)));
    }
    assert!(client.quiet().await);
}

/// Promise 3.
#[tokio::test]
async fn an_event_pushed_right_after_subscribed_is_delivered() {
    let direct = Direct::on(RabbitMq::shared().await).await;
    let (here, there) = (direct.replica().await, direct.replica().await);
    let mut client = here.client().await;
    for n in 0..25 {
        let key = n.to_string();
        client.subscribe(&direct.exchange, &key).await;
        there.push(&direct.exchange, &key, "Changed", json!(n)).await;
        assert_eq!(client.next().await, direct.event(&key, "Changed", json!(n)));
    }
}

#[tokio::test]
async fn clients_of_each_replica_hear_a_key_once_and_go_on_when_others_leave() {
    let broker = RabbitMq::shared().await;
    let direct = Direct::on(broker).await;
    let (here, there) = (direct.replica().await, direct.replica().await);
    let mut leaves = direct.subscriber(&here, "1").await;
    let mut others = [direct.subscriber(&here, "1").await, direct.subscriber(&there, "1").await];
    let mut bunny = Bunny::connect(&broker.url_of("guest", "%2f")).await;
    bunny.publish(&direct.exchange, json!("1"), "Changed", json!(1)).await;
    for client in others.iter_mut().chain([&mut leaves]) {
        assert_eq!(client.next().await, direct.event("1", "Changed", json!(1)));
        assert!(client.quiet().await);
    }
    let topic = json!({"exchange": direct.exchange, "routing_key": "1"});
    assert_eq!(leaves.request("Unsubscribe", topic).await["event"], "Unsubscribed");
    leaves.close().await;
    for n in 2..5 {
        bunny.publish(&direct.exchange, json!("1"), "Changed", json!(n)).await;
        for client in &mut others {
            assert_eq!(client.next().await, direct.event("1", "Changed", json!(n)));
        }
    }
}

#[tokio::test]
async fn hundreds_of_keys_of_one_message_are_bound_and_of_one_key_once() {
    let broker = RabbitMq::shared().await;
    let direct = Direct::on(broker).await;
    let replica = direct.replica().await;
    let keys: Vec<_> = (0..500).map(|key| key.to_string()).collect();
    let mut clients = [replica.client().await, replica.client().await];
    for client in &mut clients {
        let payload = json!({"exchange": direct.exchange, "routing_keys": keys});
        client.send(json!({"action": "Subscribe", "tag": 1, "payload": payload})).await;
        for key in &keys {
            let subscribed = client.next().await;
            assert_eq!(subscribed["event"], "Subscribed", "{subscribed}");
            assert_eq!(subscribed["payload"]["routing_key"], key.as_str());
        }
    }
    let mut bound = broker.bindings(&direct.exchange, "myxi.direct.").await;
    // The probe has one, too.
    bound.retain(|key| !key.starts_with("myxi."));
    bound.sort_by_key(|key| key.parse::<u32>().expect("a number"));
    assert_eq!(bound, keys);
    let key = keys.last().expect("one");
    replica.push(&direct.exchange, key, "Changed", json!(0)).await;
    for client in &mut clients {
        assert_eq!(client.next().await, direct.event(key, "Changed", json!(0)));
    }
}

#[tokio::test]
async fn what_the_application_adds_is_bound_too() {
    let direct = Direct::on(RabbitMq::shared().await).await;
    let exchange = direct.exchange.clone();
    direct.app.on("Follow", move |_| {
        let topic = |key: u32| Topic { exchange: exchange.clone(), routing_key: key.to_string() };
        let mut reply = reply::events([("Followed", "{}")]);
        reply.subscribe = (0..100).chain([7]).map(topic).collect();
        Ok(reply)
    });
    let replica = direct.replica().await;
    let mut client = replica.client().await;
    client.send(json!({"action": "Follow", "tag": 1})).await;
    for key in 0..100 {
        let subscribed = client.next().await;
        assert_eq!(subscribed["event"], "Subscribed", "{subscribed}");
        assert_eq!(subscribed["payload"]["routing_key"], key.to_string());
    }
    assert_eq!(client.next().await["payload"]["error"], "AlreadySubscribed");
    assert_eq!(client.next().await["event"], "Followed");
    for key in ["0", "99"] {
        replica.push(&direct.exchange, key, "Changed", json!(0)).await;
        assert_eq!(client.next().await, direct.event(key, "Changed", json!(0)));
    }
}

/// Promise 6, and what is to be retried.
#[tokio::test]
async fn after_an_outage_everything_is_bound_anew_and_the_gap_is_told() {
    let mut broker = RabbitMq::exclusive().await;
    let direct = Direct::on(&broker).await;
    let replicas = [direct.replica().await, direct.replica().await];
    let mut clients = Vec::new();
    for replica in &replicas {
        for key in ["1", "2"] {
            clients.push((direct.subscriber(replica, key).await, key));
        }
    }
    broker.kill().await;
    for replica in &replicas {
        replica.health_becomes("degraded").await;
    }
    let (client, _) = &mut clients[0];
    let topic = json!({"exchange": direct.exchange, "routing_key": "3"});
    let refused = async {
        loop {
            let reply = client.request("Subscribe", topic.clone()).await;
            if reply["event"] == "Error" {
                return reply;
            }
            // What was bound when the broker went away is not known to be gone at once.
            client.request("Unsubscribe", topic.clone()).await;
        }
    };
    let refused = within(DEADLINE, "a refusal", refused).await;
    let expected = json!({
        "error": "ExchangeUnavailable", "retryable": true, "exchange": direct.exchange,
    });
    assert_eq!(refused["payload"], expected);
    assert_eq!(client.subscriptions().await, json!({&direct.exchange: ["1"]}));

    // Who does not read meanwhile answers no pings, and is gone before a slow broker is back.
    let told = clients.iter_mut().map(async |(client, key)| {
        client.patience = 3 * DEADLINE;
        let gap = json!({"exchange": direct.exchange, "routing_key": key});
        assert_eq!(client.next().await, json!({"event": "Gap", "payload": gap}));
    });
    tokio::join!(broker.restart(), join_all(told));
    for replica in &replicas {
        replica.ready().await;
    }
    let (client, _) = &mut clients[0];
    client.subscribe(&direct.exchange, "3").await;
    for key in ["1", "2", "3"] {
        direct.push_until_ok(&replicas[1], key, "Back").await;
    }
    // One of unknown fate was pushed again, and may come twice.
    for (client, key) in &mut clients {
        let back = direct.event(key, "Back", json!(0));
        client.await_that(|message| *message == back).await;
    }
    let back = direct.event("3", "Back", json!(0));
    clients[0].0.await_that(|message| *message == back).await;
}

/// Nobody tells who is bound to it.
#[tokio::test]
async fn an_exchange_that_a_publisher_made_anew_is_bound_anew_and_the_gap_is_told() {
    let broker = RabbitMq::shared().await;
    let direct = Direct::on(broker).await;
    let replica = direct.replica().await;
    let mut client = direct.subscriber(&replica, "1").await;
    let program = Program::connect(broker).await;
    program.delete_exchange(&direct.exchange).await;
    let mut bunny = Bunny::connect(&broker.url_of("guest", "%2f")).await;
    bunny.publish(&direct.exchange, json!("1"), "Lost", json!(0)).await;
    assert_eq!(client.next().await["event"], "Gap");
    bunny.publish(&direct.exchange, json!("1"), "Heard", json!(0)).await;
    assert_eq!(client.next().await, direct.event("1", "Heard", json!(0)));
}
