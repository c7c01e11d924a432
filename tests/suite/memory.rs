//! What connections keep of the memory that their messages took.

use serde_json::json;

use crate::support::{
    client::Client,
    handler::{TestHandler, reply},
    process::Myxi,
    usage::Process,
};

/// Whatever grows once, whoever comes.
const WARM_UP: usize = 20;
const CONNECTIONS: usize = 200;
const LARGE: usize = 60_000;

/// In bytes. An unoptimized build of a busy allocator, so several times what it should be;
/// a buffer that was grown and kept would be 60 kB and more.
const KEPT_MAX: i64 = 20 * 1024;

#[tokio::test]
async fn a_connection_keeps_no_room_for_a_large_message_once_it_is_through() {
    let app = TestHandler::start().await;
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    let myxi = Myxi::serve(&app, &["--exchange=widgets"]).await;
    let process = Process(myxi.pid());
    let mut clients = Vec::new();
    for _ in 0..WARM_UP {
        clients.push(after_a_large_message(&myxi).await);
    }
    let before = process.memory();
    for _ in 0..CONNECTIONS {
        clients.push(after_a_large_message(&myxi).await);
    }
    let kept = (process.memory() - before) / CONNECTIONS as i64;
    assert!(kept < KEPT_MAX, "{kept} bytes for each connection");
}

/// A client that has sent and received one.
async fn after_a_large_message(myxi: &Myxi) -> Client {
    let mut client = myxi.client().await;
    let payload = json!({"text": "x".repeat(LARGE)});
    let echoed = client.request("Echo", payload.clone()).await;
    assert_eq!(echoed["payload"], payload);
    client
}
