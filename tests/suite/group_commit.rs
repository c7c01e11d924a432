//! Group commit on RabbitMQ: what is pushed while messages are under way shares the next one.
//! Looked at in the log itself, as another program reads it, and from the side of who pushes.

mod entries;

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use myxi::internals::{
    bus::{AskError, PublishError, rabbitmq::ExchangeConfig},
    event::{EventBody, OutgoingEvent, Topic},
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tonic::Code;

use self::entries::{log, names};
use crate::{
    bus::{MAX_EVENT_SIZE, Replica, all_ok, event, exchange},
    support::{
        DEADLINE,
        gateway::{Gateway, push_request},
        handler::{TestHandler, proto::PushEventsRequest},
        http,
        metrics::Scrape,
        program::Program,
        proxy::Proxy,
        rabbitmq::RabbitMq,
        unique, within,
    },
};

/// Most events in a message, and most messages of an exchange that are unconfirmed.
const EVENTS: usize = 256;
const MESSAGES: usize = 4;

/// Longer than it takes to write what may be written.
const WRITTEN: Duration = Duration::from_secs(2);

async fn replica(url: &str, exchanges: &[(&str, bool)]) -> Replica {
    let config = |(name, batch): &(&str, bool)| {
        let config = ExchangeConfig::new(exchange(name));
        ExchangeConfig { batch: *batch, ..config }
    };
    let configs = exchanges.iter().map(config).collect();
    let replica = Replica::configured(&[url], configs, MAX_EVENT_SIZE);
    let replica = replica.attached(exchanges.len()).await;
    for (name, _) in exchanges {
        // From now on there is a channel on which the broker has taken something.
        replica.publish_until_ok(|| event(name, "k", "first")).await;
    }
    replica
}

fn events(exchange: &str, call: &str, count: usize) -> Vec<OutgoingEvent> {
    (0..count).map(|n| event(exchange, call, &n.to_string())).collect()
}

fn large(exchange_name: &str, name: &str, bytes: usize) -> OutgoingEvent {
    let topic = Topic::new(exchange(exchange_name), "k").expect("a topic");
    let body = EventBody::new(name, &format!("\"{}\"", "x".repeat(bytes))).expect("a body");
    OutgoingEvent::new(topic, body, "id", MAX_EVENT_SIZE).expect("an event")
}

#[tokio::test]
async fn a_call_goes_together_and_one_event_is_written_as_ever() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let replica = replica(&broker.url(), &[(&name, true)]).await;
    all_ok(&replica.bus.publish(events(&name, "k", 600)).await);
    assert_eq!(replica.publish(event(&name, "key", "alone")).await, Ok(()));

    let log = log(broker, &replica, &name).await;
    let sizes: Vec<_> = log.iter().map(|entry| (entry.is_batch, entry.events.len())).collect();
    assert_eq!(sizes, [(true, 256), (true, 256), (true, 88), (false, 1)]);
    assert_eq!(log[3].events, [("key".to_owned(), "alone".to_owned())]);
    let came: Vec<_> = names(&log[..3]).concat();
    assert_eq!(came, (0..600).map(|n| n.to_string()).collect::<Vec<_>>());

    let published = replica.bus.status().published;
    // With the first and the last.
    assert_eq!((published.all_messages(), published.events), (6, 603));
    assert_eq!(published.messages, [3, 0, 0, 0, 0, 0, 0, 1, 2]);
}

#[tokio::test]
async fn what_is_too_large_for_a_batch_goes_alone_in_its_place() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let replica = replica(&broker.url(), &[(&name, true)]).await;
    let sizes = [10, 10, 70_000, 10, 40_000, 40_000, 10];
    let sizes = sizes.iter().enumerate();
    let events = sizes.map(|(n, bytes)| large(&name, &n.to_string(), *bytes)).collect();
    all_ok(&replica.bus.publish(events).await);
    let log = log(broker, &replica, &name).await;
    assert_eq!(names(&log), [vec!["0", "1"], vec!["2"], vec!["3", "4"], vec!["5", "6"]]);
    assert_eq!(
        log.iter().map(|entry| entry.is_batch).collect::<Vec<_>>(),
        [true, false, true, true]
    );
}

#[tokio::test]
async fn callers_beside_each_other_share_messages_and_keep_their_order() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let replica = replica(&broker.url(), &[(&name, true)]).await;
    let caller = async |key: usize| {
        for event in events(&name, &key.to_string(), 20) {
            assert_eq!(replica.publish(event).await, Ok(()));
        }
    };
    join_all((0..64).map(caller)).await;

    let log = log(broker, &replica, &name).await;
    let mut came = HashMap::<&str, Vec<&str>>::new();
    for (key, name) in log.iter().flat_map(|entry| &entry.events) {
        came.entry(key).or_default().push(name);
    }
    let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    assert!(came.len() == 64 && came.values().all(|names| *names == expected), "{came:?}");
    assert!(log.len() < 64 * 20 / 4, "{} messages", log.len());
}

#[tokio::test]
async fn one_event_does_not_wait_behind_the_thousand_of_another_caller() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let replica = replica(&broker.url(), &[(&name, true)]).await;
    let thousand = |key| replica.bus.publish(events(&name, key, 1_000));
    let (a, b, c, one) = tokio::join!(
        thousand("a"),
        thousand("b"),
        thousand("c"),
        replica.publish(event(&name, "one", "one")),
    );
    [a, b, c].iter().for_each(|results| all_ok(results));
    assert_eq!(one, Ok(()));
    let log = log(broker, &replica, &name).await;
    let before = log.iter().flat_map(|entry| &entry.events).position(|(key, _)| key == "one");
    assert!(before.is_some_and(|before| before <= 3 * EVENTS), "behind {before:?}");
}

#[tokio::test]
async fn without_batches_each_event_is_an_entry() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let replica = replica(&broker.url(), &[(&name, false)]).await;
    all_ok(&replica.bus.publish(events(&name, "k", 1_000)).await);
    let log = log(broker, &replica, &name).await;
    assert!(log.len() == 1_000 && log.iter().all(|entry| !entry.is_batch), "{}", log.len());
    assert!(names(&log).concat().iter().enumerate().all(|(n, name)| *name == n.to_string()));
}

#[tokio::test]
async fn at_its_deadline_only_what_was_written_is_unknown_and_the_rest_never_comes() {
    let (mut broker, name) = (RabbitMq::exclusive().await, unique("a"));
    let replica = replica(&broker.url(), &[(&name, true)]).await;
    broker.freeze();
    let results = replica.bus.publish(events(&name, "k", 2_500)).await;
    broker.thaw();
    let (unknown, refused) = results.split_at(MESSAGES * EVENTS);
    assert!(unknown.iter().all(|one| *one == Err(PublishError::Unconfirmed)), "{unknown:?}");
    assert!(refused.iter().all(|one| matches!(one, Err(PublishError::Overloaded(_)))));

    let log = log(&broker, &replica, &name).await;
    let came = names(&log).concat();
    assert!(came.len() <= MESSAGES * EVENTS, "{} came", came.len());
    assert!(came.iter().enumerate().all(|(n, name)| *name == n.to_string()), "{came:?}");
}

#[tokio::test]
async fn a_channel_that_breaks_refuses_what_gathers() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let proxy = Proxy::to(broker.port()).await;
    let url = broker.url().replace(&broker.port().to_string(), &proxy.port().to_string());
    let replica = replica(&url, &[(&name, true)]).await;
    proxy.silence();
    let mut publishing = replica.bus.publish(events(&name, "k", 2_500));
    assert!(timeout(WRITTEN, &mut publishing).await.is_err(), "nothing is confirmed");
    proxy.cut();
    let results = within(DEADLINE, "the results", publishing).await;
    let (unknown, refused) = results.split_at(MESSAGES * EVENTS);
    assert!(unknown.iter().all(|one| *one == Err(PublishError::Unconfirmed)), "{unknown:?}");
    let lost = "the connection to the broker was lost";
    let unavailable =
        |one: &Result<_, _>| matches!(one, Err(PublishError::Unavailable(why)) if why == lost);
    assert!(refused.iter().all(unavailable), "{:?}", refused.iter().find(|one| !unavailable(one)));

    proxy.mend();
    let log = log(broker, &replica, &name).await;
    assert!(names(&log).concat().len() <= MESSAGES * EVENTS);
}

#[tokio::test]
async fn an_exchange_that_floods_leaves_room_for_others_and_for_questions() {
    let (mut broker, names) = (RabbitMq::exclusive().await, [unique("a"), unique("b")]);
    let [flood, other] = names.each_ref();
    let replica = replica(&broker.url(), &[(flood, false), (other, true)]).await;
    let ask = || replica.others.ask(replica.id, b"?".to_vec(), DEADLINE);
    let reachable = async { while ask().await.is_err() {} };
    within(DEADLINE, "an answer of its own", reachable).await;

    broker.freeze();
    let question = replica.others.ask(replica.id, b"?".to_vec(), WRITTEN);
    let (flooded, one, asked) = tokio::join!(
        replica.bus.publish(events(flood, "k", 5_000)),
        replica.publish(event(other, "k", "one")),
        question,
    );
    broker.thaw();
    assert_eq!(one, Err(PublishError::Unconfirmed), "it was written");
    assert_eq!(asked, Err(AskError::NoAnswer(replica.id)), "it was written, too");
    let unknown = flooded.iter().filter(|one| **one == Err(PublishError::Unconfirmed)).count();
    assert!((500..=1_000).contains(&unknown), "{unknown}");
}

#[tokio::test]
async fn the_events_of_a_message_that_leads_nowhere_are_all_refused() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let replica = replica(&broker.url(), &[(&name, true)]).await;
    Program::connect(broker).await.unbind(&name).await;
    let results = replica.bus.publish(events(&name, "k", 700)).await;
    for result in results {
        assert!(matches!(result, Err(PublishError::Unavailable(_))), "{result:?}");
    }
    assert_eq!(names(&log(broker, &replica, &name).await), Vec::<Vec<&str>>::new());
}

#[tokio::test]
async fn closing_waits_for_what_gathers() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let replica = replica(&broker.url(), &[(&name, true)]).await;
    let deadline = Instant::now() + DEADLINE;
    let thousand = |key| replica.bus.publish(events(&name, key, 1_000));
    let (a, b, c, ()) =
        tokio::join!(thousand("a"), thousand("b"), thousand("c"), replica.bus.close(deadline));
    [a, b, c].iter().for_each(|results| all_ok(results));
    let refused = replica.publish(event(&name, "k", "?")).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn metrics_and_console_say_how_many_events_share_a_message() {
    let (broker, app, name) = (RabbitMq::shared().await, TestHandler::start().await, unique("a"));
    let url = format!("--rabbitmq-url={}", broker.url());
    let gateway = Gateway::with(&app, &[&url, &format!("--exchange={name};batch=on")]).await;
    gateway.push(&name, "1", "Event", json!(0)).await;
    let events = (0..300).map(|n| push_request(&name, "1", "Event", &json!(n))).collect();
    let pushed = gateway.api().await.push_events(PushEventsRequest { events }).await;
    let results = pushed.expect("a result each").into_inner().results;
    assert!(results.iter().all(|one| one.code == Code::Ok as i32), "{results:?}");

    Scrape::of(&gateway).await.shows([
        ("myxi_bus_messages_published_total", 3),
        ("myxi_bus_events_per_message_count", 3),
        ("myxi_bus_events_per_message_sum", 301),
        (r#"myxi_bus_events_per_message_bucket{le="1.0"}"#, 1),
        (r#"myxi_bus_events_per_message_bucket{le="32.0"}"#, 1),
        (r#"myxi_bus_events_per_message_bucket{le="64.0"}"#, 2),
        (r#"myxi_bus_events_per_message_bucket{le="256.0"}"#, 3),
    ]);
    let (status, overview) = http::get(gateway.admin, "/api/overview", "localhost").await;
    assert_eq!(status, 200, "{overview}");
    let overview: Value = serde_json::from_str(&overview).expect("JSON");
    let average = overview["bus"]["events_per_message"].as_f64().expect("a number");
    assert!((100.0..101.0).contains(&average), "{average}");
}
