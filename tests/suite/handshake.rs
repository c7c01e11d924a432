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
    http,
    process::Myxi,
    within,
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
    for path in ["/", "/pushwss", "/pushwss/", "/?token=a%20b", "/pushwss?x", "/pushwss/?x"] {
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
        (plain("GET", "/pushwss/"), 426, "WebSocket"),
        (plain("GET", "/pushwss//"), 404, "/pushwss"),
        (plain("GET", "/health/ready"), 404, "/pushwss"),
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
async fn other_paths_are_served_where_they_are_configured() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--path=/ws,/my/cable/"]).await;
    for (path, status) in [
        ("/ws", 101),
        ("/ws/", 101),
        ("/ws?x=1", 101),
        ("/my/cable", 101),
        ("/my/cable/", 101),
        ("/pushwss", 101),
        ("/", 101),
        ("/WS", 404),
        ("/my", 404),
        ("/ws/x", 404),
    ] {
        let (got, answer) = answer(gateway.clients(), &handshake("GET", path, ("X", "y"))).await;
        assert_eq!(got, status, "{path}: {answer}");
    }
}

/// As ordinary proxies write them.
#[tokio::test]
async fn list_headers_may_have_several_members_and_lines() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    for (name, value, status) in [
        ("Connection", "keep-alive, Upgrade", 101),
        ("Connection", "keep-alive,Upgrade", 101),
        ("Connection", "keep-alive,\tupgrade\t", 101),
        ("Connection", "Upgrade,close", 101),
        ("Connection", "keep-alive\r\nConnection: Upgrade", 101),
        ("Connection", "\r\nConnection: , UPGRADE ,", 101),
        ("Connection", "keep-alive\r\nConnection: close", 426),
        ("Connection", "no-upgrade", 426),
        ("Upgrade", "WebSocket", 101),
        ("Upgrade", "h2c, websocket", 101),
        ("Upgrade", "h2c\r\nUpgrade: websocket", 101),
        ("Upgrade", "websocket\t,", 101),
        ("Upgrade", "h2c\r\nUpgrade: web socket", 426),
    ] {
        let request = handshake("GET", "/", (name, value));
        let (got, answer) = answer(gateway.clients(), &request).await;
        assert_eq!(got, status, "{request}{answer}");
    }
}

/// What follows the head of a handshake is taken for frames, and must not be a body.
#[tokio::test]
async fn a_handshake_with_a_body_is_refused_and_nothing_of_it_is_carried_out() {
    let app = TestHandler::start().await;
    app.on("Do", |_| Ok(Default::default()));
    let gateway = Gateway::start(&app).await;
    let smuggled = frames::frame(FIN | TEXT, br#"{"action":"Do","tag":1}"#);
    let length = smuggled.len().to_string();
    for (name, value, status) in [
        ("Content-Length", &*length, 400),
        ("Content-Length", "1", 400),
        ("Transfer-Encoding", "chunked", 400),
        ("Transfer-Encoding", "gzip, chunked", 400),
        ("Content-Length", "0", 101),
        ("Content-Length", "00", 101),
    ] {
        let mut bytes = handshake("GET", "/", (name, value)).into_bytes();
        if status == 400 {
            bytes.extend(&smuggled);
            let answer = http::exchange(gateway.clients(), &bytes).await;
            assert_eq!(http::status(&answer), 400, "{name}: {value}: {answer}");
            assert!(answer.contains("no body"), "{answer}");
            assert!(!answer.contains("Welcome") && !answer.contains("Done"), "{answer}");
        } else {
            let request = String::from_utf8(bytes).expect("text");
            assert_eq!(answer(gateway.clients(), &request).await.0, 101, "{value}");
        }
    }
    // The sessions that were let in have ended, which it is told.
    let seen = app.seen().await;
    assert!(seen.iter().all(|call| call.method == "SessionClosed"), "{seen:?}");
}

#[tokio::test]
async fn cookies_over_several_lines_are_one_cookie_header_to_the_application() {
    let app = TestHandler::start().await;
    app.on("Look", |_| Ok(Default::default()));
    let flags = ["--exchange=widgets", "--forward-header=cookie,x-list"];
    let gateway = Gateway::with(&app, &flags).await;
    let url = format!("ws://{}/", gateway.clients());
    let mut request = url.into_client_request().expect("a URL");
    for (name, value) in
        [("cookie", "a=1; b=2"), ("x-list", "p"), ("cookie", "c=3"), ("x-list", "q")]
    {
        request.headers_mut().append(name, value.parse().expect("a header"));
    }
    let mut client = Client::connect_with(request, gateway.clients()).await.expect("a WebSocket");
    client.event("Welcome").await;
    client.request("Look", json!({})).await;
    let call = app.next("HandleAction").await;
    let headers = &call.action().session.as_ref().expect("a session").headers;
    assert_eq!(headers["cookie"], "a=1; b=2; c=3");
    assert_eq!(headers["x-list"], "p, q");
}

/// Some send one this way.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn a_configured_subprotocol_is_selected_and_one_asked_for_in_vain_is_told_once() {
    let app = TestHandler::start().await;
    let myxi = Myxi::serve(&app, &["--exchange=widgets", "--subprotocol=v1.json,v2"]).await;
    for (asked, selected) in [
        ("v1.json", Some("v1.json")),
        ("other, v2,v1.json", Some("v2")),
        ("other\r\nSec-WebSocket-Protocol: v1.json", Some("v1.json")),
        ("V2", None),
        (TOKEN, None),
        ("graphql-ws, other", None),
        ("graphql-ws", None),
        ("last", None),
    ] {
        let request = handshake("GET", "/", ("Sec-WebSocket-Protocol", asked));
        let (status, head) = answer(myxi.clients(), &request).await;
        assert_eq!(status, 101, "{head}");
        let line = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(line, selected, "{asked}: {head}");
    }
    // The log comes in its own time, and in order.
    myxi.logged("--subprotocol last").await;
    let log = myxi.log();
    let told = log.iter().filter(|line| line.contains("--subprotocol graphql-ws"));
    assert_eq!(told.count(), 1, "{log:#?}");
    assert!(!log.iter().any(|line| line.contains(TOKEN)), "{log:#?}");
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
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--handshake-timeout=10s"]).await;
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
    assert!(started.elapsed() > Duration::from_millis(9_900), "{:?}", started.elapsed());
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
    let gateway = Gateway::with(
        &app,
        &["--exchange=widgets", "--allow-origin=https://friend.example,file://"],
    )
    .await;
    for (origin, status) in [
        ("https://evil.example", 403),
        ("null", 403),
        ("content://", 403),
        ("file://", 101),
        ("https://friend.example", 101),
        ("http://gateway:8080", 101),
    ] {
        let request = handshake("GET", "/", ("Origin", origin));
        let (got, answer) = answer(gateway.clients(), &request).await;
        assert_eq!(got, status, "{origin}: {answer}");
    }
}
