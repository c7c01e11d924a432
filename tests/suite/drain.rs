//! The end of a gateway: no reply is lost, everybody is sent elsewhere, and it takes no
//! longer than it may.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::watch, task::JoinHandle};
use tokio_tungstenite::tungstenite::Message;
use tonic::Code;

use crate::support::{
    DEADLINE,
    client::Client,
    fleet::Fleet,
    gateway::{Addresses, Gateway},
    handler::{TestHandler, reply},
    http,
    rabbitmq::RabbitMq,
    within,
};

const ACTIONS: u64 = 5;

/// How far a client got, in the order in which it heard of it.
#[derive(Debug, PartialEq)]
struct Farewell {
    replies: Vec<u64>,
    reconnect_after: Option<u64>,
    code: u16,
    at: Instant,
}

/// An application whose `Work` waits for the gate, and answers with its number.
fn gated(app: &TestHandler) -> watch::Sender<bool> {
    let (open, gate) = watch::channel(false);
    app.on_async("Work", move |request| {
        let mut gate = gate.clone();
        async move {
            let _ = gate.wait_for(|open| *open).await;
            Ok(reply::events([("Worked", request.payload.as_str())]))
        }
    });
    open
}

/// Sends numbered actions, and knows that the gateway has read them.
async fn begin_work(client: &mut Client) {
    for n in 0..ACTIONS {
        client.send(json!({"action": "Work", "tag": n, "payload": n})).await;
    }
    client.send_message(Message::Ping("read?".into())).await;
    let pong = client.message().await;
    assert!(matches!(pong, Some(Ok(Message::Pong(_)))), "{pong:?}");
}

async fn farewell(client: &mut Client) -> Farewell {
    let mut replies = Vec::new();
    loop {
        let message = client.next().await;
        match message["event"].as_str() {
            Some("Worked") => {
                assert_eq!(message["tag"], message["payload"]);
                replies.push(message["tag"].as_u64().expect("a number"));
            }
            Some("Reconnect") => {
                let reconnect_after = message["payload"]["after_ms"].as_u64();
                let at = Instant::now();
                let code = client.closed().await.code;
                return Farewell { replies, reconnect_after, code, at };
            }
            _ => panic!("{message}"),
        }
    }
}

fn begin_drain(gateway: Gateway) -> (Addresses, JoinHandle<()>) {
    (*gateway, tokio::spawn(gateway.drain()))
}

#[tokio::test]
async fn what_is_under_way_and_queued_is_answered_before_the_client_is_sent_elsewhere() {
    const CLIENTS: usize = 20;
    let app = TestHandler::start().await;
    let gate = gated(&app);
    let gateway = Gateway::start(&app).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = gateway.client().await;
        begin_work(&mut client).await;
        clients.push(client);
    }

    let (addresses, draining) = begin_drain(gateway);
    assert_eq!(addresses.health_becomes("draining").await.0, 503);
    gate.send_replace(true);
    let farewells = join_all(clients.iter_mut().map(farewell)).await;
    draining.await.expect("drained");

    for Farewell { replies, reconnect_after, code, .. } in &farewells {
        assert_eq!(*replies, (0..ACTIONS).collect::<Vec<_>>());
        assert!(reconnect_after.is_some_and(|ms| (1..10_000).contains(&ms)));
        assert_eq!(*code, 1012);
    }
    let mut told: Vec<_> = (0..CLIENTS).map(|_| app.next("SessionClosed")).collect();
    for told in join_all(told.drain(..)).await {
        assert_eq!(told.closed().code, 1012);
    }
}

#[tokio::test]
async fn clients_are_sent_away_one_after_another() {
    const CLIENTS: usize = 30;
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(gateway.client().await);
    }
    let (_, draining) = begin_drain(gateway);
    let farewells = join_all(clients.iter_mut().map(farewell)).await;
    draining.await.expect("drained");

    let times = || farewells.iter().map(|farewell| farewell.at);
    let spread = times().max().expect("some") - times().min().expect("some");
    assert!(spread > Duration::from_millis(150), "all within {spread:?}");
}

#[tokio::test]
async fn while_balancers_learn_that_it_leaves_it_still_takes_clients() {
    let app = TestHandler::start().await;
    let gate = gated(&app);
    const DELAY: Duration = Duration::from_secs(10);
    let flags = ["--exchange=widgets", "--shutdown-delay=10s", "--action-timeout=1h"];
    let gateway = Gateway::with(&app, &flags).await;
    let mut early = gateway.client().await;
    begin_work(&mut early).await;

    let (addresses, draining) = begin_drain(gateway);
    let began = Instant::now();
    let (status, body) = addresses.health_becomes("draining").await;
    assert_eq!((status, &body["bus"]), (503, &json!("memory")));
    let (status, _) = http::get(addresses.admin, "/health/live", "localhost").await;
    assert_eq!(status, 200);
    let mut late = addresses.client().await;
    late.subscribe("widgets", "1").await;
    late.event("Reconnect").await;
    assert!(began.elapsed() >= DELAY, "sent away before the delay was over");
    assert_eq!(late.closed().await.code, 1012);

    // One is still working: nobody else gets in, the application is still served.
    within(DEADLINE, "a refused connection", async {
        while TcpStream::connect(addresses.clients).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(addresses.health().await.1["status"], "draining");
    addresses.push("widgets", "1", "Changed", json!({})).await;
    assert_eq!(addresses.send_event(&early.id, "Still").await, Code::Ok);
    early.event("Still").await;
    gate.send_replace(true);
    assert_eq!(farewell(&mut early).await.replies.len(), ACTIONS as usize);
    draining.await.expect("drained");
    assert!(TcpStream::connect(addresses.grpc).await.is_err());
    assert!(TcpStream::connect(addresses.admin).await.is_err());
}

/// An application that hangs, a client that does not read, a handshake that never ends: what
/// each would be waited for is longer than a test waits.
#[tokio::test]
async fn nobody_holds_it_up_longer_than_its_bounds() {
    const HANGING: usize = 250;
    let app = TestHandler::start().await;
    app.hang_on("Hang");
    let flags = [
        "--exchange=widgets",
        "--drain-time=200ms",
        "--action-timeout=400ms",
        "--max-outbox=64MiB",
        "--handshake-timeout=1h",
        "--ping-interval=1h",
    ];
    let gateway = Gateway::with(&app, &flags).await;
    let mut deaf = gateway.client().await;
    let widgets = json!({"exchange": "widgets", "routing_key": "1"});
    // The timeout is short for it as well.
    within(DEADLINE, "a subscription", async {
        while deaf.request("Subscribe", widgets.clone()).await["event"] != "Subscribed" {}
    })
    .await;
    let mut patient = gateway.client().await;
    for n in 0..HANGING {
        patient.send(json!({"action": "Hang", "tag": n})).await;
    }
    let payload = Value::from("x".repeat(200 << 10));
    for _ in 0..60 {
        gateway.push("widgets", "1", "Flood", payload.clone()).await;
    }
    let _silent = TcpStream::connect(gateway.clients()).await.expect("connected");
    app.next("HandleAction").await;

    let (_, draining) = begin_drain(gateway);
    let first = patient.event("Error").await;
    assert_eq!(first["payload"]["error"], "ActionTimeout");
    patient.event("Reconnect").await;
    assert_eq!(patient.closed().await.code, 1012);
    // Drain time and action timeout; all that hang would take 100 s.
    draining.await.expect("drained");
}

/// The application's calls wait for confirms that do not come, and so does the bus.
#[tokio::test]
async fn a_frozen_broker_does_not_add_its_waits_up() {
    let mut broker = RabbitMq::exclusive().await;
    let mut fleet = Fleet::start(&broker, 1).await;
    let gateway = fleet.replicas.remove(0);
    let addresses = *gateway;
    addresses.push(&fleet.exchange, "1", "Before", json!({})).await;

    broker.freeze();
    let pushing = addresses.try_push(&fleet.exchange, "1", "Lost", json!({}));
    let began = Instant::now();
    let (pushed, ()) = tokio::join!(pushing, gateway.drain());
    // A push waits 5 s for its confirm, and so does the bus: twice would be 10.
    assert!(began.elapsed() < Duration::from_millis(9_500), "took {:?}", began.elapsed());
    assert_ne!(pushed, Code::Ok);
}
