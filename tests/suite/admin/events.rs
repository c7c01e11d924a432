//! The tail of events.

use serde_json::{Value, json};

use super::Console;
use crate::support::{gateway::Gateway, handler::TestHandler};

fn names(tail: &Value) -> Vec<&str> {
    let events = tail["events"].as_array().expect("events");
    events.iter().map(|event| event["event"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn events_are_shown_while_somebody_watches() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--worker-threads=2"];
    let gateway = Gateway::with(&app, &flags).await;
    let console = Console::of(&gateway);
    let mut clients = gateway.subscribers(3, "widgets", "1").await;

    gateway.push("widgets", "1", "Unseen", json!({})).await;
    for client in &mut clients {
        client.event("Unseen").await;
    }
    let nothing = json!({"next": 0, "skipped": 0, "unwatched": false, "events": []});
    assert_eq!(console.read("/api/events").await, nothing, "nobody had asked");

    gateway.push("widgets", "1", "Changed", json!({"quantity": 7})).await;
    gateway.push("widgets", "2", "Renamed", json!({"name": "ü".repeat(1_000)})).await;
    let tail = console.awaits("/api/events", |tail| tail["next"] == 2).await;
    assert_eq!(names(&tail), ["Changed", "Renamed"]);
    let first = &tail["events"][0];
    assert!(first["at_ms"].as_u64() > Some(1_600_000_000_000), "{first}");
    let shown = json!({"seq": 1, "at_ms": first["at_ms"], "exchange": "widgets",
        "routing_key": "1", "event": "Changed", "payload": r#"{"quantity":7}"#,
        "bytes": 14, "subscribers": 3});
    assert_eq!(*first, shown);
    let second = &tail["events"][1];
    assert_eq!(second["payload"].as_str().map(|text| text.chars().count()), Some(1_001));
    assert_eq!((&second["bytes"], &second["subscribers"]), (&json!(2_011), &json!(0)));

    for (query, found) in [
        ("?after=1", vec!["Renamed"]),
        ("?after=2", vec![]),
        ("?after=99", vec!["Changed", "Renamed"]),
        ("?filter=CHANGED", vec!["Changed"]),
        ("?filter=quantity%22%3A7", vec!["Changed"]),
        ("?filter=widgets", vec!["Changed", "Renamed"]),
        ("?filter=2&after=1", vec!["Renamed"]),
        ("?filter=nothing", vec![]),
    ] {
        let tail = console.read(&format!("/api/events{query}")).await;
        assert_eq!(names(&tail), found, "{query}");
        assert_eq!((&tail["next"], &tail["skipped"]), (&json!(2), &json!(0)), "{query}");
    }
    assert_eq!(console.get("/api/events?after=x").await.status, 400);
}

#[tokio::test]
async fn what_is_too_much_to_show_is_counted() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let console = Console::of(&gateway);
    console.read("/api/events").await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "1").await;
    let events =
        (0..300).map(|_| crate::support::gateway::push_request("widgets", "1", "E", &json!(1)));
    let request = crate::support::handler::proto::PushEventsRequest { events: events.collect() };
    gateway.api().await.push_events(request).await.expect("pushed");
    for _ in 0..300 {
        client.event("E").await;
    }
    let tail = console.read("/api/events?after=0").await;
    assert_eq!(tail["next"], 300);
    let shown = tail["events"].as_array().expect("events").len() as u64;
    assert!((100..=200).contains(&shown), "{shown}");
    assert_eq!(tail["skipped"], 300 - shown);
}
