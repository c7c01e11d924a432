//! What the operator sees of those who come back: each wish for what was missed is counted once,
//! when it is over.

use serde_json::{Value, json};

use super::{Replicas, numbers};
use crate::{
    admin::Console,
    delivery::stopped_reader,
    from_the_log::{position, push_large},
    support::{
        client::Client,
        fleet::Fleet,
        gateway::{Addresses, Gateway},
        metrics::Scrape,
        rabbitmq::RabbitMq,
    },
};

const UNDER_WAY: &str = "myxi_resumes_under_way";
const FROM_MEMORY: &str = r#"myxi_events_replayed_total{source="buffer"}"#;
const FROM_THE_LOG: &str = r#"myxi_events_replayed_total{source="log"}"#;

fn over(asked: &str, result: &str) -> String {
    format!(r#"myxi_resumes_total{{asked="{asked}",result="{result}"}}"#)
}

/// Only these wishes were over by now, so many of each.
async fn are_over(gateway: &Addresses, expected: &[(&str, &str, u64)]) -> Scrape {
    let scrape = Scrape::of(gateway).await;
    for (asked, result, count) in expected {
        scrape.shows([(&*over(asked, result), *count)]);
    }
    let all = scrape.keys().into_iter().filter(|key| key.starts_with("myxi_resumes_total"));
    let sum: f64 = all.map(|key| scrape.value(key)).sum();
    assert_eq!(sum, expected.iter().map(|(.., count)| *count as f64).sum::<f64>());
    scrape
}

/// Until it has read so many events, whoever wants them.
async fn has_read(gateway: &Addresses, events: u64) {
    let received = "myxi_events_received_total";
    Scrape::until(gateway, received, |read| read == events as f64).await;
}

/// Asks for what was missed, and reads nothing.
async fn ask_and_stop(gateway: &Gateway, exchange: &str, keys: &[&str], after: &str) -> Client {
    let mut client = stopped_reader(gateway).await;
    let payload = json!({"exchange": exchange, "routing_keys": keys, "after": after});
    client.send(json!({"action": "Subscribe", "tag": 1, "payload": payload})).await;
    client
}

/// The first answer that says something of the log.
async fn asked_until_told(gateway: &Gateway, exchange: &str, after: &str) -> (Client, Value) {
    loop {
        let mut client = ask_and_stop(gateway, exchange, &["1"], after).await;
        let answer = client.positioned().await;
        let error = answer["payload"]["error"].as_str();
        // On a machine that is slow it may have to be asked for again, which counts for nothing.
        if !error.is_some_and(|code| ["ExchangeUnavailable", "ActionTimeout"].contains(&code)) {
            return (client, answer);
        }
    }
}

/// Until the console shows a session with so many subscriptions that catch up.
async fn catching_up(gateway: &Gateway, count: u64) -> Value {
    let path = "/api/sessions?sort=outbox&limit=100";
    let row = |table: &Value| {
        let mut rows = table["sessions"].as_array().expect("rows").iter();
        rows.find(|row| row["catching_up"] == count).cloned()
    };
    let table = Console::of(gateway).awaits(path, |table| row(table).is_some()).await;
    row(&table).expect("it is there")
}

#[tokio::test]
async fn each_wish_is_counted_by_what_became_of_it() {
    let on = Replicas::memory(&["--resume-buffer=1MiB"]).await;
    let old = position(&on.first, &on.exchange).await;
    on.push_all("1", 0..3).await;
    has_read(&on.first, 3).await;
    let mut client = on.resuming(&on.first).await;
    let replay = client.recover(&["1", "2"], json!({"after": old}), 3).await;
    assert_eq!(replay.events, numbers(0..3));
    assert_eq!(client.recover(&["3"], json!({"last": 1}), 0).await.count, 0);
    let mut client = on.resuming(&on.first).await;
    assert_eq!(client.recover(&["1"], json!({"last": 2}), 2).await.count, 2);
    assert_eq!(client.not_recovered(&["3"], json!({"after": "?"})).await, "unknown");

    let large = |_| ("large", json!("x".repeat(100_000)));
    on.first.push_many(&on.exchange, "Changed", (0..20).map(large)).await;
    has_read(&on.first, 23).await;
    let mut client = on.resuming(&on.first).await;
    assert_eq!(client.not_recovered(&["large"], json!({"last": 4})).await, "too_many");
    assert_eq!(client.not_recovered(&["1"], json!({"after": old})).await, "expired");
    // What is no wish, or is refused before, is not counted.
    client.client.error("Subscribe", json!({"exchange": on.exchange, "last": 0})).await;
    client.subscribe(&["2"]).await;

    let expected = [
        ("last", "recovered", 2),
        ("after", "expired", 1),
        ("after", "recovered", 1),
        ("after", "unknown", 1),
        ("last", "too_many", 1),
    ];
    let scrape = are_over(&on.first, &expected).await;
    scrape.shows([
        (UNDER_WAY, 0),
        (FROM_MEMORY, 5),
        (FROM_THE_LOG, 0),
        ("myxi_resume_buffer_max_bytes", 1 << 20),
    ]);
    let of_exchange = |metric: &str| {
        scrape.value(&format!("myxi_resume_buffer_{metric}{{exchange=\"{}\"}}", on.exchange))
    };
    assert!((1.0..20.0).contains(&of_exchange("entries")), "{}", scrape.text);
    assert!((500e3..=1_048_576.0).contains(&of_exchange("bytes")), "{}", scrape.text);
    assert!(of_exchange("age_seconds") < 60.0, "{}", scrape.text);

    let resumes = &Console::of(&on.first).read("/api/overview").await["resumes"];
    let rows = expected
        .map(|(asked, result, count)| json!({"asked": asked, "result": result, "count": count}));
    assert_eq!(resumes["results"], json!(rows), "the most first");
    assert_eq!(resumes["replayed"], json!({"buffer": 5, "log": 0}));
    assert_eq!(resumes["log"], json!({"readings": 0, "waiting": 0, "refused": 0}));
    let buffer = &resumes["buffer"];
    assert_eq!(
        (&buffer["max_bytes"], &buffer["bytes"]),
        (&json!(1 << 20), &buffer["exchanges"][0]["bytes"])
    );
    assert_eq!(buffer["exchanges"][0]["name"], on.exchange);
    assert!(buffer["exchanges"][0]["age_ms"].as_f64() < Some(60e3), "{buffer}");
}

#[tokio::test]
async fn whoever_still_catches_up_shows_and_so_does_how_that_ends() {
    let on = Replicas::memory(&[]).await;
    let after = position(&on.first, &on.exchange).await;
    // More than any socket holds.
    let large = |_| ("1", json!("x".repeat(10_000)));
    on.first.push_many(&on.exchange, "Changed", (0..1_000).map(large)).await;
    has_read(&on.first, 1_000).await;

    let mut stopped = ask_and_stop(&on.first, &on.exchange, &["1", "2"], &after).await;
    assert_eq!(catching_up(&on.first, 2).await["subscriptions"], 2);
    are_over(&on.first, &[]).await.shows([(UNDER_WAY, 1)]);
    stopped.send(json!({"action": "Unsubscribe", "payload": {}})).await;
    stopped.await_that(|message| message["event"] == "Replayed").await;
    are_over(&on.first, &[("after", "unsubscribed", 1)]).await.shows([(UNDER_WAY, 0)]);

    let stopped = ask_and_stop(&on.first, &on.exchange, &["1"], &after).await;
    catching_up(&on.first, 1).await;
    drop(stopped);
    Scrape::until(&on.first, UNDER_WAY, |under_way| under_way == 0.0).await;
    are_over(&on.first, &[("after", "unsubscribed", 1), ("after", "cut_off", 1)]).await;
}

#[tokio::test]
async fn what_the_log_alone_has_is_counted_apart() {
    const EVENTS: u64 = 600;
    let on = Replicas::rabbitmq(&["--resume-buffer=1MiB"]).await;
    let after = position(&on.first, &on.exchange).await;
    let large = |number: u64| ("1", json!([number, "x".repeat(20_000)]));
    on.first.push_many(&on.exchange, "Changed", (0..EVENTS).map(large)).await;
    has_read(&on.first, EVENTS).await;

    let readings = format!("myxi_log_readings{{exchange=\"{}\"}}", on.exchange);
    let mut back = ask_and_stop(&on.first, &on.exchange, &["1"], &after).await;
    Scrape::until(&on.first, &readings, |readings| readings == 1.0).await;
    let replayed = back.await_that(|message| message["event"] == "Replayed").await;
    assert_eq!(replayed["payload"]["count"], EVENTS);
    let scrape = are_over(&on.first, &[("after", "recovered", 1)]).await;
    let (memory, log) = (scrape.value(FROM_MEMORY), scrape.value(FROM_THE_LOG));
    assert!(memory + log == EVENTS as f64 && log > memory, "{memory} and {log}");
    scrape.shows([("myxi_log_readers_waiting", 0), ("myxi_log_readers_refused_total", 0)]);
    Scrape::until(&on.first, &readings, |readings| readings == 0.0).await;
}

/// More places than are read at a time, and nobody reads on.
#[tokio::test]
async fn whoever_waits_for_the_log_in_vain_is_counted() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    let exchange = fleet.exchange.clone();
    fleet.add(broker, &["--resume-buffer=1MiB", "--action-timeout=2s"]).await;
    let mut places = Vec::new();
    for place in 0..5 {
        places.push(position(&fleet[0], &exchange).await);
        push_large(&fleet[0], &exchange, place * 250..(place + 1) * 250).await;
    }
    has_read(&fleet[0], 5 * 250).await;

    let mut back = Vec::new();
    for after in places.iter().cycle() {
        let (client, answer) = asked_until_told(&fleet[0], &exchange, after).await;
        back.push(client);
        if answer["payload"]["reason"] == "too_many" {
            break;
        }
        assert_eq!(answer["payload"]["recovered"], true, "{answer}");
    }
    let scrape = Scrape::of(&fleet[0]).await;
    scrape.shows([(&*over("after", "too_many"), 1)]);
    assert!(scrape.value("myxi_log_readers_refused_total") >= 1.0, "{}", scrape.text);
    assert!(scrape.value(UNDER_WAY) >= 4.0, "{}", scrape.text);
}
