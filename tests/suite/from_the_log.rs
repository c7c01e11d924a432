//! Clients that come back for what their replica has not seen live: it has just started, and
//! reads it from the log.

use std::ops::Range;

use serde_json::{Value, json};
use tonic::Code;

use crate::support::{
    client::Client,
    fleet::Fleet,
    gateway::{Addresses, push_request},
    handler::proto::PushEventsRequest,
    rabbitmq::RabbitMq,
};

/// Subscribes, and answers where the log is.
async fn subscribe(client: &mut Client, exchange: &str, after: Option<&str>) -> Value {
    let mut payload = json!({"exchange": exchange, "routing_key": "1"});
    if let Some(after) = after {
        payload["after"] = after.into();
    }
    client.send(json!({"action": "Subscribe", "tag": "s", "payload": payload})).await;
    let subscribed = client.positioned().await;
    assert_eq!(subscribed["event"], "Subscribed", "{subscribed}");
    subscribed["payload"].clone()
}

/// Where the log is for a client that is subscribed to it, and then gone.
async fn position(replica: &Addresses, exchange: &str) -> String {
    let subscribed = subscribe(&mut replica.client().await, exchange, None).await;
    subscribed["id"].as_str().expect("a position").to_owned()
}

/// Numbered events of this key, so many in one call.
async fn push(replica: &Addresses, exchange: &str, key: &str, numbers: Range<u64>, at_once: usize) {
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
async fn receives(client: &mut Client, numbers: Range<u64>) {
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
    receives(&mut client, 0..3).await;
    client.event("Replayed").await;
    assert!(client.quiet().await);
}

#[tokio::test]
async fn behind_what_cannot_be_read_it_starts_all_the_same_and_says_that_it_does_not_know() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 1).await;
    let exchange = fleet.exchange.clone();
    let after = position(&fleet[0], &exchange).await;
    push(&fleet[0], &exchange, "1", 0..3, 3).await;
    broker.publish_bytes(&format!("myxi.in.{exchange}"), &[(b"\xff", b"{}")]).await;
    push(&fleet[0], &exchange, "1", 3..6, 3).await;

    fleet.add(broker, &[]).await;
    let mut client = fleet[1].client().await;
    let subscribed = subscribe(&mut client, &exchange, Some(&after)).await;
    assert_eq!((&subscribed["recovered"], &subscribed["reason"]), (&json!(false), &json!("expired")));
    push(&fleet[1], &exchange, "1", 6..9, 1).await;
    receives(&mut client, 6..9).await;
    assert!(client.quiet().await);
}
