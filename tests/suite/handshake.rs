//! The way in: what an HTTP request to the clients' listener gets, and the bounds on
//! connections that have not become a WebSocket.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest, http::Request};

use crate::support::{
    DEADLINE,
    client::Client,
    frames::{self, FIN, TEXT},
    gateway::Gateway,
    handler::TestHandler,
    http, within,
};

/// Long enough that a gateway which does answer would have.
const A_MOMENT: Duration = Duration::from_millis(150);

fn handshake(method: &str, path: &str, change: (&str, &str)) -> String {
    let mut headers = vec![
        ("Host", "gateway"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    headers.retain(|(name, _)| *name != change.0);
    headers.push(change);
    let lines = headers.iter().filter(|(_, value)| !value.is_empty());
    let lines: String = lines.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\n{lines}\r\n")
}

/// The status and the whole of an answer that keeps the connection open or not.
async fn answer(gateway: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(gateway).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let whole = async {
        while !is_whole(&String::from_utf8_lossy(&answer)) {
            assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0, "closed");
        }
    };
    within(DEADLINE, "an answer", whole).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (http::status(&answer), answer)
}

/// Whether the head is there, and as much of a body as it tells.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase();
    let length = length.split_once("content-length: ").map_or("0", |(_, rest)| rest);
    let length: usize = length.lines().next().expect("a value").parse().expect("a number");
    body.len() >= length
}

#[tokio::test]
async fn a_handshake_at_either_path_is_accepted() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    for path in ["/", "/pushwss", "/?token=a%20b", "/pushwss?x"] {
        let (status, head) = answer(gateway.clients(), &handshake("GET", path, ("X", "y"))).await;
        assert_eq!(status, 101, "{path}: {head}");
        // The answer of RFC 6455 to its sample key.
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    }
}

#[tokio::test]
async fn what_is_no_handshake_is_told_what_is_wrong() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let plain =
        |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\n\r\n");
    let body = "POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\n{}";
    for (request, status, words) in [
        (plain("GET", "/"), 426, "WebSocket"),
        (plain("GET", "/pushwss"), 426, "WebSocket"),
        (plain("GET", "/other"), 404, "/pushwss"),
        (plain("GET", "/pushwss/"), 404, "/pushwss"),
        (plain("GET", "//"), 404, "/pushwss"),
        (handshake("GET", "/other", ("X", "y")), 404, "/pushwss"),
        (plain("POST", "/"), 405, "GET"),
        (body.into(), 405, "GET"),
        (handshake("POST", "/", ("X", "y")), 405, "GET"),
        (plain("OPTIONS", "/pushwss"), 405, "GET"),
        (handshake("GET", "/", ("Sec-WebSocket-Version", "8")), 426, "13"),
        (handshake("GET", "/", ("Sec-WebSocket-Version", "")), 426, "13"),
        (handshake("GET", "/", ("Sec-WebSocket-Key", "")), 426, "Key"),
        (handshake("GET", "/", ("Connection", "close")), 426, "WebSocket"),
        (handshake("GET", "/", ("Upgrade", "h2c")), 426, "WebSocket"),
    ] {
        let (got, answer) = answer(gateway.clients(), &request).await;
        assert_eq!(got, status, "{request}{answer}");
        assert!(answer.contains(words), "{request}{answer}");
        assert!(answer.contains("text/plain"), "{answer}");
        if status == 426 {
            let lower = answer.to_lowercase();
            assert!(lower.contains("upgrade: websocket"), "{answer}");
            assert!(lower.contains("sec-websocket-version: 13"), "{answer}");
        }
        if status == 405 {
            assert!(answer.to_lowercase().contains("allow: get"), "{answer}");
        }
    }
    assert_eq!(gateway.client().await.request("Ping", json!({})).await["event"], "Pong");
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_harms_nobody() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let long = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "a".repeat(64 * 1024));
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"\0\0\0\0\r\n\r\n", long.as_bytes()]
    {
        let mut stream = TcpStream::connect(gateway.clients()).await.expect("a connection");
        // It may be refused before it is sent whole.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = within(DEADLINE, "an end", stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(gateway.client().await.request("Ping", json!({})).await["event"], "Pong");
}

#[tokio::test]
async fn an_offered_subprotocol_is_not_chosen() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let offer = ("Sec-WebSocket-Protocol", "graphql-ws, other");
    let (status, head) = answer(gateway.clients(), &handshake("GET", "/", offer)).await;
    assert_eq!(status, 101, "{head}");
    assert!(!head.to_lowercase().contains("sec-websocket-protocol"), "{head}");
    let compression = ("Sec-WebSocket-Extensions", "permessage-deflate");
    let (status, head) = answer(gateway.clients(), &handshake("GET", "/", compression)).await;
    assert_eq!(status, 101, "{head}");
    assert!(!head.to_lowercase().contains("sec-websocket-extensions"), "{head}");
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_not_lost() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut stream = TcpStream::connect(gateway.clients()).await.expect("a connection");
    let mut bytes = handshake("GET", "/", ("X", "y")).into_bytes();
    for tag in 0..100 {
        let text = format!(r#"{{"action":"Ping","tag":"early-{tag}"}}"#);
        bytes.extend(frames::frame(FIN | TEXT, text.as_bytes()));
    }
    stream.write_all(&bytes).await.expect("sent");
    let mut answer = Vec::new();
    within(DEADLINE, "the last answer", async {
        while !String::from_utf8_lossy(&answer).contains(r#""tag":"early-99""#) {
            assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0, "closed");
        }
    })
    .await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert_eq!(answer.matches(r#""event":"Pong""#).count(), 100);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_off_while_others_connect() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--handshake-timeout=4s"]).await;
    let started = Instant::now();
    let mut silent = TcpStream::connect(gateway.clients()).await.expect("a connection");
    let mut half = TcpStream::connect(gateway.clients()).await.expect("a connection");
    half.write_all(b"GET / HTTP/1.1\r\nHost: gateway\r\nConn").await.expect("sent");
    // Answered, and then it goes on as if it were to try again.
    let mut refused = TcpStream::connect(gateway.clients()).await.expect("a connection");
    refused.write_all(b"GET /no HTTP/1.1\r\nHost: gateway\r\n\r\nGET").await.expect("sent");
    // As they come, these bytes would take a minute.
    let slow = TcpStream::connect(gateway.clients()).await.expect("a connection");
    let (mut slow, mut dripping) = slow.into_split();
    let drip = tokio::spawn(async move {
        for byte in handshake("GET", "/", ("X", &"y".repeat(2000))).bytes() {
            if dripping.write_all(&[byte]).await.is_err() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        true
    });
    let mut buffer = Vec::new();
    let mut client = tokio::select! {
        biased;
        _ = silent.read_to_end(&mut buffer) => panic!("held up until the others were cut off"),
        client = gateway.client() => client,
    };
    let ends = async {
        let _ = silent.read_to_end(&mut buffer).await;
        let _ = half.read_to_end(&mut buffer).await;
        let _ = refused.read_to_end(&mut buffer).await;
        let _ = slow.read_to_end(&mut buffer).await;
    };
    within(DEADLINE, "the end of all four", ends).await;
    assert!(started.elapsed() > Duration::from_millis(3_900), "{:?}", started.elapsed());
    assert!(!drip.await.expect("it drips"), "the slow one was let come to its end");
    assert!(client.quiet().await, "a finished handshake has no timeout");
}

#[tokio::test]
async fn connections_without_a_handshake_are_bounded() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--max-pending-handshakes=2", "--handshake-timeout=1h"];
    let gateway = Gateway::with(&app, &flags).await;
    let mut client = gateway.client().await;
    let first = TcpStream::connect(gateway.clients()).await.expect("a connection");
    let _second = TcpStream::connect(gateway.clients()).await.expect("a connection");
    let mut third = Box::pin(gateway.client());
    let early = timeout(A_MOMENT, &mut third).await;
    assert!(early.is_err(), "a third handshake was served");
    assert!(client.quiet().await, "who is in is served");
    drop(first);
    within(DEADLINE, "a place", third).await;
}

#[tokio::test]
async fn a_crowd_that_comes_at_once_finds_room_to_wait() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--max-pending-handshakes=1"]).await;
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux");
    let crowd = somaxconn.trim().parse::<usize>().expect("a number").min(500);
    let mut waiting = Vec::new();
    within(DEADLINE, "everybody connects", async {
        for _ in 0..crowd {
            waiting.push(TcpStream::connect(gateway.clients()).await.expect("a connection"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_is_full_says_so_and_a_place_is_free_again_after_a_close() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--max-connections=2"]).await;
    let mut first = gateway.client().await;
    let second = gateway.client().await;
    let (status, head) = answer(gateway.clients(), &handshake("GET", "/", ("X", "y"))).await;
    assert_eq!(status, 503, "{head}");
    assert!(head.to_lowercase().contains("retry-after: 1"), "{head}");
    assert!(head.contains("too many connections"), "{head}");
    assert!(first.quiet().await);
    second.close().await;
    within(DEADLINE, "a free place", async {
        let url = format!("ws://{}/", gateway.clients());
        while try_connect(&url, gateway.clients()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // Lost without a word frees it as well.
    drop(first);
    within(DEADLINE, "a second free place", async {
        let url = format!("ws://{}/", gateway.clients());
        while try_connect(&url, gateway.clients()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn try_connect(url: &str, gateway: SocketAddr) -> Result<Client, Error> {
    let request: Request<()> = url.into_client_request().expect("a URL");
    Client::connect_with(request, gateway).await
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_connect() {
    let app = TestHandler::start().await;
    let gateway =
        Gateway::with(&app, &["--exchange=widgets", "--allow-origin=https://friend.example"]).await;
    for (origin, status) in [
        ("https://evil.example", 403),
        ("null", 403),
        ("https://friend.example", 101),
        ("http://gateway:8080", 101),
    ] {
        let request = handshake("GET", "/", ("Origin", origin));
        let (got, answer) = answer(gateway.clients(), &request).await;
        assert_eq!(got, status, "{origin}: {answer}");
    }
}
