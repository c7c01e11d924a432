//! A log that is fed from the original's direct exchange, too: publishers are moved one by one,
//! while clients that come back receive what they missed already.

use std::time::Duration;

use futures_util::future::join_all;
use lapin::BasicProperties;
use myxi::internals::bus::rabbitmq::{ExchangeConfig, ExchangeKind};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    bus::{MAX_EVENT_SIZE, Notice, Replica, event, exchange, topics},
    from_the_log::push_large,
    support::{
        DEADLINE,
        bunny::Bunny,
        client::Client,
        gateway::Gateway,
        handler::TestHandler,
        program::Program,
        rabbitmq::{LEGACY, RabbitMq},
        unique, within,
    },
};

const POLL: Duration = Duration::from_millis(100);

struct Also {
    _app: TestHandler,
    exchange: String,
    replica: Gateway,
}

impl Also {
    async fn on(broker: &RabbitMq) -> Self {
        let (app, exchange) = (TestHandler::start().await, unique(LEGACY));
        let url = format!("--rabbitmq-url={}", broker.legacy_url());
        let flag = format!("--exchange={exchange};also-direct=true");
        let replica = Gateway::with(&app, &[&url, &flag]).await;
        Self { _app: app, exchange, replica }
    }

    /// What it is told when it subscribes to a key behind a position.
    async fn back(&self, key: &str, after: &Value) -> (Client, Value) {
        let mut client = self.replica.client().await;
        let payload = json!({"exchange": self.exchange, "routing_key": key, "after": after});
        client.send(json!({"action": "Subscribe", "tag": 1, "payload": payload})).await;
        let told = client.positioned().await;
        (client, told)
    }

    /// A client of this key, and a position behind which nothing of it is missing in the log,
    /// which is known a moment after somebody wanted it.
    async fn whole_behind(&self, key: &str) -> (Client, Value) {
        let mut client = self.replica.client().await;
        client.subscribe(&self.exchange, key).await;
        let whole = async {
            loop {
                client.send(json!({"action": "Ping"})).await;
                let position =
                    client.positioned().await["payload"]["positions"][&self.exchange].clone();
                if self.back(key, &position).await.1["payload"]["recovered"] == true {
                    break position;
                }
                sleep(POLL).await;
            }
        };
        let position = within(DEADLINE, "a log that is whole", whole).await;
        (client, position)
    }
}

async fn bunny(broker: &RabbitMq) -> Bunny {
    Bunny::connect(&broker.url_of("guest", "%2f")).await
}

fn replica(broker: &RabbitMq, name: &str) -> Replica {
    let mut config = ExchangeConfig::new(exchange(name));
    config.kind = ExchangeKind::AlsoDirect;
    Replica::configured(&[&broker.legacy_url()], vec![config], MAX_EVENT_SIZE)
}

#[tokio::test]
async fn publishers_of_either_kind_reach_clients_who_may_come_back() {
    let broker = RabbitMq::shared().await;
    let (also, mut bunny) = (Also::on(broker).await, bunny(broker).await);
    let mut client = also.replica.client().await;
    client.subscribe(&also.exchange, "1").await;
    let mut number = 0;
    let position = loop {
        bunny.publish(&also.exchange, json!(1), "Changed", json!(number)).await;
        let heard = client.positioned().await;
        assert_eq!((&heard["event"], &heard["payload"]), (&json!("Changed"), &json!(number)));
        number += 1;
        let position = &heard["mq"]["id"];
        assert!(position.is_string(), "{heard}");
        // From where on the log is whole is known a moment later.
        let (_, told) = also.back("1", position).await;
        if told["payload"]["recovered"] == json!(true) {
            break position.clone();
        }
        assert_eq!(told["payload"]["reason"], "expired", "{told}");
        sleep(POLL).await;
    };
    drop(client);
    let mut witness = also.replica.client().await;
    witness.subscribe(&also.exchange, "1").await;
    bunny.publish(&also.exchange, json!(1), "Missed", json!("of bunny")).await;
    bunny.publish(&also.exchange, json!(2), "Unheard", json!(0)).await;
    let of_bunny = witness.next().await;
    also.replica.push(&also.exchange, "1", "Missed", json!("of the gateway")).await;
    let of_gateway = witness.next().await;
    let (mut client, told) = also.back("1", &position).await;
    assert_eq!(told["payload"]["recovered"], true, "{told}");
    let mut missed = client.next().await;
    while missed["payload"].is_number() {
        // Of the loop above.
        missed = client.next().await;
    }
    assert_eq!([missed, client.next().await], [of_bunny, of_gateway]);
    assert_eq!(client.next().await["event"], "Replayed");
}

#[tokio::test]
async fn over_a_time_when_a_key_was_not_bound_nothing_is_said_to_be_recovered() {
    let broker = RabbitMq::shared().await;
    let (also, mut bunny) = (Also::on(broker).await, bunny(broker).await);
    let mut client = also.replica.client().await;
    client.subscribe(&also.exchange, "1").await;
    also.replica.push(&also.exchange, "1", "Changed", json!(0)).await;
    let position = client.positioned().await["mq"]["id"].clone();
    // Nobody wants it: it is not in the log.
    bunny.publish(&also.exchange, json!("9"), "Lost", json!(0)).await;
    let (mut client, told) = also.back("9", &position).await;
    let payload = &told["payload"];
    assert_eq!((&payload["recovered"], &payload["reason"]), (&json!(false), &json!("expired")));
    bunny.publish(&also.exchange, json!("9"), "Heard", json!(0)).await;
    assert_eq!(client.next().await["event"], "Heard");
}

#[tokio::test]
async fn a_binding_is_one_replicas_and_an_event_comes_once_however_many_there_are() {
    let (broker, name) = (RabbitMq::shared().await, unique(LEGACY));
    let leaves = replica(broker, &name).attached(1).await;
    let stays = replica(broker, &name).attached(1).await;
    let program = Program::connect(broker).await;
    let publish = async |event: &str| {
        let body = json!({"event": event}).to_string();
        program.publish_to(&name, "shared", body.as_bytes(), BasicProperties::default()).await;
    };
    let (of_leaves, _of_stays) = tokio::join!(hold(&leaves, &name), hold(&stays, &name));
    publish("one").await;
    publish("two").await;
    for replica in [&leaves, &stays] {
        assert_eq!(replica.names(2).await, ["one", "two"]);
    }
    drop(of_leaves);
    let bound = async || {
        let bound = broker.bindings(&name, "myxi.in.").await;
        bound.iter().filter(|key| *key == "shared").count()
    };
    assert_eq!(bound().await, 2);
    let unbound = async {
        while bound().await > 1 {
            sleep(POLL).await;
        }
    };
    within(2 * DEADLINE, "one is unbound", unbound).await;
    publish("three").await;
    assert_eq!(stays.publish(event(&name, "shared", "four")).await, Ok(()));
    assert_eq!(stays.names_until("four").await, ["three"]);
}

#[tokio::test]
async fn a_replica_that_stops_takes_its_bindings_with_it() {
    // Which has nothing else to do: there is little time.
    let (broker, name) = (&RabbitMq::exclusive().await, unique(LEGACY));
    let leaves = replica(broker, &name).attached(1).await;
    let stays = replica(broker, &name).attached(1).await;
    let _held = tokio::join!(hold(&leaves, &name), hold(&stays, &name));
    let bound = async || broker.bindings(&name, "myxi.in.").await.len();
    // And for the probe of each.
    assert_eq!(bound().await, 4);
    leaves.bus.close(Instant::now() + DEADLINE).await;
    assert_eq!(bound().await, 2);
    let body = json!({"event": "Changed"}).to_string();
    let published = BasicProperties::default();
    Program::connect(broker).await.publish_to(&name, "shared", body.as_bytes(), published).await;
    assert_eq!(stays.names(1).await, ["Changed"]);
}

/// Once it can be held, which is soon.
async fn hold(replica: &Replica, name: &str) -> Vec<myxi::internals::bus::Hold> {
    let held = async {
        loop {
            match replica.bindings.hold(&topics(name, &["shared"])).await {
                Ok(held) => return held,
                Err(_) => sleep(POLL).await,
            }
        }
    };
    within(DEADLINE, "a key is held", held).await
}

#[tokio::test]
async fn an_exchange_that_a_publisher_made_anew_feeds_the_log_again_and_the_gap_is_told() {
    let broker = RabbitMq::shared().await;
    let also = Also::on(broker).await;
    let mut client = also.replica.client().await;
    client.subscribe(&also.exchange, "1").await;
    Program::connect(broker).await.delete_exchange(&also.exchange).await;
    let mut bunny = bunny(broker).await;
    bunny.publish(&also.exchange, json!(1), "Lost", json!(0)).await;
    let gap = client.positioned().await;
    assert_eq!((&gap["event"], gap["payload"]["id"].is_string()), (&json!("Gap"), true), "{gap}");
    bunny.publish(&also.exchange, json!(1), "Heard", json!(0)).await;
    assert_eq!(client.next().await["event"], "Heard");
}

/// Though the next probe finds its way again.
#[tokio::test]
async fn a_probe_that_came_back_is_told_as_a_gap() {
    let (broker, name) = (RabbitMq::shared().await, unique(LEGACY));
    let replica = replica(broker, &name).attached(1).await;
    let _held = hold(&replica, &name).await;
    let program = Program::connect(broker).await;
    let came_back = async {
        let feeds = || replica.bus.status().problems.iter().all(|why| !why.contains("feeding"));
        while feeds() {
            // Others mend it when they publish.
            program.unbind(&name).await;
        }
        program.bind(&name).await;
    };
    within(DEADLINE, "a probe comes back", came_back).await;
    match replica.notice().await {
        Notice::Gap(of) => assert_eq!(of.as_str(), name),
        other => panic!("{other:?} instead of a gap"),
    }
    // What was bound all the time was not bound twice: the key, and one for the probe.
    assert_eq!(broker.bindings(&name, "myxi.in.").await.len(), 2);
}

/// Who catches up is not subscribed yet when others are told.
#[tokio::test]
async fn a_gap_is_told_to_who_was_led_across_it_too() {
    let broker = RabbitMq::shared().await;
    let also = Also::on(broker).await;
    let mut witness = also.replica.client().await;
    witness.subscribe(&also.exchange, "2").await;
    let (mut keeper, position) = also.whole_behind("1").await;
    // More than is sent to who does not read.
    let pushing = push_large(&also.replica, &also.exchange, 0..1_000);
    let reading = async {
        for number in 0..1_000 {
            assert_eq!(keeper.next().await["payload"]["number"], number);
        }
    };
    tokio::join!(pushing, reading);
    let (mut client, told) = also.back("1", &position).await;
    assert_eq!(told["payload"]["recovered"], true, "{told}");
    Program::connect(broker).await.delete_exchange(&also.exchange).await;
    assert_eq!(witness.next().await["event"], "Gap");

    let mut told = client.next().await;
    for number in 0.. {
        if told["event"] != "Event" {
            break;
        }
        assert_eq!(told["payload"]["number"], number);
        told = client.next().await;
    }
    let topic = json!({"exchange": also.exchange, "routing_key": "1"});
    assert_eq!(told, json!({"event": "Gap", "payload": topic}));
    assert_eq!(client.next().await["event"], "Replayed");
    let mut bunny = bunny(broker).await;
    bunny.publish(&also.exchange, json!(1), "Heard", json!(0)).await;
    assert_eq!(client.next().await["event"], "Heard");
    assert!(client.quiet().await);
}

#[tokio::test]
async fn after_a_broker_has_come_back_the_log_is_fed_again_and_the_gap_is_told() {
    let mut broker = RabbitMq::exclusive().await;
    let also = Also::on(&broker).await;
    let mut client = also.replica.client().await;
    client.subscribe(&also.exchange, "1").await;
    broker.kill().await;
    also.replica.health_becomes("degraded").await;
    // What is bound already need not be bound, whatever the broker will know of it.
    let mut other = also.replica.client().await;
    other.subscribe(&also.exchange, "1").await;
    // Who does not read meanwhile answers no pings, and is gone before a slow broker is back.
    let told = [&mut client, &mut other].map(async |client| {
        client.patience = 3 * DEADLINE;
        assert_eq!(client.next().await["event"], "Gap");
    });
    tokio::join!(broker.restart(), join_all(told));
    let mut bunny = bunny(&broker).await;
    bunny.publish(&also.exchange, json!(1), "Heard", json!(0)).await;
    assert_eq!(client.next().await["event"], "Heard");
    also.replica.ready().await;
}
