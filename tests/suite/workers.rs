//! Several threads of sessions are one gateway to everybody outside.

use serde_json::json;
use tonic::Code;

use crate::support::{gateway::Gateway, handler::TestHandler};

/// Connections go round the threads, so each of the three has some of these.
const CLIENTS: usize = 9;

const THREADS: &[&str] = &["--exchange=widgets", "--worker-threads=3", "--drain-time=500ms"];

#[tokio::test]
async fn every_thread_delivers_every_event_in_order() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, THREADS).await;
    let mut clients = gateway.subscribers(CLIENTS, "widgets", "1").await;
    for n in 0..50 {
        gateway.push("widgets", "1", "Changed", json!(n)).await;
    }
    for client in &mut clients {
        for n in 0..50 {
            assert_eq!(client.next().await["payload"], n);
        }
        assert!(client.quiet().await);
    }
}

#[tokio::test]
async fn sessions_of_every_thread_act_are_reached_and_are_closed() {
    let app = TestHandler::start().await;
    app.on("Hello", |_| Ok(Default::default()));
    let gateway = Gateway::with(&app, THREADS).await;
    for _ in 0..CLIENTS {
        let mut client = gateway.client().await;
        assert_eq!(client.request("Hello", json!({})).await["event"], "Done");
        assert_eq!(gateway.send_event(&client.id, "Only").await, Code::Ok);
        client.event("Only").await;
        assert_eq!(gateway.disconnect(&client.id, 4444, "").await, Code::Ok);
        assert_eq!(client.closed().await.code, 4444);
    }
}

#[tokio::test]
async fn a_drain_empties_every_thread() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, THREADS).await;
    let mut clients = gateway.subscribers(CLIENTS, "widgets", "1").await;
    let draining = tokio::spawn(gateway.drain());
    for client in &mut clients {
        client.event("Reconnect").await;
        assert_eq!(client.closed().await.code, 1012);
        assert_eq!(app.next("SessionClosed").await.closed().code, 1012);
    }
    draining.await.expect("drained");
}
