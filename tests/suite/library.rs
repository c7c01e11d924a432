//! The client library at `/myxi.js` of the clients' listener.

use std::net::SocketAddr;

use crate::support::{gateway::Gateway, handler::TestHandler, http, process::Myxi};

const FILE: &str = include_str!("../../clients/js/dist/myxi.js");

/// Long enough for a test to fail on it, were a connection kept open for a handshake.
const PATIENT: [&str; 2] = ["--exchange=widgets", "--handshake-timeout=1m"];

/// The head, in lower case, and the body of an answer; it must close the connection.
async fn ask(server: SocketAddr, method: &str, path: &str, headers: &str) -> (String, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\n{headers}\r\n");
    let answer = http::exchange(server, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_lowercase(), body.to_owned())
}

fn etag(head: &str) -> &str {
    let (_, value) = head.split_once("\r\netag: ").expect("an ETag");
    value.lines().next().expect("a value")
}

fn assert_has(head: &str, lines: &[&str]) {
    for line in lines {
        assert!(head.lines().any(|one| one == *line), "no {line:?}: {head}");
    }
}

#[tokio::test]
async fn it_is_served_whole_to_pages_of_any_origin() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &PATIENT).await;
    for origin in ["", "Origin: https://elsewhere.example\r\n", "Origin: null\r\n"] {
        let (head, body) = ask(gateway.clients(), "GET", "/myxi.js", origin).await;
        assert_eq!(http::status(&head), 200, "{head}");
        assert_eq!(body, FILE);
        assert_has(
            &head,
            &[
                "content-type: text/javascript; charset=utf-8",
                "cache-control: no-cache",
                "access-control-allow-origin: *",
                // It takes the place of somebody's handshake for no longer than it must.
                "connection: close",
            ],
        );
        assert!(etag(&head).starts_with('"'), "a strong one: {head}");
    }
    let asked = ask(gateway.clients(), "GET", "/myxi.js?v=1", "").await;
    assert_eq!(asked.1, FILE, "whatever the query");
}

#[tokio::test]
async fn whoever_has_this_version_is_not_sent_it_again() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &PATIENT).await;
    let etag = etag(&ask(gateway.clients(), "GET", "/myxi.js", "").await.0).to_owned();
    for named in [&etag, &format!("\"old\", {etag}"), &format!("W/{etag}"), "*"] {
        let header = format!("If-None-Match: {named}\r\n");
        for method in ["GET", "HEAD"] {
            let (head, body) = ask(gateway.clients(), method, "/myxi.js", &header).await;
            assert_eq!((http::status(&head), body.as_str()), (304, ""), "{named}: {head}");
            assert_has(&head, &[&format!("etag: {etag}"), "cache-control: no-cache"]);
        }
    }
    let (head, body) =
        ask(gateway.clients(), "GET", "/myxi.js", "If-None-Match: \"old\"\r\n").await;
    assert_eq!((http::status(&head), body.as_str()), (200, FILE));
}

#[tokio::test]
async fn only_reading_it_is_possible_and_only_there() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &PATIENT).await;
    let (head, body) = ask(gateway.clients(), "HEAD", "/myxi.js", "").await;
    assert_eq!((http::status(&head), body.as_str()), (200, ""));
    assert_has(&head, &[&format!("content-length: {}", FILE.len())]);

    let close = "Connection: close\r\n";
    let (head, _) = ask(gateway.clients(), "POST", "/myxi.js", close).await;
    assert_eq!(http::status(&head), 405);
    assert_has(&head, &["allow: get, head"]);
    for path in ["/myxi.js/", "/Myxi.js", "/myxi.mjs", "//myxi.js", "/pushwss/myxi.js"] {
        let (head, body) = ask(gateway.clients(), "GET", path, close).await;
        assert_eq!(http::status(&head), 404, "{path}");
        assert!(body.contains("/myxi.js"), "it says where: {body}");
    }
}

#[tokio::test]
async fn while_a_replica_still_takes_clients_it_has_their_library() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--shutdown-delay=1m"];
    let myxi = Myxi::serve(&app, &flags).await;
    myxi.signal("TERM");
    myxi.health_becomes("draining").await;
    let (head, body) = ask(myxi.clients(), "GET", "/myxi.js", "").await;
    assert_eq!((http::status(&head), body.as_str()), (200, FILE));
}
