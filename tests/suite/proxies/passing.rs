//! What passes through a proxy, and for how long.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Error, Message,
    client::IntoClientRequest,
    http::{HeaderValue, Request},
};

use super::balancer::{Balancer, HOST, Proxy};
use crate::support::{
    client::Client,
    gateway::Gateway,
    handler::{TestHandler, reply},
    http,
};

/// An ordinary library's, with further headers.
fn handshake(headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = format!("ws://{HOST}/").into_client_request().expect("a URL");
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a header"));
    }
    request
}

async fn behind(proxy: Proxy, gateway: &Gateway) -> Balancer {
    Balancer::start(proxy, [gateway.clients(); 2]).await
}

pub async fn clients_and_pages_pass_as_if_nothing_stood_between(proxy: Proxy) {
    const LARGE: usize = 60 << 10;
    let app = TestHandler::start().await;
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    let flags = [
        "--exchange=widgets",
        "--trusted-proxy=127.0.0.1",
        "--health-on-listen",
        "--session-opened=required",
        "--subprotocol=v1",
    ];
    let gateway = Gateway::with(&app, &flags).await;
    let balancer = behind(proxy, &gateway).await;

    // Whose address is told, not the proxy's, nor one that it made up.
    let forged = [("x-forwarded-for", "192.0.2.7")];
    let mut client = balancer.client_from([127, 0, 0, 2], handshake(&forged)).await;
    client.event("Welcome").await;
    let opened = app.next("SessionOpened").await;
    let session = opened.opened().session.clone().expect("a session");
    assert_eq!((&*session.remote_address, &*session.path), ("127.0.0.2", "/"));

    // Large messages, both ways, and a close with its code.
    let text = "x".repeat(LARGE);
    assert_eq!(client.request("Echo", json!(text)).await["payload"], text);
    client.subscribe("widgets", "1").await;
    gateway.push("widgets", "1", "Changed", json!(text)).await;
    assert_eq!(client.event("Changed").await["payload"], text);
    let welcomed = connect(&balancer, &[("sec-websocket-protocol", "v1")]).await;
    welcomed.expect("a subprotocol").close().await;
    let id = session.id.clone();
    gateway.disconnect(&id, 4001, "come back").await;
    assert_eq!(client.closed().await.code, 4001);

    // Pages are of the host that was asked, and know no other.
    for (origin, status) in [("https://gateway.example", 101), ("https://elsewhere.example", 403)] {
        let connected = connect(&balancer, &[("origin", origin)]).await;
        assert_eq!(status_of(connected), status, "{origin}");
    }

    let library = http::get(balancer.address(), "/myxi.js", HOST).await;
    assert_eq!(library, http::get(gateway.clients(), "/myxi.js", HOST).await);
    assert_eq!(library.0, 200);
    assert_eq!(http::get(balancer.address(), "/elsewhere", HOST).await.0, 404);

    if let Some(address) = balancer.http() {
        let request = format!("GET /a?b HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
        let head = http::exchange(address, request.as_bytes()).await;
        assert_eq!(http::status(&head), 301, "{head}");
        assert!(
            head.to_lowercase().contains(&format!("location: https://{HOST}/a?b\r\n")),
            "{head}"
        );
    }

    let upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Origin: https://gateway.example",
    ];
    for (path, headers, status) in [("/myxi.js", &upgrade[..0], 200), ("/", &upgrade, 101)] {
        let head = balancer.head_over_tls(path, headers).await;
        assert_eq!(http::status(&head), status, "{head}");
    }
}

async fn connect(balancer: &Balancer, headers: &[(&'static str, &str)]) -> Result<Client, Error> {
    Client::connect_with(handshake(headers), balancer.address()).await
}

fn status_of(connected: Result<Client, Error>) -> u16 {
    match connected {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().into(),
        Err(other) => panic!("{other}"),
    }
}

/// Pings keep a connection alive for longer than the proxy would have it, and nothing else does.
pub async fn who_says_nothing_stays_connected(proxy: Proxy) {
    const PINGS: usize = 5;
    let app = TestHandler::start().await;
    // A small part of what the proxy waits, as 25 s are of its 90 s.
    let flags = ["--exchange=widgets", "--health-on-listen", "--ping-interval=3s"];
    let (idle, pinging) = ("12s", Gateway::with(&app, &flags).await);
    let places: [SocketAddr; 2] = [pinging.clients(); 2];
    let balancer = Balancer::start_with_idle(proxy, places, idle).await;
    let mut client = connect(&balancer, &[]).await.expect("connected");
    let mut pings = 0;
    while pings < PINGS {
        match client.message().await {
            Some(Ok(Message::Ping(_))) => pings += 1,
            Some(Ok(Message::Text(_))) => {}
            other => panic!("after {pings} pings: {other:?}"),
        }
    }
    client.close().await;

    if proxy.lets_go_of_the_silent() {
        let flags = ["--exchange=widgets", "--health-on-listen", "--ping-interval=1h"];
        let silent = Gateway::with(&app, &flags).await;
        let balancer = Balancer::start_with_idle(proxy, [silent.clients(); 2], idle).await;
        let mut client = connect(&balancer, &[]).await.expect("connected");
        client.patience = Duration::from_secs(30);
        assert_eq!(client.closed().await.code, 1006);
    }
}
