//! The overview and the history.

use serde_json::{Value, json};
use tonic::Status;

use super::Console;
use crate::support::{
    gateway::Gateway,
    handler::{TestHandler, reply},
};

#[tokio::test]
async fn a_healthy_gateway_says_what_it_is_and_does() {
    let app = TestHandler::start().await;
    app.on("Hello", |_| Ok(Default::default()));
    let flags = ["--exchange=widgets,gadgets", "--worker-threads=2", "--max-in-flight=7"];
    let gateway = Gateway::with(&app, &flags).await;
    let console = Console::of(&gateway);
    let mut clients = gateway.subscribers(3, "widgets", "1").await;
    assert_eq!(clients[0].request("Hello", json!({})).await["event"], "Done");
    clients[1].error("Nonsense", json!({})).await;
    gateway.push("widgets", "1", "Changed", json!({})).await;
    for client in &mut clients {
        client.event("Changed").await;
    }

    let overview = console.read("/api/overview").await;
    assert_eq!(overview["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(overview["replica"], clients[0].id[..8]);
    assert_eq!(overview["clients"], json!({"port": gateway.clients.port(), "path": "/"}));
    assert!(overview["started_ms"].as_u64() <= overview["now_ms"].as_u64(), "{overview}");
    assert_eq!((&overview["status"], &overview["reasons"]), (&json!("ready"), &json!([])));
    let bus = json!({"kind": "memory", "connected": true, "blocked": false,
        "lag_ms": overview["bus"]["lag_ms"], "events_per_message": null, "duplicates": 0,
        "exchanges": [{"name": "gadgets", "attached": true}, {"name": "widgets", "attached": true}]});
    assert_eq!(overview["bus"], bus);
    let application = &overview["application"];
    assert_eq!((&application["reachable"], &application["problem"]), (&json!(true), &Value::Null));
    assert_eq!(application["address"], app.endpoint());
    assert_eq!((&application["in_flight"], &application["max_in_flight"]), (&json!(0), &json!(7)));
    let now = json!({"connections": 3, "sessions": 3, "subscriptions": 3, "outbox_bytes": 0,
        "topics": 1});
    assert_eq!(overview["now"], now);
    for rate in ["events", "deliveries", "actions", "errors", "bytes_out"] {
        assert!(overview["per_second"][rate].is_number(), "{rate}: {overview}");
    }
    assert!(application["p50_ms"].as_f64() > Some(0.0), "{overview}");
    let mut actions = overview["actions"].as_array().expect("actions").iter();
    let hello = actions.find(|row| row["action"] == "Hello").expect("it was asked for");
    assert_eq!((&hello["count"], &hello["errors"]), (&json!(1), &json!(0)));
    assert!(hello["p99_ms"].as_f64() > Some(0.0), "{overview}");
    assert_eq!(overview["errors"], json!([{"code": "InvalidAction", "count": 1}]));
    assert_eq!(overview["closed"], json!([]));

    drop(clients);
    let overview = console.awaits("/api/overview", |it| it["closed"][0]["count"] == 3).await;
    assert!(overview["closed"][0]["reason"].is_string(), "{overview}");
    console.awaits("/api/overview", |it| it["now"]["connections"] == 0).await;
}

#[tokio::test]
async fn an_action_that_only_fails_is_there_with_what_it_fails_of() {
    let app = TestHandler::start().await;
    app.on("Buy", |_| Err(Status::internal("division by zero")));
    app.on("Sell", |_| Ok(reply::error("SoldOut", "", false)));
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for action in ["Buy", "Sell", "Buy", "Bye"] {
        client.error(action, json!({})).await;
    }
    let overview = Console::of(&gateway).read("/api/overview").await;
    let row = |name: &str| {
        let mut rows = overview["actions"].as_array().expect("actions").iter();
        rows.find(|row| row["action"] == name).unwrap_or_else(|| panic!("{name}: {overview}"))
    };
    let buy = row("Buy");
    assert_eq!((&buy["count"], &buy["errors"]), (&json!(2), &json!(2)));
    let started = overview["started_ms"].as_u64();
    assert!(buy["last_error"]["at_ms"].as_u64() >= started, "{overview}");
    for (name, words) in [
        ("Buy", ["InternalError", "INTERNAL: division by zero"]),
        ("Sell", ["application", "SoldOut"]),
        ("Bye", ["InvalidAction", "does not know"]),
    ] {
        let told = row(name)["last_error"]["text"].as_str().expect("a text");
        assert!(words.iter().all(|word| told.contains(word)), "{name}: {told}");
    }
}

#[tokio::test]
async fn an_application_and_a_broker_that_are_away_are_told_apart() {
    let app = TestHandler::start().await;
    app.kill();
    let flags = ["--exchange=widgets", "--rabbitmq-url=amqp://127.0.0.1:1"];
    let gateway = Gateway::unready(&app, &flags).await;
    let console = Console::of(&gateway);
    let overview = console.awaits("/api/overview", |it| it["bus"]["connected"] == false).await;
    assert_eq!(overview["bus"]["kind"], "rabbitmq");
    assert_eq!(overview["bus"]["exchanges"], json!([{"name": "widgets", "attached": false}]));
    assert_eq!(overview["status"], "starting");
    assert_eq!(overview["application"]["reachable"], false, "known before the first client");
    assert!(overview["application"]["problem"].is_string(), "{overview}");
    let told = |what: &str| overview["reasons"].to_string().contains(what);
    assert!(told("RabbitMQ") && told("the application"), "{overview}");
}

#[tokio::test]
async fn the_history_gains_points_by_itself() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let console = Console::of(&gateway);
    let history = console.read("/api/history").await;
    assert_eq!(history["interval_ms"], 5_000);
    assert_eq!(history["series"]["sessions"], json!([]));
    let history = console.awaits("/api/history", |it| it["series"]["sessions"][0] == 0).await;
    let series = history["series"].as_object().expect("series");
    let names = [
        "connections",
        "sessions",
        "events",
        "deliveries",
        "actions",
        "errors",
        "action_p99_ms",
        "application_p99_ms",
        "in_flight",
        "outbox_bytes",
        "bus_lag_ms",
        "bytes_out",
    ];
    assert_eq!(series.len(), names.len());
    for name in names {
        assert_eq!(series[name].as_array().map(Vec::len), Some(1), "{name}");
    }
    assert_eq!((&series["action_p99_ms"], &series["events"]), (&json!([null]), &json!([0.0])));
    let now = console.read("/api/overview").await["now_ms"].as_u64().expect("a time");
    let end = history["end_ms"].as_u64().expect("a time");
    assert!(end <= now && now - end < 5_000, "{end} {now}");
}
