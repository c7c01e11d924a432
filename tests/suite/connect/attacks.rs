//! What must not be done over HTTP/1.1, or too slowly, or too much of: it ends in time, costs
//! little, and keeps nobody out.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::Code;

use super::{
    HOST, JSON, ask, assert_refused, event, path, post,
    protocol::{gzip, kept_request, next_response},
};
use crate::{
    gateway_api::{self, TestGateway},
    support::{
        DEADLINE,
        handler::{
            TestHandler,
            proto::{PushEventRequest, PushEventsRequest, gateway_client::GatewayClient},
        },
        http::Response,
        process::Myxi,
        usage::Process,
        within,
    },
};

/// Most that a body of JSON may have.
const BODY_MAX: usize = 2 * ((4 << 20) + (256 << 10));

/// More than anybody waits for a slow peer, and less than for a broken one.
const DRIP: Duration = Duration::from_millis(200);

async fn connect(server: SocketAddr) -> TcpStream {
    TcpStream::connect(server).await.expect("a connection")
}

/// What is said until the end of the connection, which must come.
async fn last_words(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is an end, too.
    let _ = within(DEADLINE, "the end", stream.read_to_end(&mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}

/// Sends bit by bit until the other side ends it, which it must; and what it said.
async fn drip(mut stream: TcpStream, bit: &[u8]) -> String {
    let mut said = Vec::new();
    within(DEADLINE, "the end", async {
        loop {
            if stream.write_all(bit).await.is_err() {
                break;
            }
            if let Ok(Ok(0) | Err(_)) = timeout(DRIP, stream.read_buf(&mut said)).await {
                break;
            }
        }
    })
    .await;
    String::from_utf8_lossy(&said).into_owned()
}

fn head(more: &str) -> String {
    let path = path("PushEvent");
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}")
}

async fn assert_serves(gateway: &TestGateway) {
    let response = ask(gateway, "PushEvent", event().to_string()).await;
    assert_eq!(response.status, 200, "{response:?}");
    gateway.push(gateway_api::event("widgets")).await.expect("gRPC");
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_ends_the_connection() {
    let gateway = TestGateway::start(None).await;
    // Where nothing tells yet what is spoken, where it might still be HTTP/2, and in a header.
    let mut waiting = tokio::task::JoinSet::new();
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "POST / HTTP/1.1\r\nHost: local"] {
        let mut stream = connect(gateway.address).await;
        stream.write_all(begun.as_bytes()).await.expect("sent");
        waiting.spawn(last_words(stream));
    }
    let mut slow = connect(gateway.address).await;
    slow.write_all(head("X: ").as_bytes()).await.expect("sent");
    waiting.spawn(async move { drip(slow, b"x").await });
    while let Some(said) = waiting.join_next().await {
        let said = said.expect("it ends");
        assert!(!said.contains("200"), "{said}");
    }
    assert_serves(&gateway).await;
}

/// The same after an answer.
#[tokio::test]
async fn a_connection_that_is_kept_for_nothing_is_ended() {
    let gateway = TestGateway::start(None).await;
    let mut stream = connect(gateway.address).await;
    stream.write_all(kept_request(&event().to_string()).as_bytes()).await.expect("sent");
    assert_eq!(next_response(&mut stream).await.status, 200);
    assert_eq!(last_words(stream).await, "");
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_refused_and_ends_the_connection() {
    let gateway = TestGateway::start(None).await;
    let (mut stuck, mut slow) = (connect(gateway.address).await, connect(gateway.address).await);
    stuck.write_all(head("Content-Length: 100\r\n\r\n{").as_bytes()).await.expect("sent");
    slow.write_all(head("Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.expect("sent");
    let (stuck, slow) = tokio::join!(last_words(stuck), drip(slow, b"1\r\n \r\n"));
    for said in [stuck, slow] {
        assert_refused(&Response::read(&said), 504, "deadline_exceeded", "the body");
    }
    assert!(gateway.bus.published.lock().unwrap().is_empty());
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn a_head_without_end_is_refused_at_its_bound() {
    let gateway = TestGateway::start(None).await;
    let lines = "x: y\r\n".repeat(20_000);
    let long = format!("x: {}", "y".repeat(200_000));
    let path = format!("POST /{} HTTP/1.1\r\n", "p".repeat(200_000));
    for sent in [head(&lines), head(&long), path] {
        let mut stream = connect(gateway.address).await;
        // It may be ended in the middle.
        let _ = stream.write_all(sent.as_bytes()).await;
        let said = last_words(stream).await;
        let status = Response::read(&said).status;
        assert!([400, 414, 431].contains(&status), "{said}");
    }
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn what_is_no_http_is_ended() {
    let gateway = TestGateway::start(None).await;
    let noise: Vec<u8> =
        (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for sent in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        &noise,
    ] {
        let mut stream = connect(gateway.address).await;
        let _ = stream.write_all(sent).await;
        let said = last_words(stream).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read_or_where_it_goes_over() {
    let gateway = TestGateway::start(None).await;
    // It says so itself: whoever waits to be asked for it hears why, and who sends on all the
    // same does, too.
    for sent in [0, 64 << 10] {
        let mut stream = connect(gateway.address).await;
        let more = format!("Content-Length: {}\r\n\r\n", BODY_MAX + 1);
        let request = [head(&more).into_bytes(), vec![b' '; sent]].concat();
        stream.write_all(&request).await.expect("sent");
        let mut said = String::new();
        // Without a reset, which may overtake what is said.
        let ended = within(DEADLINE, "the end", stream.read_to_string(&mut said)).await;
        ended.expect("an end that lets the answer through");
        assert_refused(&Response::read(&said), 400, "out_of_range", &BODY_MAX.to_string());
    }
    // Of one in chunks it is not known before.
    let mut stream = connect(gateway.address).await;
    stream.write_all(head("Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.expect("sent");
    let chunk = [b"100000\r\n", &vec![b' '; 1 << 20][..], b"\r\n"].concat();
    while stream.write_all(&chunk).await.is_ok() {
        let mut byte = [0];
        if timeout(Duration::from_millis(1), stream.peek(&mut byte)).await.is_ok() {
            break;
        }
    }
    let said = Response::read(&last_words(stream).await);
    assert_refused(&said, 400, "out_of_range", "too large");
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn a_body_in_chunks_is_read_and_broken_chunks_are_not() {
    let gateway = TestGateway::start(None).await;
    let chunks: String =
        event().to_string().chars().map(|letter| format!("1\r\n{letter}\r\n")).collect();
    let mut stream = connect(gateway.address).await;
    let sent = head("Transfer-Encoding: chunked\r\n\r\n") + &chunks + "0\r\n\r\n";
    stream.write_all(sent.as_bytes()).await.expect("sent");
    assert_eq!(next_response(&mut stream).await.status, 200);
    // The connection is where it should be.
    stream.write_all(kept_request(&event().to_string()).as_bytes()).await.expect("sent");
    assert_eq!(next_response(&mut stream).await.status, 200);
    drop(stream);

    let body = event().to_string();
    for (more, body) in [
        ("Transfer-Encoding: chunked\r\n\r\n", "zz\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n\r\n", "ffffffffffffffffff\r\n"),
        ("Transfer-Encoding: chunked, gzip\r\n\r\n", &*body),
        ("Content-Length: 5\r\nContent-Length: 6\r\n\r\n", &*body),
        ("Content-Length: -1\r\n\r\n", &*body),
        ("Content-Length: 99999999999999999999999\r\n\r\n", &*body),
    ] {
        let mut stream = connect(gateway.address).await;
        stream.write_all((head(more) + body).as_bytes()).await.expect("sent");
        let said = last_words(stream).await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{more}: {said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
    }
    // Who hangs up in the middle of a body has asked for nothing.
    let mut stream = connect(gateway.address).await;
    let sent = head(&format!("Content-Length: {}\r\n\r\n", body.len() + 1)) + &body;
    stream.write_all(sent.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("shut");
    last_words(stream).await;
    assert_eq!(gateway.bus.published.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_bomb_of_gzip_is_refused_at_the_limit_of_what_it_becomes() {
    let app = TestHandler::start().await;
    let myxi = Myxi::serve(&app, &["--exchange=widgets"]).await;
    let zeros = vec![b' '; 16 << 20];
    let bomb = gzip(&zeros);
    // Many in a row are one body: of half a gibibyte.
    let row = bomb.repeat(32);
    let nested = gzip(&gzip(&zeros));
    let headers = [HOST, JSON, ("Content-Encoding", "gzip")];
    for (sent, status, code) in
        [(bomb, 400, "out_of_range"), (row, 400, "out_of_range"), (nested, 400, "invalid_argument")]
    {
        let response = post(myxi.grpc(), "PushEvent", &headers, sent).await;
        assert_refused(&response, status, code, "");
    }
    let peak = Process(myxi.pid()).peak();
    assert!(peak < 256 << 20, "{peak}");
    let response = post(myxi.grpc(), "PushEvent", &[HOST, JSON], event().to_string()).await;
    assert_eq!(response.status, 200, "{response:?}");
}

/// Of two bytes each, they would take fifty times as much once they are read.
#[tokio::test]
async fn millions_of_empty_events_are_refused_before_there_are_as_many() {
    let app = TestHandler::start().await;
    let myxi = Myxi::serve(&app, &["--exchange=widgets"]).await;
    let proto = b"\x0a\0".repeat(2_200_000);
    let json = [&b"{\"events\":["[..], &b"{},".repeat(2_900_000), b"{}]}"].concat();
    for (content_type, body) in [("application/proto", proto), (JSON.1, json)] {
        let headers = [HOST, ("Content-Type", content_type)];
        let response = post(myxi.grpc(), "PushEvents", &headers, body).await;
        assert_refused(&response, 400, "invalid_argument", "1 to 1000 events");
    }
    let by_grpc = PushEventsRequest { events: vec![PushEventRequest::default(); 2_200_000] };
    let mut client = GatewayClient::connect(format!("http://{}", myxi.grpc())).await.unwrap();
    let refusal = client.push_events(by_grpc).await.expect_err("too many");
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains("1 to 1000 events"), "{refusal}");
    let peak = Process(myxi.pid()).peak();
    assert!(peak < 256 << 20, "{peak}");
}

#[tokio::test]
async fn the_bodies_under_way_are_bounded_together_whoever_sends_them() {
    let gateway = TestGateway::start(None).await;
    // Compressed or not: what they hold is what was sent of them.
    let half_sent = async |encoding: &str, held: usize| {
        let mut stream = connect(gateway.address).await;
        let length = held + 1_000;
        let sent = head(&format!("{encoding}Content-Length: {length}\r\n\r\n")).into_bytes();
        stream.write_all(&[sent, vec![0; held]].concat()).await.expect("sent");
        stream
    };
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(half_sent("Content-Encoding: gzip\r\n", 10_000).await);
    }
    assert_serves(&gateway).await;
    let headers = [HOST, JSON, ("Content-Encoding", "gzip")];
    let body = gzip(event().to_string().as_bytes());
    assert_eq!(post(gateway.address, "PushEvent", &headers, body).await.status, 200);
    for _ in 0..8 {
        held.push(half_sent("", 8_000_000).await);
    }
    within(DEADLINE, "a refusal", async {
        loop {
            let headers = [HOST, JSON, ("Content-Encoding", "gzip")];
            let response =
                post(gateway.address, "PushEvent", &headers, gzip(&[b' '; 10_000_000])).await;
            if response.status == 429 {
                assert_refused(&response, 429, "resource_exhausted", "under way");
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    drop(held);
    within(DEADLINE, "room", async {
        let headers = [HOST, JSON, ("Content-Encoding", "gzip")];
        let body = gzip(event().to_string().as_bytes());
        while post(gateway.address, "PushEvent", &headers, &body).await.status != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// More than there are places: the others come in when these are ended.
#[tokio::test]
async fn connections_that_do_nothing_keep_nobody_out_and_are_ended() {
    rlimit::increase_nofile_limit(u64::MAX).expect("descriptors");
    let gateway = TestGateway::start(None).await;
    let mut idle = tokio::task::JoinSet::new();
    for number in 0..1_200 {
        let mut stream = connect(gateway.address).await;
        let begun = ["", "POST ", "POST / HTTP/1.1\r\n", "PRI * HTTP/2.0"][number % 4];
        stream.write_all(begun.as_bytes()).await.expect("sent");
        idle.spawn(last_words(stream));
    }
    assert_serves(&gateway).await;
    while let Some(said) = idle.join_next().await {
        said.expect("it ends");
    }
    assert_serves(&gateway).await;
}

/// Of a thousand places half are taken: who keeps one then keeps it from others.
#[tokio::test]
async fn where_it_is_crowded_a_connection_is_for_one_request() {
    rlimit::increase_nofile_limit(u64::MAX).expect("descriptors");
    let gateway = TestGateway::start(None).await;
    let roomy = ask_kept(&gateway).await;
    assert_eq!(roomy.header("connection"), None, "{roomy:?}");
    let mut taken = Vec::new();
    for _ in 0..600 {
        let mut stream = connect(gateway.address).await;
        stream.write_all(b"POST ").await.expect("sent");
        taken.push(stream);
    }
    let crowded = ask_kept(&gateway).await;
    assert_eq!(crowded.header("connection"), Some("close"), "{crowded:?}");
}

async fn ask_kept(gateway: &TestGateway) -> Response {
    let mut stream = connect(gateway.address).await;
    stream.write_all(kept_request(&event().to_string()).as_bytes()).await.expect("sent");
    next_response(&mut stream).await
}

/// Nor is it read any more, so that what waits for it is bounded.
#[tokio::test]
async fn a_flood_of_requests_whose_answers_nobody_reads_keeps_nobody_out() {
    let gateway = TestGateway::start(None).await;
    let mut stream = connect(gateway.address).await;
    let many = kept_request("{}").repeat(1_000);
    within(DEADLINE, "an end of what is taken", async {
        while let Ok(sent) = timeout(DRIP * 10, stream.write_all(many.as_bytes())).await {
            sent.expect("the connection stays");
        }
    })
    .await;
    for _ in 0..20 {
        assert_serves(&gateway).await;
    }
}
