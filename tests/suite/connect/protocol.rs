//! What else Connect's protocol and HTTP have: versions, deadlines, messages as they are,
//! compression, the token, HTTP/2, kept connections.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{HOST, JSON, assert_refused, event, path, post};
use crate::{
    gateway_api::{self, TestGateway},
    support::{
        DEADLINE,
        handler::{
            TestHandler,
            proto::{PushEventRequest, PushEventResponse},
        },
        http::Response,
        process::Myxi,
        within,
    },
};

const PROTO: (&str, &str) = ("Content-Type", "application/proto");

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn a_message_may_come_as_it_is() {
    let gateway = TestGateway::start(None).await;
    let event = PushEventRequest { event_id: Some("mine".into()), ..gateway_api::event("widgets") };
    let response = post(gateway.address, "PushEvent", &[HOST, PROTO], event.encode_to_vec()).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/proto"));
    let reply = PushEventResponse::decode(response.body.as_bytes()).expect("a message");
    assert_eq!(reply.event_id, "mine");
    let broken = post(gateway.address, "PushEvent", &[HOST, PROTO], "{}").await;
    assert_refused(&broken, 400, "invalid_argument", "the body");
    assert_eq!(gateway.bus.published.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_may_be_compressed_with_gzip_and_with_nothing_else() {
    let gateway = TestGateway::start(None).await;
    let compressed = |name| [HOST, JSON, ("Content-Encoding", name)];
    let body = event().to_string();
    for (name, sent) in [
        ("gzip", gzip(body.as_bytes())),
        ("GZIP", gzip(body.as_bytes())),
        ("identity", body.clone().into()),
    ] {
        let response = post(gateway.address, "PushEvent", &compressed(name), sent).await;
        assert_eq!(response.status, 200, "{name}: {response:?}");
    }
    for name in ["br", "deflate", "zstd", "gzip, gzip", ""] {
        let response = post(gateway.address, "PushEvent", &compressed(name), &body).await;
        assert_refused(&response, 501, "unimplemented", "gzip");
    }
    let cut = &gzip(body.as_bytes())[..20];
    for sent in [body.as_bytes(), cut] {
        let response = post(gateway.address, "PushEvent", &compressed("gzip"), sent).await;
        assert_refused(&response, 400, "invalid_argument", "gzip");
    }
    let proto = gzip(&gateway_api::event("widgets").encode_to_vec());
    let headers = [HOST, PROTO, ("Content-Encoding", "gzip")];
    assert_eq!(post(gateway.address, "PushEvent", &headers, proto).await.status, 200);
    // A message without anything may have no bytes, compressed or not.
    let nothing = post(gateway.address, "PushEvent", &headers, "").await;
    assert_refused(&nothing, 400, "invalid_argument", "exchange");
    assert_eq!(gateway.bus.published.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_version_need_not_be_said_but_is_1() {
    let gateway = TestGateway::start(None).await;
    for (version, status) in [("1", 200), ("2", 400), ("", 400), ("1.0", 400)] {
        let headers = [HOST, JSON, ("Connect-Protocol-Version", version)];
        let response = post(gateway.address, "PushEvent", &headers, event().to_string()).await;
        assert_eq!(response.status, status, "{version}");
        if status != 200 {
            assert_refused(&response, 400, "invalid_argument", "Connect-Protocol-Version");
        }
    }
}

#[tokio::test]
async fn the_callers_deadline_is_kept() {
    let gateway = TestGateway::start(None).await;
    let within = |time| [HOST, JSON, ("Connect-Timeout-Ms", time)];
    let mut hanging = event();
    hanging["exchange"] = "hangs".into();
    for time in ["0", "50"] {
        let response = post(gateway.address, "PushEvent", &within(time), hanging.to_string()).await;
        assert_refused(&response, 504, "deadline_exceeded", "time");
    }
    for time in ["", "-1", "+1", "1.5", "soon", "12345678901"] {
        let response = post(gateway.address, "PushEvent", &within(time), event().to_string()).await;
        assert_refused(&response, 400, "invalid_argument", "Connect-Timeout-Ms");
    }
    let response =
        post(gateway.address, "PushEvent", &within("9999999999"), event().to_string()).await;
    assert_eq!(response.status, 200, "{response:?}");
}

#[tokio::test]
async fn the_token_is_asked_for() {
    let gateway = TestGateway::start(Some("s3cret")).await;
    for (authorization, word) in [
        (None, "is missing"),
        (Some("Bearer s3cre"), "is another"),
        (Some("Bearer s3cretX"), "is another"),
        (Some("Basic bXl4aTpzM2NyZXQ="), "is another"),
        (Some(""), "is another"),
    ] {
        let headers: Vec<_> = [HOST, JSON]
            .into_iter()
            .chain(authorization.map(|value| ("Authorization", value)))
            .collect();
        let response = post(gateway.address, "PushEvent", &headers, event().to_string()).await;
        assert_refused(&response, 401, "unauthenticated", word);
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    }
    assert!(gateway.bus.published.lock().unwrap().is_empty());
    let headers = [HOST, JSON, ("Authorization", "bearer s3cret")];
    let response = post(gateway.address, "PushEvent", &headers, event().to_string()).await;
    assert_eq!(response.status, 200, "{response:?}");
}

/// The status and the body that a request over HTTP/2 has.
async fn over_http2(gateway: &TestGateway, request: http::request::Builder) -> (u16, String) {
    let stream = TcpStream::connect(gateway.address).await.expect("a connection");
    within(DEADLINE, "an answer over HTTP/2", async {
        let (mut sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = request.method("POST").body(()).expect("a request");
        let (response, mut body) = sender.send_request(request, false).expect("sent");
        // A refusal need not wait for it.
        let _ = body.send_data(Bytes::from(event().to_string()), true);
        let (head, mut body) = response.await.expect("a response").into_parts();
        let mut read = Vec::new();
        while let Some(data) = body.data().await {
            read.extend(data.expect("data"));
        }
        assert!(body.trailers().await.expect("the end").is_none(), "Connect has no trailers");
        (head.status.as_u16(), String::from_utf8(read).expect("UTF-8"))
    })
    .await
}

#[tokio::test]
async fn it_is_the_same_over_http2_beside_grpc() {
    let gateway = TestGateway::start(None).await;
    let request = |authority: &str| {
        let uri = format!("http://{authority}{}", path("PushEvent"));
        http::Request::builder().uri(uri).header("content-type", "application/json")
    };
    let (status, body) = over_http2(&gateway, request("localhost")).await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("eventId"), "{body}");
    for (refused, expected) in [
        (request("attacker.example"), 403),
        (request("localhost").header("host", "attacker.example"), 403),
        (request("localhost").header("origin", "null"), 403),
        (http::Request::builder().uri(format!("http://localhost{}", path("PushEvent"))), 415),
    ] {
        let (status, body) = over_http2(&gateway, refused).await;
        assert_eq!(status, expected, "{body}");
    }
    gateway.push(gateway_api::event("widgets")).await.expect("gRPC");
    assert_eq!(gateway.bus.published.lock().unwrap().len(), 2);
}

/// Reads one response with a length from a connection that stays.
pub(super) async fn next_response(stream: &mut TcpStream) -> Response {
    within(DEADLINE, "a response", async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        let head = String::from_utf8(head).expect("UTF-8");
        let mut response = Response::read(&head);
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        stream.read_exact(&mut body).await.expect("a body");
        response.body = String::from_utf8(body).expect("UTF-8");
        response
    })
    .await
}

pub(super) fn kept_request(body: &str) -> String {
    let (path, length) = (path("PushEvent"), body.len());
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_connection_is_kept_for_further_requests_and_answers_them_in_order() {
    let gateway = TestGateway::start(None).await;
    let mut stream = TcpStream::connect(gateway.address).await.expect("a connection");
    let request = |id: &str| {
        let mut event = event();
        event["eventId"] = id.into();
        kept_request(&event.to_string())
    };
    for id in ["a", "b"] {
        stream.write_all(request(id).as_bytes()).await.expect("sent");
        assert_eq!(next_response(&mut stream).await.json(), json!({"eventId": id}));
    }
    // All before the first is answered; one is refused.
    let ids = ["c", "", "d", "e"];
    let all = ids.map(request).concat();
    stream.write_all(all.as_bytes()).await.expect("sent");
    for id in ids {
        let response = next_response(&mut stream).await;
        match id {
            "" => assert_refused(&response, 400, "invalid_argument", "event_id"),
            id => assert_eq!(response.json(), json!({"eventId": id})),
        }
    }
}

/// A client that keeps connections must not ask on one that is about to be closed.
#[tokio::test]
async fn who_is_refused_before_the_body_was_read_is_told_that_the_connection_ends() {
    let gateway = TestGateway::start(None).await;
    let whole = kept_request(&event().to_string());
    let head = &whole[..whole.find('{').expect("a body")];
    for refused in [
        head.replace("Host: localhost", "Host: attacker.example"),
        head.replace("application/json", "text/plain"),
        head.replace("PushEvent", "Nothing"),
        head.replace("\r\n\r\n", "\r\nConnect-Protocol-Version: 2\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.expect("a connection");
        stream.write_all(refused.as_bytes()).await.expect("sent");
        let response = next_response(&mut stream).await;
        assert!(response.status >= 400, "{response:?}");
        assert_eq!(response.header("connection"), Some("close"), "{response:?}");
    }
    // Where nothing is left to be read, it stays.
    let mut stream = TcpStream::connect(gateway.address).await.expect("a connection");
    let empty = whole.replace(&whole[whole.find("Content-Length").expect("it")..], "\r\n");
    let wrong = kept_request("{}");
    for (request, status) in [(&*empty, 400), (&*wrong, 400), (&*whole, 200)] {
        stream.write_all(request.as_bytes()).await.expect("sent");
        let response = next_response(&mut stream).await;
        assert_eq!((response.status, response.header("connection")), (status, None));
    }
}

#[tokio::test]
async fn it_stops_when_told_though_connections_are_kept_and_what_is_under_way_is_answered() {
    let mut gateway = TestGateway::start(None).await;
    let mut kept = TcpStream::connect(gateway.address).await.expect("a connection");
    let mut asking = TcpStream::connect(gateway.address).await.expect("a connection");
    for stream in [&mut kept, &mut asking] {
        stream.write_all(kept_request(&event().to_string()).as_bytes()).await.expect("sent");
        assert_eq!(next_response(stream).await.status, 200);
    }
    let _silent = TcpStream::connect(gateway.address).await.expect("a connection");
    let mut begun = TcpStream::connect(gateway.address).await.expect("a connection");
    begun.write_all(b"POST / HTTP/1.1\r\n").await.expect("sent");
    let request = kept_request(&event().to_string());
    let request = request.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let (head, body) = request.split_at(request.find('{').expect("a body"));
    asking.write_all(head.as_bytes()).await.expect("sent");
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    within(DEADLINE, "to be asked for the body", asking.read_exact(&mut go_on)).await.expect("it");
    assert!(go_on.starts_with(b"HTTP/1.1 100 "), "{}", go_on.escape_ascii());

    gateway.shutdown.take().expect("it runs").send(()).expect("it runs");
    tokio::select! {
        biased;
        ended = within(DEADLINE, "the end", kept.read_u8()) => assert!(ended.is_err()),
        _ = &mut gateway.server => panic!("it waits for those that know nothing of its end"),
    }
    asking.write_all(body.as_bytes()).await.expect("sent");
    let last = next_response(&mut asking).await;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")), "{last:?}");
    timeout(DEADLINE, &mut gateway.server).await.expect("it stops").expect("without a panic");
    assert!(TcpStream::connect(gateway.address).await.is_err(), "nobody listens");
}

/// Whoever has asked for nothing is not waited for, nor complained of as a call that was cut off.
#[tokio::test]
async fn a_stop_waits_for_no_connection_without_a_request() {
    let app = TestHandler::start().await;
    let mut myxi = Myxi::serve(&app, &["--exchange=widgets"]).await;
    let mut kept = TcpStream::connect(myxi.grpc()).await.expect("a connection");
    kept.write_all(kept_request(&event().to_string()).as_bytes()).await.expect("sent");
    assert_eq!(next_response(&mut kept).await.status, 200);
    let mut begun = TcpStream::connect(myxi.grpc()).await.expect("a connection");
    begun.write_all(b"POST / HTTP/1.1\r\nHost: local").await.expect("sent");
    // It is read by the time that a later one is answered.
    let response = post(myxi.grpc(), "PushEvent", &[HOST, JSON], event().to_string()).await;
    assert_eq!(response.status, 200);
    myxi.signal("TERM");
    assert!(myxi.ended().await.success());
    let log = myxi.log().join("\n");
    assert!(!log.contains("cut off"), "{log}");
}
