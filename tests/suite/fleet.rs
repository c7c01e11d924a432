//! Replicas on one RabbitMQ: what is pushed to one, or published by another program,
//! reaches the clients of all.

use lapin::{BasicProperties, options::BasicPublishOptions};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{
    client::Client,
    fleet::Fleet,
    gateway::{Addresses, push_request},
    handler::proto::PushEventsRequest,
    rabbitmq::RabbitMq,
};

#[tokio::test]
async fn what_is_pushed_to_one_replica_reaches_the_clients_of_all() {
    let fleet = Fleet::start(RabbitMq::shared().await, 3).await;
    let mut clients = Vec::new();
    for replica in &fleet.replicas {
        clients.extend(replica.subscribers(2, &fleet.exchange, "1").await);
    }
    let mut bystander = fleet[0].client().await;
    bystander.subscribe(&fleet.exchange, "2").await;

    let payload = json!({"quantity": 5});
    fleet[1].push(&fleet.exchange, "1", "WidgetQtyChanged", payload.clone()).await;

    for client in &mut clients {
        let event = client.next().await;
        let mq = json!({"e": fleet.exchange, "rk": "1"});
        assert_eq!(event, json!({"event": "WidgetQtyChanged", "payload": payload, "mq": mq}));
        assert!(client.quiet().await);
    }
    assert!(bystander.quiet().await);
}

/// Promise 3, over the broker: whatever is pushed once `Subscribed` has arrived, arrives.
#[tokio::test]
async fn an_event_pushed_right_after_subscribed_is_delivered() {
    let fleet = Fleet::start(RabbitMq::shared().await, 2).await;
    let mut client = fleet[0].client().await;
    for n in 0..25 {
        let key = n.to_string();
        client.subscribe(&fleet.exchange, &key).await;
        fleet[1].push(&fleet.exchange, &key, "Changed", json!({})).await;
        assert_eq!(client.next().await["mq"]["rk"], key.as_str());
    }
}

/// Promise 4.
#[tokio::test]
async fn under_load_every_replica_delivers_each_event_once_and_all_in_one_order() {
    const EVENTS: u64 = 600;
    let fleet = Fleet::start(RabbitMq::shared().await, 3).await;
    let mut clients = Vec::new();
    for replica in &fleet.replicas {
        clients.extend(replica.subscribers(1, &fleet.exchange, "1").await);
    }

    let (first, second) = (&fleet[0], &fleet[1]);
    let pushing = async {
        tokio::join!(
            push_many(first, &fleet.exchange, "first", EVENTS),
            push_many(second, &fleet.exchange, "second", EVENTS),
        );
    };
    let reading = futures_util::future::join_all(
        clients.iter_mut().map(|client| names(client, 2 * EVENTS as usize)),
    );
    let (_, read) = tokio::join!(pushing, reading);

    for (name, count) in [("first", EVENTS), ("second", EVENTS)] {
        let of_pusher: Vec<_> =
            read[0].iter().filter(|(from, _)| from == name).map(|(_, n)| *n).collect();
        assert_eq!(of_pusher, (0..count).collect::<Vec<_>>(), "the events of {name}");
    }
    assert!(read.iter().all(|order| *order == read[0]), "replicas differ in their order");
    for client in &mut clients {
        assert!(client.quiet().await, "more than was pushed");
    }
}

async fn push_many(replica: &Addresses, exchange: &str, name: &str, count: u64) {
    const BATCH: u64 = 50;
    let mut api = replica.api().await;
    for batch in 0..count / BATCH {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let event = |n| push_request(exchange, "1", name, &json!(n));
        let request = PushEventsRequest { events: numbers.map(event).collect() };
        let results = api.push_events(request).await.expect("results").into_inner().results;
        assert!(results.iter().all(|result| result.code == Code::Ok as i32), "{results:?}");
    }
}

async fn names(client: &mut Client, count: usize) -> Vec<(String, u64)> {
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        let Value::Object(event) = client.next().await else { panic!("no object") };
        let name = event["event"].as_str().expect("a name").to_owned();
        names.push((name, event["payload"].as_u64().expect("a number")));
    }
    names
}

#[tokio::test]
async fn what_another_program_publishes_is_delivered_as_it_was_written() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 2).await;
    let mut clients = [
        fleet[0].subscribers(1, &fleet.exchange, "7").await.remove(0),
        fleet[1].subscribers(1, &fleet.exchange, "7").await.remove(0),
    ];
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    let publish = async |body: &str| {
        let input = format!("myxi.in.{}", fleet.exchange).into();
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let published =
            channel.basic_publish(input, "7".into(), options, body.as_bytes(), properties);
        published.await.expect("published");
    };

    publish("neither JSON nor an event").await;
    publish(r#"{"payload":{"no":"name"}}"#).await;
    publish(r#"{"event":"Moved","payload":{"to":123456789012345678901234567890}}"#).await;

    for client in &mut clients {
        let text = client.text().await;
        assert!(text.contains(r#""payload":{"to":123456789012345678901234567890}"#), "{text}");
        assert!(text.contains(r#""event":"Moved""#), "{text}");
    }
}

/// Promise 6.
#[tokio::test]
async fn where_events_may_be_missing_each_subscription_is_told_so() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 2).await;
    let mut clients = Vec::new();
    for replica in &fleet.replicas {
        let mut client = replica.client().await;
        client.subscribe(&fleet.exchange, "1").await;
        let payload = json!({"exchange": fleet.exchange, "routing_key": 2});
        assert_eq!(client.request("Subscribe", payload).await["event"], "Subscribed");
        clients.push(client);
    }
    fleet[0].push(&fleet.exchange, "1", "Before", json!({})).await;
    for client in &mut clients {
        client.event("Before").await;
    }

    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    let log = format!("myxi.log.{}", fleet.exchange).into();
    channel.queue_delete(log, Default::default()).await.expect("deleted");

    for client in &mut clients {
        for key in [json!("1"), json!(2)] {
            let gap = client
                .await_that(|message| {
                    message["event"] == "Gap" && message["payload"]["routing_key"] == key
                })
                .await;
            assert_eq!(gap["payload"], json!({"exchange": fleet.exchange, "routing_key": key}));
        }
    }
    fleet[0].ready().await;
    fleet[1].ready().await;
    fleet[1].push(&fleet.exchange, "1", "After", json!({})).await;
    for client in &mut clients {
        client.event("After").await;
    }
}
