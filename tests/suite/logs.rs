//! What the log holds, and what it must never hold: no payload, no token, and of what a
//! client wrote nothing that could pass for a line or a field of ours.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, http::Request};
use tonic::{Code, Request as GrpcRequest, Status};

use crate::support::{
    DEADLINE,
    client::Client,
    gateway::push_request,
    handler::{TestHandler, reply},
    http,
    metrics::Scrape,
    process::Myxi,
    within,
};

const SECRET: &str = "S3CR3T";

const GRPC_TOKEN: &str = "S3CR3T-grpc";
const HANDLER_TOKEN: &str = "S3CR3T-handler";

/// Looks like a line of a log, and moves a terminal's cursor.
const FORGED: &str = "FORGED\r\n{\"level\":\"ERROR\"}\u{1b}[2J";

#[tokio::test]
async fn the_log_is_json_lines_and_keeps_secrets_and_hostile_text_out() {
    let app = TestHandler::start().await;
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    app.on("Auth", |request| Ok(reply::set_auth(&request.payload)));
    app.on("Fail", |_| Err(Status::internal(FORGED)));
    app.on("Nonsense", |_| Ok(reply::events([("Bad", "no JSON S3CR3T")])));
    app.on("Down", |_| Err(Status::unavailable(FORGED)));
    app.on_check(|_| Err(Status::internal(FORGED)));
    let grpc_token = format!("--grpc-token={GRPC_TOKEN}");
    let handler_token = format!("--action-handler-token={HANDLER_TOKEN}");
    let flags = [
        "--exchange=widgets",
        "--log=debug",
        "--trusted-proxy=127.0.0.0/8",
        "--forward-header=cookie",
        &grpc_token,
        &handler_token,
    ];
    let mut myxi = Myxi::serve(&app, &flags).await;

    refused_handshakes(&myxi).await;
    hostile_session(&myxi).await;
    pushes(&myxi).await;
    myxi.signal("TERM");
    assert_eq!(myxi.ended().await.code(), Some(0));

    let log = myxi.log();
    assert!(log.iter().any(|line| line.contains("session opened")), "debug is on: {log:#?}");
    assert!(log.iter().any(|line| line.contains("--allow-origin https://evil.example")));
    for line in &log {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        let line_of_ours = parsed.is_ok_and(|line| line["level"].is_string());
        assert!(line_of_ours, "not a line of JSON: {line:?}");
        assert!(!line.contains(SECRET), "a secret: {line}");
        assert!(!line.chars().any(char::is_control), "unescaped: {line:?}");
    }
    assert!(myxi.printed().is_empty(), "{}", myxi.printed());
}

/// As a terminal gets them.
#[tokio::test]
async fn lines_of_text_are_lines_whatever_a_client_sends() {
    let app = TestHandler::start().await;
    app.on("Fail", |_| Err(Status::internal(FORGED)));
    app.on_check(|_| Err(Status::internal(FORGED)));
    let flags = ["--exchange=widgets", "--log=debug", "--log-format=text"];
    let mut myxi = Myxi::serve(&app, &flags).await;
    refused_handshakes(&myxi).await;
    hostile_session(&myxi).await;
    myxi.signal("TERM");
    assert_eq!(myxi.ended().await.code(), Some(0));
    for line in myxi.log() {
        // Each begins with our own clock.
        assert!(line.starts_with("20"), "not a line of ours: {line:?}");
        assert!(!line.chars().any(char::is_control), "unescaped: {line:?}");
    }
}

async fn refused_handshakes(myxi: &Myxi) {
    let url = format!("ws://{}/", myxi.clients);
    for origin in ["https://evil.example", "FORGED\u{9b}2J\u{e9}", "null", "\"}{\"", "http://[::1"]
    {
        let mut request: Request<()> = url.as_str().into_client_request().expect("a URL");
        let origin = origin.as_bytes().try_into().expect("bytes of a header");
        request.headers_mut().insert("origin", origin);
        assert!(Client::connect_with(request, myxi.clients).await.is_err());
    }
    for request in [
        "GET /S3CR3T%0d%0aFORGED?token=S3CR3T HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: S3CR3T\r\nAuthorization: S3CR3T\r\nConnection: close\r\n\r\n",
        "S3CR3T\r\nFORGED\x1b[2J\r\n\r\n",
        "GET / HTTP/1.1\r\nS3CR3T\x1b\r\n\r\n",
        "\x16\x03\x01S3CR3T\r\n\r\n",
    ] {
        http::exchange(myxi.clients, request.as_bytes()).await;
        http::exchange(myxi.admin, request.as_bytes()).await;
    }
}

async fn hostile_session(myxi: &Myxi) {
    let url = format!("ws://{}/pushwss?token=S3CR3T", myxi.clients);
    let mut request = url.into_client_request().expect("a URL");
    for (name, value) in [("x-forwarded-for", "S3CR3T, FORGED"), ("cookie", "session=S3CR3T")] {
        request.headers_mut().insert(name, value.parse().expect("a header"));
    }
    let mut client = Client::connect_with(request, myxi.clients).await.expect("connected");
    client.event("Welcome").await;
    for action in ["Echo", "Auth", "Fail", "Nonsense", "Down", FORGED, "S3CR3T"] {
        client.request(action, json!({"password": SECRET, "text": FORGED})).await;
    }
    let payload = json!({"exchange": "widgets", "routing_key": format!("{SECRET} FORGED")});
    assert_eq!(client.error("Subscribe", payload).await["error"], "InternalError");
    client.error("Subscribe", json!({"exchange": FORGED, "routing_key": FORGED})).await;
    client.send_text("{\"action\": S3CR3T FORGED\u{1b}").await;
    client.event("Error").await;
    client.send_message(Message::binary(b"S3CR3T\xff\n".to_vec())).await;
    assert_eq!(client.closed().await.code, 1007);
}

async fn pushes(myxi: &Myxi) {
    let mut api = myxi.api().await;
    let push = || {
        let payload = json!({"password": SECRET});
        GrpcRequest::new(push_request("widgets", "S3CR3T", "S3CR3T", &payload))
    };
    let status = api.push_event(push()).await.expect_err("no token");
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut request = push();
    let token = format!("Bearer {GRPC_TOKEN}").parse().expect("a header");
    request.metadata_mut().insert("authorization", token);
    api.push_event(request).await.expect("pushed");
}

/// Stops reading the log, and makes it longer until so many lines found no room.
async fn overflow(myxi: &Myxi, lines: f64) {
    myxi.read_log(false);
    let mut client = myxi.subscribers(1, "widgets", "1").await.remove(0);
    let dropped = "myxi_log_lines_dropped_total";
    within(3 * DEADLINE, "more than there is room for", async {
        let mut pushed = 0;
        // Each push is many lines, and so is each look at the metrics.
        while Scrape::of(myxi).await.get(dropped).expect("a number") < lines {
            for _ in 0..50 {
                pushed += 1;
                myxi.push("widgets", "1", "Changed", json!(pushed)).await;
                assert_eq!(client.event("Changed").await["payload"], pushed);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nobody_and_what_was_lost_is_told() {
    let app = TestHandler::start().await;
    app.on("Hello", |_| Ok(Default::default()));
    let mut myxi = Myxi::serve(&app, &["--exchange=widgets", "--log=trace"]).await;
    overflow(&myxi, 100.0).await;
    let mut client = myxi.client().await;
    assert_eq!(client.request("Hello", json!({})).await["event"], "Done");
    assert_eq!(myxi.health().await.0, 200);

    myxi.read_log(true);
    let told = myxi.logged("lines of the log were dropped").await;
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert!(told["dropped"].as_u64().is_some_and(|lines| lines >= 100), "{told}");
    // What comes then is there to the last line.
    myxi.signal("TERM");
    assert_eq!(myxi.ended().await.code(), Some(0));
    assert!(myxi.log().iter().any(|line| line.contains(r#""drained""#)));
}

#[tokio::test]
async fn a_log_that_is_never_read_keeps_it_from_no_end() {
    let app = TestHandler::start().await;
    let mut myxi = Myxi::serve(&app, &["--exchange=widgets", "--log=trace"]).await;
    overflow(&myxi, 1.0).await;
    myxi.signal("TERM");
    within(DEADLINE, "an end", async {
        while myxi.is_running() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    myxi.read_log(true);
}
