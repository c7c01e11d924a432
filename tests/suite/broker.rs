//! A broker that is killed, away at the start, or holds publishers back: what clients and
//! the application notice of it, and what they do not.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::sleep;
use tonic::Code;

use crate::support::{
    DEADLINE,
    client::Client,
    fleet::Fleet,
    gateway::{Addresses, Gateway, push_request},
    rabbitmq::RabbitMq,
    within,
};

/// From the broker's streams being there to every replica reading again: some seconds, three
/// times over for a machine that has other things to do.
const BACK: Duration = Duration::from_secs(15);

/// Clients are not read while the broker is down, and answer no pings.
const PATIENT: &str = "--ping-interval=1h";

/// The bus waits 5 s for a confirm; beyond it the caller must know.
const PUSH_MAX: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_broker_that_is_killed_costs_no_client_and_no_event_that_was_taken() {
    let mut broker = RabbitMq::exclusive().await;
    let mut fleet = Fleet::start(&broker, 0).await;
    fleet.add(&broker, &[PATIENT]).await;
    fleet.add(&broker, &["--ready-requires-bus", PATIENT]).await;
    fleet.app.on("Hello", |_| Ok(Default::default()));
    let mut clients = Vec::new();
    for replica in &fleet.replicas {
        clients.extend(replica.subscribers(2, &fleet.exchange, "1").await);
    }

    let over = AtomicBool::new(false);
    let interrupting = async {
        push_until_ok(&fleet[0], &fleet.exchange, "Begun").await;
        for client in &mut clients {
            client.event("Begun").await;
        }
        broker.kill().await;
        let (http, body) = fleet[0].health_becomes("degraded").await;
        assert_eq!((http, &body["bus"]), (200, &json!("rabbitmq")));
        assert!(body["reasons"][0].is_string(), "{body}");
        let (http, body) = fleet[1].health_becomes("unready").await;
        assert_eq!(http, 503, "{body}");
        for client in &mut clients {
            let reply = client.request("Hello", json!({})).await;
            assert_eq!(reply["event"], "Done", "{reply}");
        }
        assert_ne!(fleet[0].try_push(&fleet.exchange, "1", "Event", json!(0)).await, Code::Ok);

        broker.restart().await;
        broker.heal().await;
        let began = Instant::now();
        push_until_ok(&fleet[1], &fleet.exchange, "Back").await;
        for client in &mut clients {
            client.event("Back").await;
        }
        assert!(began.elapsed() < BACK, "took {:?}", began.elapsed());
        for replica in &fleet.replicas {
            assert_eq!(replica.health_becomes("ready").await.0, 200);
        }
        over.store(true, Ordering::Relaxed);
    };
    let pushing = push_while(&over, &fleet[0], &fleet.exchange);
    let (_, taken) = tokio::join!(interrupting, pushing);

    fleet[1].push(&fleet.exchange, "1", "Last", json!(0)).await;
    for client in &mut clients {
        let seen = numbers_until_last(client).await;
        assert!(seen.is_sorted_by(|a, b| a < b), "twice or out of order: {seen:?}");
        let lost: Vec<_> = taken.iter().filter(|n| !seen.contains(n)).collect();
        assert!(lost.is_empty(), "pushed with OK, never delivered: {lost:?}");
    }
}

/// Numbers its events from 1; answers those that were pushed with OK.
async fn push_while(over: &AtomicBool, replica: &Addresses, exchange: &str) -> Vec<u64> {
    let mut api = replica.api().await;
    let mut taken = Vec::new();
    for n in 1.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let pushed = api.push_event(push_request(exchange, "1", "Event", &json!(n))).await;
        let took = began.elapsed();
        assert!(took < PUSH_MAX, "took {took:?}: {pushed:?}");
        match pushed.map_err(|status| status.code()) {
            Ok(_) => taken.push(n),
            Err(Code::Unavailable | Code::Unknown | Code::ResourceExhausted) => {
                sleep(Duration::from_millis(5)).await;
            }
            Err(code) => panic!("{code:?}"),
        }
    }
    taken
}

async fn push_until_ok(replica: &Addresses, exchange: &str, event: &str) {
    within(DEADLINE, "a push that is taken", async {
        while replica.try_push(exchange, "1", event, json!(0)).await != Code::Ok {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The numbers of all events up to the last; a gap would be a lie, since nothing was lost.
async fn numbers_until_last(client: &mut Client) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        let message = client.next().await;
        match message["event"].as_str() {
            Some("Event") => numbers.extend(message["payload"].as_u64().filter(|n| *n > 0)),
            Some("Last") => return numbers,
            Some("Back") => {}
            _ => panic!("{message}"),
        }
    }
}

#[tokio::test]
async fn a_replica_serves_before_its_broker_is_there_and_finds_it_later() {
    let mut broker = RabbitMq::exclusive().await;
    let fleet = Fleet::start(&broker, 0).await;
    fleet.app.on("Hello", |_| Ok(Default::default()));
    broker.stop().await;
    let flags = fleet.flags(&broker);
    let gateway = Gateway::unready(&fleet.app, &[&flags[0], &flags[1]]).await;

    let (http, body) = gateway.health().await;
    assert_eq!((http, &body["status"]), (503, &json!("starting")), "{body}");
    let mut client = gateway.client().await;
    assert_eq!(client.request("Hello", json!({})).await["event"], "Done");
    let topic = json!({"exchange": fleet.exchange, "routing_key": "1"});
    let error = client.error("Subscribe", topic.clone()).await;
    assert_eq!(error["error"], "ExchangeUnavailable");
    assert_eq!(error["retryable"], true);
    let pushed = gateway.try_push(&fleet.exchange, "1", "Event", json!(0)).await;
    assert_eq!(pushed, Code::Unavailable);

    broker.restart().await;
    assert_eq!(gateway.health_becomes("ready").await.0, 200);
    client.subscribe(&fleet.exchange, "1").await;
    gateway.push(&fleet.exchange, "1", "Event", json!(1)).await;
    assert_eq!(client.event("Event").await["payload"], 1);
}

#[tokio::test]
async fn a_broker_that_holds_publishers_back_is_told_to_those_who_push() {
    let mut broker = RabbitMq::exclusive().await;
    let fleet = Fleet::start(&broker, 1).await;
    let mut client = fleet[0].subscribers(1, &fleet.exchange, "1").await.remove(0);

    broker.block_publishers().await;
    let mut written = Vec::new();
    within(DEADLINE, "a push that is refused", async {
        for n in 1u64.. {
            match fleet[0].try_push(&fleet.exchange, "1", "Event", json!(n)).await {
                Code::ResourceExhausted => return,
                // Written before the broker said that it is short of memory.
                Code::Ok | Code::Unknown => written.push(n),
                code => panic!("{code:?}"),
            }
        }
    })
    .await;
    let (http, body) = fleet[0].health_becomes("degraded").await;
    assert_eq!(http, 200);
    assert!(body["reasons"][0].as_str().is_some_and(|why| why.contains("alarm")), "{body}");
    assert_eq!(fleet[0].send_event(&client.id, "Direct").await, Code::Ok);
    assert_eq!(client.event("Direct").await["payload"], Value::Object(Default::default()));

    broker.unblock_publishers().await;
    push_until_ok(&fleet[0], &fleet.exchange, "Last").await;
    assert_eq!(numbers_until_last(&mut client).await, written);
}
