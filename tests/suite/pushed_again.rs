//! Pushed twice, delivered once: an event that is pushed again under the id that its caller
//! chose. And what must not be taken for that.

mod retries;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use myxi::internals::event::OutgoingEvent;
use serde_json::json;

use crate::{
    bus::{MAX_EVENT_SIZE, Replica, all_ok, event},
    support::{batch::BatchedEvent, program::Program, rabbitmq::RabbitMq, unique},
};

/// As a caller chose its id.
fn with_id(exchange: &str, name: &str, id: &str) -> OutgoingEvent {
    OutgoingEvent { deduplicate: true, ..with_drawn_id(exchange, name, id) }
}

fn with_drawn_id(exchange: &str, name: &str, id: &str) -> OutgoingEvent {
    OutgoingEvent { id: id.into(), ..event(exchange, "k", name) }
}

/// Each of them once for each bus.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                let names = [super::unique("a"), super::unique("b")];
                let names = [names[0].as_str(), names[1].as_str()];
                super::$test(super::Replica::memory(&names).attached(2).await, names).await;
            })*
        }

        mod rabbitmq {
            $(#[tokio::test]
            async fn $test() {
                let names = [super::unique("a"), super::unique("b")];
                let names = [names[0].as_str(), names[1].as_str()];
                let url = super::RabbitMq::shared().await.url();
                let replica = super::Replica::rabbitmq(&[&url], &names).attached(2).await;
                super::$test(replica, names).await;
            })*
        }
    };
}

on_both!(
    an_event_pushed_again_under_its_id_is_delivered_once,
    only_a_chosen_id_of_the_same_exchange_withholds,
    an_id_counts_among_the_last_hundred_thousand,
);

async fn an_event_pushed_again_under_its_id_is_delivered_once(replica: Replica, [a, _]: [&str; 2]) {
    let published = async |event| assert_eq!(replica.publish(event).await, Ok(()));
    published(with_id(a, "one", "1")).await;
    published(with_id(a, "again", "1")).await;
    published(OutgoingEvent { id: "1".into(), deduplicate: true, ..event(a, "other", "?") }).await;
    // Among others, within a call, and from a call to a single one.
    let call = ["1", "2", "3", "2", "1", "4"];
    let call = call.iter().enumerate().map(|(n, id)| with_id(a, &format!("{n} is {id}"), id));
    all_ok(&replica.bus.publish(call.collect()).await);
    published(with_id(a, "again", "4")).await;
    published(event(a, "k", "last")).await;
    let expected = ["one", "1 is 2", "2 is 3", "5 is 4"];
    assert_eq!(replica.names_until("last").await, expected);
    assert_eq!(replica.bus.status().duplicates, 6);
}

async fn only_a_chosen_id_of_the_same_exchange_withholds(replica: Replica, [a, b]: [&str; 2]) {
    let published = async |event, name: &str| {
        assert_eq!(replica.publish(event).await, Ok(()));
        assert_eq!(*replica.event().await.body.name, *name);
    };
    published(with_drawn_id(a, "drawn", "id"), "drawn").await;
    published(with_drawn_id(a, "drawn again", "id"), "drawn again").await;
    published(with_id(a, "chosen", "id"), "chosen").await;
    published(with_drawn_id(a, "drawn once more", "id"), "drawn once more").await;
    published(with_id(b, "elsewhere", "id"), "elsewhere").await;
    // The same in batches.
    let drawn = || with_drawn_id(a, "E", "id");
    all_ok(&replica.bus.publish(vec![drawn(), drawn(), with_id(b, "?", "id"), drawn()]).await);
    published(event(a, "k", "last"), "E").await;
    assert_eq!(replica.names_until("last").await, ["E", "E"]);
    replica.status_becomes("one duplicate", |status| status.duplicates == 1).await;
}

async fn an_id_counts_among_the_last_hundred_thousand(replica: Replica, [a, _]: [&str; 2]) {
    assert_eq!(replica.publish(with_id(a, "first", "first")).await, Ok(()));
    for thousand in 0..100 {
        let id = |n| format!("{thousand} {n}");
        let events = (0..1_000).map(|n| with_id(a, "other", &id(n))).collect();
        all_ok(&replica.bus.publish(events).await);
    }
    for (name, id) in [("still known", "0 0"), ("forgotten", "first"), ("known anew", "first")] {
        assert_eq!(replica.publish(with_id(a, name, id)).await, Ok(()));
    }
    assert_eq!(replica.publish(event(a, "k", "last")).await, Ok(()));
    let mut names = replica.names_until("last").await;
    assert_eq!(names.len(), 100_002);
    names.retain(|name| name != "other");
    assert_eq!(names, ["first", "forgotten"]);
}

/// A single event with a message id, marked or not.
fn single(id: &str, mark: Option<AMQPValue>) -> BasicProperties {
    let mut headers = FieldTable::default();
    if let Some(mark) = mark {
        headers.insert("x-myxi-deduplicate".into(), mark);
    }
    BasicProperties::default().with_message_id(id.into()).with_headers(headers)
}

fn batched(name: &str, id: &str, deduplicate: bool) -> BatchedEvent {
    BatchedEvent { event_id: id.into(), deduplicate, ..BatchedEvent::new("k", name, "") }
}

#[tokio::test]
async fn ids_of_other_programs_count_where_they_say_so() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;
    let program = Program::connect(broker).await;
    let publish = async |event: &str, properties| {
        let body = json!({"event": event}).to_string();
        program.publish_with(&name, "k", body.as_bytes(), properties).await;
    };
    let yes = || Some(AMQPValue::Boolean(true));
    for mark in [None, Some(AMQPValue::Boolean(false)), Some(AMQPValue::LongInt(1))] {
        publish("unmarked", single("id", mark)).await;
    }
    publish("marked", single("id", yes())).await;
    publish("marked again", single("id", yes())).await;
    publish("unmarked", single("id", None)).await;
    // Without an id there is nothing to know it by.
    let mut no_id = single("", yes());
    no_id = BasicProperties::default().with_headers(no_id.headers().clone().expect("headers"));
    publish("no id", no_id.clone()).await;
    publish("no id", no_id).await;
    program
        .publish_batch(
            &name,
            vec![
                batched("unmarked", "id", false),
                batched("marked again", "id", true),
                batched("marked, too", "another", true),
                batched("marked again", "another", true),
                batched("unmarked", "another", false),
                batched("no id", "", true),
                batched("no id", "", true),
            ],
        )
        .await;
    // Whatever wrote it before, and whoever does again.
    publish("marked again", single("another", yes())).await;
    assert_eq!(replica.publish(with_id(&name, "pushed", "another")).await, Ok(()));
    publish("last", single("last", None)).await;
    let expected = [
        ["unmarked"; 3].as_slice(),
        &["marked", "unmarked", "no id", "no id"],
        &["unmarked", "marked, too", "unmarked", "no id", "no id"],
    ];
    assert_eq!(replica.names_until("last").await, expected.concat());
    assert_eq!(replica.bus.status().duplicates, 5);
}

/// What was not delivered withholds nothing.
#[tokio::test]
async fn the_id_of_what_is_no_event_does_not_count() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;
    let program = Program::connect(broker).await;
    let yes = || Some(AMQPValue::Boolean(true));
    let too_big = format!(r#"{{"event":"E","payload":"{}"}}"#, "x".repeat(MAX_EVENT_SIZE));
    for (key, body) in [("k", "no JSON"), ("bell\u{7}", r#"{"event":"E"}"#), ("k", &too_big)] {
        program.publish_with(&name, key, body.as_bytes(), single("1", yes())).await;
    }
    let nothing = ["none", ""].map(|payload| BatchedEvent {
        payload: payload.into(),
        event: if payload.is_empty() { Vec::new() } else { b"E".into() },
        ..batched("E", "2", true)
    });
    let one = batched("two", "2", true);
    program.publish_batch(&name, [nothing.as_slice(), &[one]].concat()).await;
    program.publish_with(&name, "k", br#"{"event":"one"}"#, single("1", yes())).await;
    assert_eq!(replica.publish(event(&name, "k", "last")).await, Ok(()));
    assert_eq!(replica.names_until("last").await, ["two", "one"]);
    assert_eq!(replica.bus.status().duplicates, 0);
}

/// It may deliver again what came before its time; from then on it knows as much.
#[tokio::test]
async fn a_replica_that_began_later_withholds_nothing_that_another_delivers() {
    let (url, name) = (RabbitMq::shared().await.url(), unique("a"));
    let early = Replica::rabbitmq(&[&url], &[&name]).attached(1).await;
    assert_eq!(early.publish(with_id(&name, "first", "id")).await, Ok(()));
    let late = Replica::rabbitmq(&[&url], &[&name]).attached(1).await;
    for event_name in ["second", "third"] {
        assert_eq!(early.publish(with_id(&name, event_name, "id")).await, Ok(()));
    }
    assert_eq!(early.publish(event(&name, "k", "last")).await, Ok(()));
    assert_eq!(early.names_until("last").await, ["first"]);
    assert_eq!(late.names_until("last").await, ["second"]);
}
