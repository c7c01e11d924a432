//! `/metrics`: each number moves when the thing happens, and what a client writes never
//! shows up.

mod docs;

use lapin::{BasicProperties, options::BasicPublishOptions};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout},
};
use tonic::{Code, Status};

use crate::{
    delivery::stopped_reader,
    support::{
        DEADLINE,
        fleet::Fleet,
        frames::{self, FIN},
        gateway::{Gateway, push_request},
        handler::{
            TestHandler,
            proto::{Decision, Disconnect, HandleActionResponse, PushEventsRequest},
            reply,
        },
        http,
        metrics::Scrape,
        rabbitmq::RabbitMq,
    },
};

/// An opcode that means nothing.
const RESERVED: u8 = 0x3;

#[tokio::test]
async fn the_page_is_open_metrics_and_complete_from_the_start() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let response = http::exchange(gateway.admin, request.as_bytes()).await.to_lowercase();
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(response.contains(&format!("content-type: {content_type}\r\n")));

    let scrape = Scrape::of(&gateway).await;
    scrape.shows([
        ("myxi_ready", 1),
        (concat!("myxi_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1),
        (r#"myxi_bus_info{kind="memory"}"#, 1),
        ("myxi_bus_connected", 1),
        ("myxi_bus_blocked", 0),
        (r#"myxi_bus_exchange_attached{exchange="widgets"}"#, 1),
        ("myxi_application_reachable", 1),
        // Every value of a label is there before it happens: a first one is an increase.
        (r#"myxi_sessions_closed_total{reason="slow_consumer"}"#, 0),
        (r#"myxi_actions_total{outcome="Busy"}"#, 0),
    ]);
    let started = scrape.value("process_start_time_seconds");
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs_f64();
    assert!((now - 60.0..=now).contains(&started), "{started} at {now}");
}

#[tokio::test]
async fn sessions_and_connections_are_counted_from_first_to_last() {
    let app = TestHandler::start().await;
    app.on("Leave", |_| {
        let disconnect = Some(Disconnect { code: 4001, reason: String::new() });
        Ok(HandleActionResponse { disconnect, ..Default::default() })
    });
    let gateway = Gateway::start(&app).await;
    let (one, mut other) = (gateway.client().await, gateway.client().await);
    Scrape::of(&gateway).await.shows([
        ("myxi_connections", 2),
        ("myxi_sessions", 2),
        ("myxi_sessions_opened_total", 2),
    ]);
    one.close().await;
    other.send(json!({"action": "Leave"})).await;
    assert_eq!(other.closed().await.code, 4001);
    let mut broken = gateway.client().await;
    broken.send_bytes(&frames::frame(FIN | RESERVED, b"x")).await;
    assert_eq!(broken.closed().await.code, 1002);
    drop((other, broken, gateway.client().await));

    let scrape = Scrape::until(&gateway, "myxi_connections", |open| open == 0.0).await;
    scrape.shows([
        ("myxi_sessions", 0),
        ("myxi_sessions_opened_total", 4),
        (r#"myxi_sessions_closed_total{reason="client"}"#, 1),
        (r#"myxi_sessions_closed_total{reason="application"}"#, 1),
        (r#"myxi_sessions_closed_total{reason="protocol_error"}"#, 1),
        (r#"myxi_sessions_closed_total{reason="lost"}"#, 1),
    ]);
}

/// Cut off for what it does not read, it is counted as such, and so is what waited for it.
#[tokio::test]
async fn a_slow_consumer_is_counted_and_what_waits_for_it() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--max-outbox=256KiB"]).await;
    let mut stopped = stopped_reader(&gateway).await;
    stopped.subscribe("widgets", "flood").await;
    let blob = json!("x".repeat(15 << 10));
    let began = Instant::now();
    let mut waited = 0.0_f64;
    while began.elapsed() < DEADLINE {
        gateway.push("widgets", "flood", "Flood", blob.clone()).await;
        let scrape = Scrape::of(&gateway).await;
        waited = waited.max(scrape.value("myxi_outbox_bytes"));
        if scrape.value(r#"myxi_sessions_closed_total{reason="slow_consumer"}"#) == 1.0 {
            scrape.shows([("myxi_outbox_bytes", 0), ("myxi_subscriptions", 0)]);
            assert!((1.0..=262_144.0).contains(&waited), "{waited} bytes waited");
            return;
        }
    }
    panic!("not cut off; {waited} bytes waited");
}

#[tokio::test]
async fn actions_are_counted_by_what_became_of_them() {
    let app = TestHandler::start().await;
    app.on("Hello", |_| Ok(Default::default()))
        .on("Deny", |_| Err(Status::permission_denied("no")))
        .on("Own", |_| Ok(reply::error("WidgetSoldOut", "", false)))
        .hang_on("Hang");
    let flags = ["--exchange=widgets", "--action-timeout=8s"];
    let gateway = Gateway::with(&app, &flags).await;
    let mut client = gateway.client().await;
    for (action, event) in [("Hello", "Done"), ("Hello", "Done"), ("Ping", "Pong")] {
        assert_eq!(client.request(action, json!({})).await["event"], event);
    }
    for (action, code) in [
        ("Deny", "PermissionDenied"),
        ("Own", "WidgetSoldOut"),
        ("Nothing", "InvalidAction"),
        ("Hang", "ActionTimeout"),
    ] {
        assert_eq!(client.error(action, json!({})).await["error"], code);
    }
    client.send_text("{").await;
    client.event("Error").await;
    assert!(client.quiet().await);

    Scrape::of(&gateway).await.shows([
        (r#"myxi_actions_total{outcome="ok"}"#, 4),
        (r#"myxi_actions_total{outcome="PermissionDenied"}"#, 1),
        (r#"myxi_actions_total{outcome="application"}"#, 1),
        (r#"myxi_actions_total{outcome="InvalidAction"}"#, 1),
        (r#"myxi_actions_total{outcome="ActionTimeout"}"#, 1),
        (r#"myxi_actions_total{outcome="InvalidJSON"}"#, 1),
        (r#"myxi_errors_total{code="PermissionDenied"}"#, 1),
        (r#"myxi_errors_total{code="application"}"#, 1),
        (r#"myxi_errors_total{code="InvalidJSON"}"#, 1),
        (r#"myxi_action_duration_seconds_count{kind="application"}"#, 6),
        (r#"myxi_action_duration_seconds_count{kind="gateway"}"#, 3),
        // The one that hung.
        (r#"myxi_action_duration_seconds_bucket{le="5.0",kind="application"}"#, 5),
        (r#"myxi_application_calls_total{rpc="HandleAction",status="OK"}"#, 3),
        (r#"myxi_application_calls_total{rpc="HandleAction",status="PERMISSION_DENIED"}"#, 1),
        (r#"myxi_application_calls_total{rpc="HandleAction",status="UNIMPLEMENTED"}"#, 1),
        (r#"myxi_application_calls_total{rpc="HandleAction",status="timeout"}"#, 1),
        (r#"myxi_application_call_duration_seconds_count{rpc="HandleAction"}"#, 6),
    ]);
}

#[tokio::test]
async fn calls_are_in_flight_until_they_end_and_an_application_is_reachable_until_it_dies() {
    const IN_FLIGHT: &str = r#"myxi_application_calls_in_flight{rpc="HandleAction"}"#;
    let app = TestHandler::start().await;
    app.hang_on("Hang");
    let flags = ["--exchange=widgets", "--max-in-flight=1", "--action-timeout=1h"];
    let gateway = Gateway::with(&app, &flags).await;
    let (mut one, mut other) = (gateway.client().await, gateway.client().await);
    one.send(json!({"action": "Hang", "tag": 1})).await;
    app.next("HandleAction").await;
    Scrape::of(&gateway).await.shows([(IN_FLIGHT, 1), ("myxi_application_reachable", 1)]);
    assert_eq!(other.error("Hang", json!({})).await["error"], "Busy");
    app.kill();
    one.event("Error").await;
    let scrape = Scrape::until(&gateway, "myxi_application_reachable", |up| up == 0.0).await;
    scrape.shows([
        (IN_FLIGHT, 0),
        (r#"myxi_application_calls_total{rpc="HandleAction",status="no_turn"}"#, 1),
        (r#"myxi_application_calls_total{rpc="HandleAction",status="lost"}"#, 1),
        (r#"myxi_actions_total{outcome="Busy"}"#, 1),
    ]);
}

#[tokio::test]
async fn subscriptions_are_held_and_checks_decided() {
    let app = TestHandler::start().await;
    app.on_check(|request| {
        let decide = |key: &str| match key {
            "denied" => Ok(Decision::Deny),
            "failing" => Err(Status::internal("it fails")),
            _ => Ok(Decision::Allow),
        };
        let topics = request.topics.iter();
        let decisions =
            topics.map(|topic| decide(&topic.routing_key)).collect::<Result<Vec<_>, _>>();
        decisions.map(reply::decisions)
    });
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let keys = json!({"exchange": "widgets", "routing_keys": ["1", "2", "denied", "3"]});
    client.send(json!({"action": "Subscribe", "payload": keys})).await;
    for event in ["Subscribed", "Subscribed", "Error", "Subscribed"] {
        assert_eq!(client.next().await["event"], event);
    }
    let failing = json!({"exchange": "widgets", "routing_key": "failing"});
    assert_eq!(client.error("Subscribe", failing).await["error"], "InternalError");
    let one = json!({"exchange": "widgets", "routing_key": "1"});
    assert_eq!(client.request("Unsubscribe", one).await["event"], "Unsubscribed");
    Scrape::of(&gateway).await.shows([
        ("myxi_subscriptions", 2),
        (r#"myxi_subscription_checks_total{reason="subscribe",decision="allow"}"#, 3),
        (r#"myxi_subscription_checks_total{reason="subscribe",decision="deny"}"#, 1),
        (r#"myxi_subscription_checks_total{reason="subscribe",decision="failed"}"#, 1),
        (r#"myxi_actions_total{outcome="SubscriptionDenied"}"#, 1),
        (r#"myxi_actions_total{outcome="InternalError"}"#, 1),
        (r#"myxi_action_duration_seconds_count{kind="subscribe"}"#, 2),
    ]);
    client.close().await;
    Scrape::until(&gateway, "myxi_subscriptions", |held| held == 0.0).await;
}

#[tokio::test]
async fn rechecks_are_counted_apart() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--recheck-interval=1s"];
    let gateway = Gateway::with(&app, &flags).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "1").await;
    app.on_check(|request| Ok(reply::deny_all(&request)));
    client.event("Unsubscribed").await;
    let denied = r#"myxi_subscription_checks_total{reason="recheck",decision="deny"}"#;
    Scrape::of(&gateway).await.shows([(denied, 1), ("myxi_subscriptions", 0)]);
}

#[tokio::test]
async fn an_event_is_counted_on_its_whole_way() {
    an_event_on_its_way(&["--exchange=widgets"]).await;
}

/// Each thread delivers to its own sessions, and times one of them; the event is one.
#[tokio::test]
async fn an_event_is_counted_once_where_several_threads_deliver_it() {
    an_event_on_its_way(&["--exchange=widgets", "--worker-threads=3"]).await;
}

async fn an_event_on_its_way(flags: &[&str]) {
    const EVENTS: u64 = 5;
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, flags).await;
    let mut clients = gateway.subscribers(3, "widgets", "1").await;
    let before = Scrape::of(&gateway).await;
    for _ in 0..EVENTS {
        gateway.push("widgets", "1", "Changed", json!("x".repeat(1_000))).await;
        gateway.push("widgets", "nobody", "Changed", json!({})).await;
    }
    for client in &mut clients {
        for _ in 0..EVENTS {
            client.event("Changed").await;
        }
    }
    assert_eq!(gateway.try_push("nothing", "1", "Changed", json!({})).await, Code::NotFound);
    let bad = push_request("widgets", "a\u{7}", "Changed", &json!({}));
    let good = push_request("widgets", "nobody", "Changed", &json!({}));
    let request = PushEventsRequest { events: vec![bad, good] };
    gateway.api().await.push_events(request).await.expect("pushed");

    let written = "myxi_publish_to_write_seconds_count";
    let timed = EVENTS as f64..=3.0 * EVENTS as f64;
    let scrape = Scrape::until(&gateway, written, |count| timed.contains(&count)).await;
    scrape.shows([
        (r#"myxi_events_published_total{result="ok"}"#, 2 * EVENTS + 1),
        (r#"myxi_events_published_total{result="unknown_exchange"}"#, 1),
        (r#"myxi_events_published_total{result="invalid"}"#, 1),
        ("myxi_events_received_total", 2 * EVENTS + 1),
        ("myxi_deliveries_total", 3 * EVENTS),
    ]);
    // It took less than a minute, and not no time at all.
    let took = scrape.value("myxi_publish_to_write_seconds_sum");
    assert!(took > 0.0 && took < 60.0, "{took}");
    assert!(scrape.value(r#"myxi_bus_lag_seconds{exchange="widgets"}"#) < 60.0);
    let sent = scrape.value("myxi_sent_bytes_total") - before.value("myxi_sent_bytes_total");
    let least = (3 * EVENTS * 1_000) as f64;
    assert!((least..2.0 * least).contains(&sent), "{sent} bytes sent");

    let text = r#"{"action":"Ping","tag":1}"#;
    let before = scrape.value("myxi_received_bytes_total");
    clients[0].ask(text).await;
    let after = Scrape::of(&gateway).await.value("myxi_received_bytes_total");
    assert_eq!(after - before, text.len() as f64);
}

#[tokio::test]
async fn what_becomes_no_websocket_is_counted_by_reason() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--max-connections=1", "--handshake-timeout=4s"];
    let gateway = Gateway::with(&app, &flags).await;
    let _only = gateway.client().await;
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (status, request) in [
        (404, "GET /nothing HTTP/1.1\r\nHost: gateway\r\n".into()),
        (405, "POST / HTTP/1.1\r\nHost: gateway\r\n".into()),
        (426, "GET / HTTP/1.1\r\nHost: gateway\r\n".into()),
        (403, format!("GET / HTTP/1.1\r\nHost: gateway\r\nOrigin: http://evil\r\n{handshake}")),
        (503, format!("GET / HTTP/1.1\r\nHost: gateway\r\n{handshake}")),
    ] {
        let mut stream = TcpStream::connect(gateway.clients()).await.expect("a connection");
        stream.write_all(format!("{request}\r\n").as_bytes()).await.expect("sent");
        let answer = first_line(&mut stream).await;
        assert_eq!(http::status(&answer), status, "{answer}");
    }
    let silent = TcpStream::connect(gateway.clients()).await.expect("a connection");
    http::exchange(gateway.clients(), b"no HTTP at all\r\n\r\n").await;

    let timed_out = r#"myxi_handshakes_refused_total{reason="timeout"}"#;
    let scrape = Scrape::until(&gateway, timed_out, |count| count == 1.0).await;
    for reason in ["not_found", "method", "no_websocket", "origin", "full", "failed"] {
        scrape.shows([(&*format!("myxi_handshakes_refused_total{{reason=\"{reason}\"}}"), 1)]);
    }
    drop(silent);
}

async fn first_line(stream: &mut TcpStream) -> String {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut line = String::new();
    let reading = async { BufReader::new(stream).read_line(&mut line).await };
    timeout(DEADLINE, reading).await.expect("an answer in time").expect("an answer");
    line
}

/// Whatever clients write, the page has the same samples, and none of their text.
#[tokio::test]
async fn what_clients_write_makes_no_labels() {
    const NAMES: usize = 1_000;
    let app = TestHandler::start().await;
    app.on("ZebraOfTheApplication", |_| Ok(Default::default()));
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    gateway.push("widgets", "1", "Changed", json!({})).await;
    let lag = r#"myxi_bus_lag_seconds{exchange="widgets"}"#;
    let before = Scrape::until(&gateway, lag, |_| true).await;
    for number in 0..NAMES {
        let name = format!("Zebra{number:x}{:016x}", rand::random::<u64>());
        client.send(json!({"action": name, "payload": {"zebra": name}})).await;
    }
    for (action, payload) in [
        ("Subscribe", json!({"exchange": "zebra"})),
        ("Subscribe", json!({"exchange": "widgets", "routing_key": "zebra"})),
        ("Unsubscribe", json!({"exchange": "zebra\"} 1"})),
        ("zebra\"\n# HELP zebra", json!({})),
        ("ZebraOfTheApplication", json!({})),
    ] {
        client.request(action, payload).await;
    }
    let after = Scrape::of(&gateway).await;
    assert_eq!(after.keys(), before.keys());
    assert!(!after.text.to_lowercase().contains("zebra"), "{}", after.text);
    after.shows([(r#"myxi_actions_total{outcome="InvalidAction"}"#, NAMES as u64 + 1)]);
}

#[tokio::test]
async fn entries_that_are_no_events_are_counted_by_what_is_wrong() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    let gateway = &fleet[0];
    let mut client = gateway.client().await;
    client.subscribe(&fleet.exchange, "k").await;
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    let too_big = format!(r#"{{"event":"e","payload":"{}"}}"#, "x".repeat(256 << 10));
    let good = r#"{"event":"Foreign"}"#;
    for (key, body) in
        [("k", "no JSON"), ("k", "[]"), ("k", &too_big), ("bell\u{7}", good), ("k", good)]
    {
        let (exchange, key) = (format!("myxi.in.{}", fleet.exchange).into(), key.into());
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let published = channel.basic_publish(exchange, key, options, body.as_bytes(), properties);
        published.await.expect("published");
    }
    client.event("Foreign").await;
    let scrape = Scrape::of(gateway).await;
    scrape.shows([
        (r#"myxi_events_skipped_total{reason="no_event"}"#, 2),
        (r#"myxi_events_skipped_total{reason="too_big"}"#, 1),
        (r#"myxi_events_skipped_total{reason="invalid_routing_key"}"#, 1),
        (r#"myxi_events_skipped_total{reason="unreadable"}"#, 0),
        ("myxi_events_received_total", 1),
        ("myxi_deliveries_total", 1),
        // Nobody knows when another program's event began its way.
        ("myxi_publish_to_write_seconds_count", 0),
    ]);
    let lag = format!("myxi_bus_lag_seconds{{exchange=\"{}\"}}", fleet.exchange);
    assert_eq!(scrape.get(&lag), None);

    let input = format!("myxi.in.{}", fleet.exchange);
    broker.publish_bytes(&input, &[(b"\xff", b"1")]).await;
    let unreadable = r#"myxi_events_skipped_total{reason="unreadable"}"#;
    Scrape::until(gateway, unreadable, |count| count == 1.0).await;
}

/// The stamp travels with the event: another replica knows how long it took.
#[tokio::test]
async fn the_way_through_the_broker_is_timed() {
    let fleet = Fleet::start(RabbitMq::shared().await, 2).await;
    let mut client = fleet[0].client().await;
    client.subscribe(&fleet.exchange, "1").await;
    fleet[1].push(&fleet.exchange, "1", "Changed", json!({})).await;
    client.event("Changed").await;
    let written = "myxi_publish_to_write_seconds_count";
    let scrape = Scrape::until(&fleet[0], written, |count| count == 1.0).await;
    let lag = scrape.value(&format!("myxi_bus_lag_seconds{{exchange=\"{}\"}}", fleet.exchange));
    let took = scrape.value("myxi_publish_to_write_seconds_sum");
    assert!(0.0 < lag && lag <= took && took < 60.0, "lag {lag}, written after {took}");
    scrape.shows([("myxi_bus_connected", 1), (r#"myxi_bus_info{kind="rabbitmq"}"#, 1)]);
}

#[tokio::test]
async fn a_broker_that_holds_back_or_goes_away_shows() {
    let mut broker = RabbitMq::exclusive().await;
    let fleet = Fleet::start(&broker, 1).await;
    let gateway = &fleet[0];
    let attached = format!("myxi_bus_exchange_attached{{exchange=\"{}\"}}", fleet.exchange);
    broker.block_publishers().await;
    // It tells a publisher only when it publishes.
    let pushing = gateway.try_push(&fleet.exchange, "1", "Changed", json!({}));
    let (_, scrape) =
        tokio::join!(pushing, Scrape::until(gateway, "myxi_bus_blocked", |blocked| blocked == 1.0));
    scrape.shows([("myxi_bus_connected", 1)]);
    broker.unblock_publishers().await;
    Scrape::until(gateway, "myxi_bus_blocked", |blocked| blocked == 0.0).await;

    broker.kill().await;
    Scrape::until(gateway, "myxi_bus_connected", |up| up == 0.0).await;
    let scrape = Scrape::until(gateway, &attached, |up| up == 0.0).await;
    scrape.shows([("myxi_bus_reconnects_total", 0), ("myxi_ready", 1)]);
    let refused = gateway.try_push(&fleet.exchange, "1", "Changed", json!({})).await;
    assert_ne!(refused, Code::Ok);
    broker.restart().await;
    Scrape::until(gateway, &attached, |up| up == 1.0).await;
    Scrape::until(gateway, "myxi_bus_connected", |up| up == 1.0).await;
    // One to publish, one to read, one for questions.
    Scrape::of(gateway).await.shows([("myxi_bus_reconnects_total", 3)]);
}
