//! Clients that come back for what their replica has not seen live: it has just started, and
//! reads it from the log.

use std::ops::Range;

use lapin::BasicProperties;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{
    DEADLINE,
    client::Client,
    fleet::Fleet,
    gateway::{Addresses, push_request},
    handler::proto::PushEventsRequest,
    metrics::Scrape,
    program::Program,
    rabbitmq::RabbitMq,
    within,
};

/// Subscribes, and answers where the log is.
pub async fn subscribe(client: &mut Client, exchange: &str, after: Option<&str>) -> Value {
    let mut payload = json!({"exchange": exchange, "routing_key": "1"});
    if let Some(after) = after {
        payload["after"] = after.into();
    }
    within(DEADLINE, "a subscription", async {
        loop {
            client.send(json!({"action": "Subscribe", "tag": "s", "payload": payload})).await;
            let reply = client.positioned().await;
            // On a machine that is slow it may have to be asked for again.
            if reply["payload"]["error"] != "ExchangeUnavailable" {
                assert_eq!(reply["event"], "Subscribed", "{reply}");
                return reply["payload"].clone();
            }
        }
    })
    .await
}

/// Where the log is for a client that is subscribed to it, and then gone.
pub async fn position(replica: &Addresses, exchange: &str) -> String {
    let subscribed = subscribe(&mut replica.client().await, exchange, None).await;
    subscribed["id"].as_str().expect("a position").to_owned()
}

/// Numbered events of this key, so many in one call.
pub async fn push(
    replica: &Addresses,
    exchange: &str,
    key: &str,
    numbers: Range<u64>,
    at_once: usize,
) {
    let mut api = replica.api().await;
    let numbers: Vec<_> = numbers.collect();
    for numbers in numbers.chunks(at_once) {
        let events = numbers.iter().map(|n| push_request(exchange, key, "Event", &json!(n)));
        let request = PushEventsRequest { events: events.collect() };
        let results = api.push_events(request).await.expect("results").into_inner().results;
        assert!(results.iter().all(|result| result.code == Code::Ok as i32), "{results:?}");
    }
}

/// The next messages are these events, and nothing else.
pub async fn receives(client: &mut Client, numbers: Range<u64>) {
    for number in numbers {
        let event = client.next().await;
        assert_eq!((&event["event"], &event["payload"]), (&json!("Event"), &json!(number)));
    }
}

/// What was missed is what is pushed by `missed`, these numbers of the key: a replica that is
/// started behind it leads a client from `after` through it to what is live.
async fn comes_back_to_a_new_replica(
    fleet: &mut Fleet,
    exchange: &str,
    after: &str,
    missed: Range<u64>,
) {
    fleet.add(RabbitMq::shared().await, &["--resume-buffer=1MiB"]).await;
    let replica = fleet.replicas.last().expect("just added");
    let mut client = replica.client().await;
    let subscribed = subscribe(&mut client, exchange, Some(after)).await;
    assert_eq!(subscribed["recovered"], true, "{subscribed}");
    receives(&mut client, missed.clone()).await;
    let replayed = client.next().await;
    assert_eq!(replayed["event"], "Replayed", "{replayed}");
    assert_eq!(replayed["payload"]["count"], missed.end - missed.start);
    push(&fleet[0], exchange, "1", missed.end..missed.end + 3, 1).await;
    receives(&mut client, missed.end..missed.end + 3).await;
    assert!(client.quiet().await);
}

#[tokio::test]
async fn a_replica_that_has_just_started_knows_what_others_clients_missed() {
    let mut fleet = Fleet::start(RabbitMq::shared().await, 1).await;
    let exchange = fleet.exchange.clone();
    push(&fleet[0], &exchange, "2", 0..100, 100).await;
    let after = position(&fleet[0], &exchange).await;
    push(&fleet[0], &exchange, "1", 0..700, 350).await;
    push(&fleet[0], &exchange, "2", 0..300, 300).await;
    push(&fleet[0], &exchange, "1", 700..705, 1).await;
    comes_back_to_a_new_replica(&mut fleet, &exchange, &after, 0..705).await;
}

/// It begins somewhere in the log, where it knows nothing before the first marker.
#[tokio::test]
async fn of_a_long_log_it_knows_the_last_part() {
    let mut fleet = Fleet::start(RabbitMq::shared().await, 0).await;
    let exchange = fleet.exchange.clone();
    fleet.exchange = format!("{exchange};batch=off");
    fleet.add(RabbitMq::shared().await, &[]).await;
    push(&fleet[0], &exchange, "2", 0..5_000, 1_000).await;
    let after = position(&fleet[0], &exchange).await;
    push(&fleet[0], &exchange, "1", 0..300, 100).await;
    comes_back_to_a_new_replica(&mut fleet, &exchange, &after, 0..300).await;
}

/// What is in memory, and nothing else, answers this.
#[tokio::test]
async fn it_has_the_last_events_in_memory_from_the_start() {
    let mut fleet = Fleet::start(RabbitMq::shared().await, 1).await;
    let exchange = fleet.exchange.clone();
    push(&fleet[0], &exchange, "1", 0..10, 5).await;
    fleet.add(RabbitMq::shared().await, &[]).await;
    let mut client = fleet[1].client().await;
    let payload = json!({"exchange": exchange, "routing_key": "1", "last": 3});
    assert_eq!(client.request("Subscribe", payload).await["event"], "Subscribed");
    receives(&mut client, 7..10).await;
    assert_eq!(client.next().await["event"], "Replayed");
    assert!(client.quiet().await);
}

#[tokio::test]
async fn what_was_pushed_twice_is_missed_once() {
    let mut fleet = Fleet::start(RabbitMq::shared().await, 1).await;
    let exchange = fleet.exchange.clone();
    let after = position(&fleet[0], &exchange).await;
    let mut api = fleet[0].api().await;
    let mut push = async |number: u64| {
        let mut event = push_request(&exchange, "1", "Event", &json!(number));
        event.event_id = Some(format!("event {number}"));
        api.push_event(event).await.expect("pushed");
    };
    for number in [0, 0, 1] {
        push(number).await;
    }
    fleet.add(RabbitMq::shared().await, &[]).await;
    // What comes behind it is known by what stands before it.
    for number in [1, 0, 2] {
        push(number).await;
    }
    let mut client = fleet[1].client().await;
    subscribe(&mut client, &exchange, Some(&after)).await;
    // The last one may be live.
    assert_eq!(comes_back(&mut client, 3).await, 0);
    assert!(client.quiet().await);
}

#[tokio::test]
async fn what_cannot_be_read_is_stepped_over_in_the_past_too() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    let exchange = fleet.exchange.clone();
    fleet.exchange = format!("{exchange};batch=off");
    fleet.add(broker, &[]).await;
    let after = position(&fleet[0], &exchange).await;
    for end in [100, 200] {
        push_large(&fleet[0], &exchange, end - 100..end).await;
        broker.publish_bytes(&format!("myxi.in.{exchange}"), &[(b"\xff", b"{}")]).await;
    }
    push_large(&fleet[0], &exchange, 200..300).await;

    // One has it in memory, the other reads it from the log.
    fleet.add(broker, &[]).await;
    fleet.add(broker, &[SMALL]).await;
    for replica in &fleet.replicas[1..] {
        let mut client = replica.client().await;
        let subscribed = subscribe(&mut client, &exchange, Some(&after)).await;
        assert_eq!(subscribed["recovered"], true, "{subscribed}");
        assert_eq!(comes_back(&mut client, 300).await, 0);
        assert!(client.quiet().await);
    }
}

#[tokio::test]
async fn what_a_newer_replica_wrote_is_told_as_a_gap_in_the_past_too() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 1).await;
    let exchange = fleet.exchange.clone();
    let after = position(&fleet[0], &exchange).await;
    push(&fleet[0], &exchange, "1", 0..600, 100).await;
    let newer = BasicProperties::default().with_type("myxi.of-tomorrow".into());
    Program::connect(broker).await.publish_with(&exchange, "1", b"\0\x01", newer).await;
    push(&fleet[0], &exchange, "1", 600..800, 100).await;

    fleet.add(broker, &[]).await;
    let mut client = fleet[1].client().await;
    let subscribed = subscribe(&mut client, &exchange, Some(&after)).await;
    assert_eq!(subscribed["recovered"], true, "its place is known");
    let gap = client.await_that(|message| message["event"] != "Event").await;
    assert_eq!(gap["event"], "Gap", "{gap}");
    let replayed = client.event("Replayed").await["payload"]["count"].as_u64();
    let told = r#"myxi_resumes_total{asked="after",result="gap"}"#;
    Scrape::of(&fleet[1]).await.shows([(told, 1), ("myxi_resumes_under_way", 0)]);
    receives(&mut client, 0..replayed.expect("a number")).await;
    push(&fleet[1], &exchange, "1", 800..803, 1).await;
    receives(&mut client, 800..803).await;
    assert!(client.quiet().await);
}

/// Reads numbered events up to this one, none twice and none missing, and `Replayed`, which comes
/// before those that the replica read live. Answers the first.
async fn comes_back(client: &mut Client, end: u64) -> u64 {
    let (mut first, mut next, mut replayed) = (None, 0, false);
    while !replayed || next < end {
        let message = client.next().await;
        match message["event"].as_str() {
            Some("Event") => {
                let number = number(&message);
                let expected = if first.is_none() { number } else { next };
                assert_eq!(number, expected);
                first.get_or_insert(number);
                next = number + 1;
            }
            Some("Replayed") if !replayed => {
                assert_eq!(message["payload"]["count"], next - first.unwrap_or(next));
                replayed = true;
            }
            _ => panic!("{message}"),
        }
    }
    first.unwrap_or(end)
}

fn number(event: &Value) -> u64 {
    let payload = &event["payload"];
    payload.as_u64().or_else(|| payload["number"].as_u64()).expect("a number")
}

/// Numbered events of 20 kB.
pub async fn push_large(replica: &Addresses, exchange: &str, numbers: Range<u64>) {
    let mut api = replica.api().await;
    let bulk = "x".repeat(20_000);
    let numbers: Vec<_> = numbers.collect();
    for numbers in numbers.chunks(100) {
        let payload = |n: &u64| json!({"number": n, "bulk": bulk});
        let events = numbers.iter().map(|n| push_request(exchange, "1", "Event", &payload(n)));
        let request = PushEventsRequest { events: events.collect() };
        let results = api.push_events(request).await.expect("results").into_inner().results;
        assert!(results.iter().all(|result| result.code == Code::Ok as i32), "{results:?}");
    }
}

const SMALL: &str = "--resume-buffer=1MiB";

#[tokio::test]
async fn who_missed_more_than_is_in_memory_gets_it_from_the_log_beside_what_is_live() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    let exchange = fleet.exchange.clone();
    fleet.add(broker, &[SMALL]).await;
    let mut watching = fleet[0].subscribers(1, &exchange, "1").await.remove(0);
    let after = position(&fleet[0], &exchange).await;
    tokio::join!(
        push(&fleet[0], &exchange, "1", 0..20_000, 1_000),
        receives(&mut watching, 0..20_000),
    );

    let mut client = fleet[0].client().await;
    let subscribed = subscribe(&mut client, &exchange, Some(&after)).await;
    assert_eq!(subscribed["recovered"], true, "{subscribed}");
    let pushing = async {
        push(&fleet[0], &exchange, "1", 20_000..21_000, 10).await;
    };
    let live = async {
        receives(&mut watching, 20_000..21_000).await;
    };
    let ((), (), first) = tokio::join!(pushing, live, comes_back(&mut client, 21_000));
    assert_eq!(first, 0);
    push(&fleet[0], &exchange, "1", 21_000..21_003, 1).await;
    receives(&mut client, 21_000..21_003).await;
    assert!(client.quiet().await);
}

#[tokio::test]
async fn what_the_log_does_not_have_any_more_is_expired() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    let exchange = fleet.exchange.clone();
    fleet.exchange = format!("{exchange};max-bytes=1MB;segment-bytes=500KB");
    fleet.add(broker, &[SMALL]).await;
    let after = position(&fleet[0], &exchange).await;
    push_large(&fleet[0], &exchange, 0..300).await;

    let mut client = fleet[0].client().await;
    let subscribed = subscribe(&mut client, &exchange, Some(&after)).await;
    assert_eq!(subscribed["recovered"], false, "{subscribed}");
    assert_eq!(subscribed["reason"], "expired");
    push(&fleet[0], &exchange, "1", 300..303, 1).await;
    receives(&mut client, 300..303).await;
}

/// At the same offset, where the ring does not reach any more, stands another entry.
#[tokio::test]
async fn what_stood_in_a_log_that_was_made_anew_is_unknown() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    let exchange = fleet.exchange.clone();
    fleet.add(broker, &[SMALL]).await;
    let mut watching = fleet[0].subscribers(1, &exchange, "2").await.remove(0);
    push(&fleet[0], &exchange, "1", 0..10, 1).await;
    let after = position(&fleet[0], &exchange).await;
    Program::connect(broker).await.delete_log(&exchange).await;
    watching.event("Gap").await;
    push(&fleet[0], &exchange, "1", 0..20, 1).await;
    push_large(&fleet[0], &exchange, 20..200).await;
    push(&fleet[0], &exchange, "2", 0..1, 1).await;
    watching.event("Event").await;

    let mut client = fleet[0].client().await;
    let subscribed = subscribe(&mut client, &exchange, Some(&after)).await;
    assert_eq!(subscribed["recovered"], false, "{subscribed}");
    assert_eq!(subscribed["reason"], "unknown");
}

/// Each at a place of its own, further apart than what two can share.
#[tokio::test]
async fn those_who_come_back_from_many_places_take_turns() {
    const PLACES: u64 = 7;
    const APART: u64 = 250;
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    let exchange = fleet.exchange.clone();
    fleet.add(broker, &[SMALL, "--action-timeout=60s"]).await;
    let mut places = Vec::new();
    for place in 0..PLACES {
        places.push(position(&fleet[0], &exchange).await);
        push_large(&fleet[0], &exchange, place * APART..(place + 1) * APART).await;
    }
    let back = (0..).zip(&places).map(async |(place, after)| {
        let mut client = fleet[0].client().await;
        let subscribed = subscribe(&mut client, &exchange, Some(after)).await;
        assert_eq!(subscribed["recovered"], true, "{subscribed}");
        // The replica may have been behind what was pushed.
        let first = comes_back(&mut client, PLACES * APART).await;
        assert!(first <= place * APART, "{first}");
        assert!(client.quiet().await);
    });
    futures_util::future::join_all(back).await;
}

/// It reads nothing while more comes than memory holds.
#[tokio::test]
async fn a_client_that_memory_passes_by_goes_on_in_the_log() {
    let mut fleet = Fleet::start(RabbitMq::shared().await, 0).await;
    let exchange = fleet.exchange.clone();
    fleet.add(RabbitMq::shared().await, &["--resume-buffer=16MiB"]).await;
    let after = position(&fleet[0], &exchange).await;
    push_large(&fleet[0], &exchange, 0..500).await;
    let mut client = fleet[0].client().await;
    let subscribed = subscribe(&mut client, &exchange, Some(&after)).await;
    assert_eq!(subscribed["recovered"], true, "{subscribed}");
    push_large(&fleet[0], &exchange, 500..1_500).await;
    assert_eq!(comes_back(&mut client, 1_500).await, 0);
    assert!(client.quiet().await);
}

/// Each was last seen somewhere else.
#[tokio::test]
async fn the_clients_of_a_replica_that_is_gone_come_back_together() {
    let mut fleet = Fleet::start(RabbitMq::shared().await, 1).await;
    let exchange = fleet.exchange.clone();
    fleet.add(RabbitMq::shared().await, &[SMALL]).await;
    let mut places = Vec::new();
    for number in 0..50 {
        places.push(position(&fleet[0], &exchange).await);
        push(&fleet[0], &exchange, "1", number..number + 1, 1).await;
    }
    push(&fleet[0], &exchange, "1", 50..6_000, 1_000).await;
    fleet.replicas.remove(0).drain().await;

    let back = places.iter().map(async |after| {
        let mut client = fleet[0].client().await;
        let subscribed = subscribe(&mut client, &exchange, Some(after)).await;
        assert_eq!(subscribed["recovered"], true, "{subscribed}");
        let first = comes_back(&mut client, 6_000).await;
        assert!(first < 50, "{first}");
    });
    futures_util::future::join_all(back).await;
}

#[tokio::test]
async fn a_broker_that_comes_back_under_a_reading_costs_nothing() {
    let mut broker = RabbitMq::exclusive().await;
    let mut fleet = Fleet::start(&broker, 0).await;
    let exchange = fleet.exchange.clone();
    fleet.add(&broker, &[SMALL]).await;
    let after = position(&fleet[0], &exchange).await;
    push_large(&fleet[0], &exchange, 0..1_500).await;
    let mut client = fleet[0].client().await;
    let subscribed = subscribe(&mut client, &exchange, Some(&after)).await;
    assert_eq!(subscribed["recovered"], true, "{subscribed}");

    broker.kill().await;
    // As long as a broker may take to start.
    client.patience = 3 * DEADLINE;
    let (first, ()) = tokio::join!(comes_back(&mut client, 1_500), broker.restart());
    assert_eq!(first, 0);
    fleet[0].ready().await;
    push(&fleet[0], &exchange, "1", 1_500..1_503, 1).await;
    receives(&mut client, 1_500..1_503).await;
}
