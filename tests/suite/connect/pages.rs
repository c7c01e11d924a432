//! What a web page can make a browser send, and that none of it does anything: pages that are
//! told names of their own (DNS rebinding), forms, scripts, preflights.

use super::{HOST, JSON, assert_refused, event, path, post};
use crate::{
    gateway_api::TestGateway,
    support::{
        gateway::Gateway,
        handler::TestHandler,
        http::{self, Response},
        metrics::Scrape,
    },
};

const TOKEN: (&str, &str) = ("Authorization", "Bearer s3cret");

/// No answer is for a page to read.
#[track_caller]
fn assert_unreadable(response: &Response) {
    assert!(!response.head.to_lowercase().contains("access-control"), "{response:?}");
}

#[tokio::test]
async fn a_page_is_refused_whatever_it_sends_and_also_with_the_token() {
    for token in [None, Some("s3cret")] {
        let gateway = TestGateway::start(token).await;
        for page in [
            ("Origin", "http://localhost:5006"),
            ("Origin", "null"),
            ("Origin", ""),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            let headers = [HOST, JSON, TOKEN, page];
            let response = post(gateway.address, "PushEvent", &headers, event().to_string()).await;
            assert_refused(&response, 403, "permission_denied", "programs");
            assert_unreadable(&response);
        }
        assert!(gateway.bus.published.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_rebound_page_is_refused_by_the_name_that_it_asks_for() {
    let gateway = TestGateway::start(None).await;
    let port = gateway.address.port();
    let names = [
        format!("attacker.example:{port}"),
        "attacker.example".into(),
        "localhost.attacker.example".into(),
        "127.0.0.1.attacker.example".into(),
        "".into(),
    ];
    for name in &names {
        let headers = [("Host", &**name), JSON];
        let response = post(gateway.address, "PushEvent", &headers, event().to_string()).await;
        assert_refused(&response, 403, "permission_denied", "Host must be localhost");
    }
    let response = post(gateway.address, "PushEvent", &[JSON], event().to_string()).await;
    assert_refused(&response, 403, "permission_denied", "Host must be localhost");
    // The whole URI goes before the header.
    let line = format!("POST http://attacker.example{}", path("PushEvent"));
    let response = http::request(gateway.address, &line, &[HOST, JSON], event().to_string()).await;
    assert_refused(&response, 403, "permission_denied", "Host must be localhost");
    assert!(gateway.bus.published.lock().unwrap().is_empty());

    let own = gateway.address.to_string();
    for name in ["localhost", &*format!("LOCALHOST:{port}"), &own, "[::1]:5006", "192.0.2.1"] {
        let headers = [("Host", name), JSON];
        let response = post(gateway.address, "PushEvent", &headers, event().to_string()).await;
        assert_eq!(response.status, 200, "{name}: {response:?}");
    }
}

/// A page knows no token; a program by another name may.
#[tokio::test]
async fn with_a_token_the_host_may_have_any_name() {
    let gateway = TestGateway::start(Some("s3cret")).await;
    let host = ("Host", "gateway.internal:5006");
    let response =
        post(gateway.address, "PushEvent", &[host, JSON, TOKEN], event().to_string()).await;
    assert_eq!(response.status, 200, "{response:?}");
    let response = post(gateway.address, "PushEvent", &[host, JSON], event().to_string()).await;
    assert_refused(&response, 401, "unauthenticated", "--grpc-token");
}

#[tokio::test]
async fn what_a_page_can_send_without_being_asked_is_of_no_type_that_is_read() {
    let gateway = TestGateway::start(None).await;
    let body = event().to_string();
    for sent in [
        "text/plain",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
        "application/json, text/plain",
        "text/json",
        "application/json-seq",
        "application/jsonx",
        "application/json; charset=utf-16",
        "application/grpc",
        "application/grpc-web",
        "application/connect+json",
        "*/*",
        "",
    ] {
        let headers = [HOST, ("Content-Type", sent)];
        let response = post(gateway.address, "PushEvent", &headers, &body).await;
        assert_refused(&response, 415, "invalid_argument", "Content-Type");
        assert_eq!(response.header("accept-post"), Some("application/json, application/proto"));
        assert_unreadable(&response);
    }
    let none = post(gateway.address, "PushEvent", &[HOST], &body).await;
    assert_refused(&none, 415, "invalid_argument", "Content-Type");
    let two = [HOST, JSON, ("Content-Type", "text/plain")];
    let two = post(gateway.address, "PushEvent", &two, &body).await;
    assert_refused(&two, 415, "invalid_argument", "Content-Type");
    assert!(gateway.bus.published.lock().unwrap().is_empty());

    for sent in [
        "application/json;charset=UTF-8",
        "Application/JSON",
        "application/json; charset=\"utf-8\"",
    ] {
        let headers = [HOST, ("Content-Type", sent)];
        let response = post(gateway.address, "PushEvent", &headers, &body).await;
        assert_eq!(response.status, 200, "{sent}: {response:?}");
    }
}

#[tokio::test]
async fn nothing_but_a_post_is_answered_and_no_page_is_told_that_it_may_ask() {
    let gateway = TestGateway::start(None).await;
    let query = format!("{}?connect=v1&encoding=json&message=%7B%7D", path("PushEvent"));
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "post", "BREW"] {
        let line = format!("{method} {query}");
        let response = http::request(gateway.address, &line, &[HOST, JSON], "").await;
        assert_eq!((response.status, response.header("allow")), (405, Some("POST")), "{method}");
        assert_unreadable(&response);
    }
    let preflight = [
        HOST,
        ("Origin", "https://attacker.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
        ("Access-Control-Request-Private-Network", "true"),
    ];
    let line = format!("OPTIONS {}", path("PushEvent"));
    let response = http::request(gateway.address, &line, &preflight, "").await;
    assert_refused(&response, 403, "permission_denied", "programs");
    assert_unreadable(&response);
}

#[tokio::test]
async fn there_is_nothing_at_other_paths() {
    let gateway = TestGateway::start(None).await;
    for path in [
        "/",
        "/myxi.v1.Gateway",
        "/myxi.v1.Gateway/",
        "/myxi.v1.Gateway/Push",
        "/myxi.v1.Gateway/PushEvent/",
        "//myxi.v1.Gateway/PushEvent",
        "/myxi.v1.Gateway/pushevent",
        "/grpc.health.v1.Health/Check",
        "*",
    ] {
        let line = format!("POST {path}");
        let response = http::request(gateway.address, &line, &[HOST, JSON], "{}").await;
        assert_refused(&response, 404, "unimplemented", "no such");
    }
}

#[tokio::test]
async fn who_is_turned_away_is_counted_by_the_reason() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let body = event().to_string();
    let text = ("Content-Type", "text/plain");
    for headers in [
        &[HOST, JSON, ("Origin", "null")][..],
        &[("Host", "attacker.example"), JSON],
        &[("Host", "attacker.example"), text],
        &[HOST, text],
    ] {
        post(gateway.grpc(), "PushEvent", headers, &body).await;
    }
    http::get(gateway.grpc(), &path("PushEvent"), "localhost").await;
    post(gateway.grpc(), "Nothing", &[HOST, JSON], &body).await;
    let counted =
        |reason, count| (format!("myxi_gateway_calls_refused_total{{reason=\"{reason}\"}}"), count);
    let counts = [
        ("web_page", 1),
        ("host", 2),
        ("content_type", 1),
        ("method", 1),
        ("no_service", 1),
        ("no_token", 0),
    ]
    .map(|(reason, count)| counted(reason, count));
    Scrape::of(&gateway).await.shows(counts.iter().map(|(sample, count)| (&**sample, *count)));
}
