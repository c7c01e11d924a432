//! What becomes of a log under its reader: cut, made anew, silent, or with entries that nobody
//! understands. Promise 6: whatever a client misses, it is told of first.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lapin::BasicProperties;
use serde_json::json;
use tokio::time::sleep;
use tonic::Code;

use crate::support::{
    DEADLINE,
    client::Client,
    fleet::Fleet,
    gateway::{Addresses, Gateway, push_request},
    handler::{TestHandler, proto::PushEventsRequest},
    metrics::Scrape,
    process::Myxi,
    program::Program,
    proxy::Proxy,
    rabbitmq::RabbitMq,
    unique, within,
};

/// The numbers of events, with `None` where a gap was told, up to the event `Last`.
async fn heard(client: &mut Client) -> Vec<Option<u64>> {
    let mut heard = Vec::new();
    loop {
        let message = client.next().await;
        match message["event"].as_str() {
            Some("Event") => heard.push(Some(message["payload"].as_u64().expect("a number"))),
            Some("Gap") => heard.push(None),
            Some("Last") => return heard,
            _ => panic!("{message}"),
        }
    }
}

/// Wherever numbers are missing, a gap stands before the first one behind them.
fn nothing_is_missing_in_silence(heard: &[Option<u64>], first: u64, last: u64) {
    let (mut next, mut told) = (first, false);
    for one in heard.iter().copied().chain([Some(last + 1)]) {
        match one {
            None => told = true,
            Some(number) => {
                assert!(number >= next, "{number} again, or out of order: {heard:?}");
                assert!(number == next || told, "{next} to {number} are missing: {heard:?}");
                (next, told) = (number + 1, false);
            }
        }
    }
}

/// Pushes so many numbered events of one key, each before some bulk that nobody wants.
pub async fn push_with_bulk(replica: &Addresses, exchange: &str, numbers: std::ops::Range<u64>) {
    let mut api = replica.api().await;
    let bulk = json!("x".repeat(8_000));
    for number in numbers {
        let numbered = push_request(exchange, "1", "Event", &json!(number));
        let others = (0..9).map(|_| push_request(exchange, "unwanted", "Bulk", &bulk));
        let request = PushEventsRequest { events: [numbered].into_iter().chain(others).collect() };
        let results = api.push_events(request).await.expect("results").into_inner().results;
        assert!(results.iter().all(|result| result.code == Code::Ok as i32), "{results:?}");
    }
}

#[tokio::test]
async fn a_log_that_is_cut_behind_a_stopped_replica_is_told_before_what_comes_next() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    let name = fleet.exchange.clone();
    fleet.exchange = format!("{name};max-bytes=1MB;segment-bytes=500KB");
    fleet.add(broker, &[]).await;
    let flags = fleet.flags(broker);
    let stopped = Myxi::serve(&fleet.app, &[&flags[0], &flags[1]]).await;
    let mut clients = stopped.subscribers(2, &name, "1").await;
    let mut positioned = stopped.subscribers(1, &name, "1").await.remove(0);

    push_with_bulk(&fleet[0], &name, 0..10).await;
    fleet[0].push(&name, "1", "Begun", json!(0)).await;
    for client in &mut clients {
        client.event("Begun").await;
    }
    stopped.signal("STOP");
    // 30 MB: more than the sockets between hold, by far more than the log.
    push_with_bulk(&fleet[0], &name, 10..400).await;
    stopped.signal("CONT");

    // The gap is told with what comes behind the next marker.
    for client in &mut clients {
        let heard = tokio::select! {
            heard = heard(client) => heard,
            () = push_on(&fleet[0], &name, "Last") => unreachable!(),
        };
        nothing_is_missing_in_silence(&heard, 0, 399);
        assert!(heard.contains(&None), "nothing was lost: this test tests nothing");
    }
    let told = position_behind_a_gap(&mut positioned).await;
    let mut elsewhere = fleet[0].client().await;
    let after = json!({"exchange": name, "routing_key": "1", "after": told});
    elsewhere.send(json!({"action": "Subscribe", "payload": after})).await;
    assert_eq!(elsewhere.event("Subscribed").await["payload"]["recovered"], true);
}

/// Of the first event behind it, by which every other replica must know the place.
async fn position_behind_a_gap(client: &mut Client) -> String {
    let mut behind = false;
    loop {
        let message = client.positioned().await;
        behind |= message["event"] == "Gap";
        if let Some(position) = message["mq"]["id"].as_str().filter(|_| behind) {
            return position.to_owned();
        }
    }
}

async fn push_on(replica: &Addresses, exchange: &str, event: &str) {
    loop {
        replica.push(exchange, "1", event, json!(0)).await;
    }
}

/// The broker's part that sends to a reader is stopped: the connection lives, the consumer is
/// counted, nothing comes.
#[tokio::test]
async fn a_reader_that_the_broker_forgot_begins_anew_and_misses_nothing() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 2).await;
    let mut client = fleet[0].subscribers(1, &fleet.exchange, "1").await.remove(0);
    let numbers = async |from: u64, to: u64| {
        for number in from..to {
            fleet[1].push(&fleet.exchange, "1", "Event", json!(number)).await;
        }
    };
    numbers(0, 5).await;
    fleet[1].push(&fleet.exchange, "1", "Begun", json!(0)).await;
    client.event("Begun").await;

    let readers = broker.connections(&format!("reading {}", fleet.exchange)).await;
    assert_eq!(readers.len(), 2);
    let channels = broker.ctl(&["list_channels", "connection", "pid"]).await;
    for channel in channels.lines().filter_map(|line| line.split_once('\t')) {
        if readers.iter().any(|reader| reader == channel.0) {
            let pid = format!("rabbit_misc:string_to_pid(\"{}\")", channel.1);
            broker.ctl(&["eval", &format!("sys:suspend({pid}).")]).await;
        }
    }
    numbers(5, 10).await;
    // A new client is not told what is not so: its events come, too.
    let mut late = fleet[0].subscribers(1, &fleet.exchange, "1").await.remove(0);
    numbers(10, 15).await;
    fleet[1].push(&fleet.exchange, "1", "Last", json!(0)).await;

    let all: Vec<_> = (0..15).map(Some).collect();
    assert_eq!(heard(&mut client).await, all);
    assert!(heard(&mut late).await.ends_with(&all[10..]));
    Scrape::until(&fleet[0], "myxi_bus_stalls_total", |stalls| stalls >= 1.0).await;
    fleet[0].ready().await;
}

/// Offsets begin at 0 again, and what other programs publish has no id.
#[tokio::test]
async fn a_log_made_anew_with_the_same_entries_is_another_log() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 0).await;
    let flags = fleet.flags(broker);
    let replica = Myxi::serve(&fleet.app, &[&flags[0], &flags[1]]).await;
    let mut client = replica.subscribers(1, &fleet.exchange, "1").await.remove(0);
    let program = Program::connect(broker).await;
    let publish = async |event: &str, times: usize| {
        let body = format!(r#"{{"event":"{event}","payload":0}}"#);
        for _ in 0..times {
            program.publish(&fleet.exchange, "1", body.as_bytes()).await;
        }
    };
    publish("Event", 5).await;
    for _ in 0..5 {
        client.event("Event").await;
    }

    replica.signal("STOP");
    program.delete_log(&fleet.exchange).await;
    program.declare_log(&fleet.exchange, "3600s").await;
    program.bind(&fleet.exchange).await;
    publish("Event", 20).await;
    replica.signal("CONT");

    client.event("Gap").await;
    publish("Last", 1).await;
    client.event("Last").await;
}

/// What is published while a fleet is rolled to a build that publishes otherwise.
#[tokio::test]
async fn what_a_newer_replica_publishes_is_told_as_a_gap() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 0).await;
    let flags = fleet.flags(broker);
    let replica = Myxi::serve(&fleet.app, &[&flags[0], &flags[1]]).await;
    let mut client = replica.subscribers(1, &fleet.exchange, "1").await.remove(0);
    let mut elsewhere = replica.client().await;
    let program = Program::connect(broker).await;
    let newer = BasicProperties::default().with_type("myxi.of-tomorrow".into());

    replica.push(&fleet.exchange, "1", "Event", json!(0)).await;
    program.publish_with(&fleet.exchange, "1", b"\0\x01", newer.clone()).await;
    replica.push(&fleet.exchange, "1", "Event", json!(1)).await;
    replica.push(&fleet.exchange, "1", "Last", json!(0)).await;
    assert_eq!(heard(&mut client).await, [Some(0), None, Some(1)]);

    // It is told though no event follows.
    program.publish_with(&fleet.exchange, "1", b"\0\x01", newer).await;
    client.event("Gap").await;
    assert!(elsewhere.quiet().await);
    replica.logged("a newer replica publishes").await;
    let newer = r#"myxi_events_skipped_total{reason="newer"}"#;
    Scrape::until(&replica, newer, |skipped| skipped == 2.0).await;
}

/// However many events come, a replica that comes back finds a marker not far behind.
#[tokio::test]
async fn markers_stand_in_the_log_at_least_every_thousand_entries_or_so() {
    let (broker, app, exchange) =
        (RabbitMq::shared().await, TestHandler::start().await, unique("a"));
    // An entry for each event.
    let flags =
        [format!("--rabbitmq-url={}", broker.url()), format!("--exchange={exchange};batch=off")];
    let gateway = Gateway::with(&app, &[&flags[0], &flags[1]]).await;
    let mut client = gateway.subscribers(1, &exchange, "1").await.remove(0);
    let program = Program::connect(broker).await;
    let mut api = gateway.api().await;
    for _ in 0..5 {
        let event = |n| push_request(&exchange, "2", "Event", &json!(n));
        let request = PushEventsRequest { events: (0..1000).map(event).collect() };
        api.push_events(request).await.expect("pushed");
    }
    gateway.push(&exchange, "1", "Last", json!(0)).await;
    client.event("Last").await;

    let kinds = program.log_types(&exchange, 5001).await;
    let mut since_marker = 0;
    for kind in kinds {
        since_marker = if kind.as_deref() == Some("myxi.marker") { 0 } else { since_marker + 1 };
        assert!(since_marker < 2000, "no marker for so long");
    }
}

/// Closed connections, all of them and again and again, under load.
#[tokio::test]
async fn connections_that_are_closed_cost_nothing_that_was_taken() {
    let broker = RabbitMq::exclusive().await;
    let fleet = Fleet::start(&broker, 2).await;
    let mut client = fleet[0].subscribers(1, &fleet.exchange, "1").await.remove(0);
    let over = AtomicBool::new(false);
    let pushing = async {
        let mut taken = Vec::new();
        for number in 0u64.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let pushed = fleet[1].try_push(&fleet.exchange, "1", "Event", json!(number)).await;
            taken.extend((pushed == Code::Ok).then_some(number));
        }
        taken
    };
    let closing = async {
        for _ in 0..3 {
            broker.ctl(&["close_all_connections", "by the test"]).await;
            fleet[0].ready().await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let (taken, ()) = tokio::join!(pushing, closing);
    within(DEADLINE, "the last push is taken", async {
        while fleet[1].try_push(&fleet.exchange, "1", "Last", json!(0)).await != Code::Ok {}
    })
    .await;

    let heard: Vec<u64> =
        heard(&mut client).await.into_iter().map(|one| one.expect("no gap")).collect();
    assert!(heard.is_sorted_by(|a, b| a < b), "twice or out of order: {heard:?}");
    let lost: Vec<_> = taken.iter().filter(|number| !heard.contains(number)).collect();
    assert!(lost.is_empty(), "taken, and never delivered: {lost:?}");
}

/// A broker that takes its time is not one whose log was made anew.
#[tokio::test]
async fn a_broker_that_is_slow_to_deliver_costs_no_event() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 1).await;
    let proxy = Proxy::to(broker.port()).await;
    let through = format!("--rabbitmq-url=amqp://myxi:myxi@127.0.0.1:{}/%2f", proxy.port());
    let exchange = format!("--exchange={}", fleet.exchange);
    fleet.replicas.push(Gateway::with(&fleet.app, &[&through, &exchange]).await);
    let mut client = fleet[1].subscribers(1, &fleet.exchange, "1").await.remove(0);
    fleet[0].push(&fleet.exchange, "1", "Event", json!(0)).await;
    client.await_that(|message| message["payload"] == 0).await;

    proxy.deliver_nothing();
    for reader in broker.connections(&format!("reading {}", fleet.exchange)).await {
        broker.ctl(&["close_connection", &reader, "by the test"]).await;
    }
    for number in 1..5 {
        fleet[0].push(&fleet.exchange, "1", "Event", json!(number)).await;
    }
    // It has begun to read, has heard nothing, and has looked for the log's end.
    within(DEADLINE, "an attempt to read that failed", async {
        while !fleet[1].health().await.1["reasons"].to_string().contains("marker in the log") {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    proxy.mend();
    fleet[0].push(&fleet.exchange, "1", "Last", json!(0)).await;

    assert_eq!(heard(&mut client).await, [Some(1), Some(2), Some(3), Some(4)]);
}
