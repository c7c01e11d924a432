//! Who may ask: the token, this machine, and no other page.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use super::Console;
use crate::support::{gateway::Gateway, handler::TestHandler, http};

const READ: [&str; 9] = [
    "/",
    "/console.js",
    "/console.css",
    "/metrics",
    "/api/overview",
    "/api/history",
    "/api/sessions",
    "/api/topics",
    "/api/events",
];

#[tokio::test]
async fn every_page_is_there_for_the_machine_itself_and_never_kept() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let console = Console::of(&gateway);
    for path in READ {
        let response = console.get(path).await;
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert_eq!(response.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        let kind = match path {
            "/" => "text/html",
            "/console.js" => "text/javascript",
            "/console.css" => "text/css",
            "/metrics" => "",
            _ => "application/json",
        };
        assert!(response.header("content-type").is_some_and(|it| it.starts_with(kind)), "{path}");
        let policy = response.header("content-security-policy");
        assert_eq!(policy.is_some_and(|it| it.starts_with("default-src 'none';")), {
            !path.starts_with("/api/") && path != "/metrics"
        });
        let line = format!("POST {path}");
        let posted = http::request(console.0, &line, &[("Host", "localhost")], "").await;
        assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")), "{path}");
    }
    for path in ["/api/push", "/api/disconnect"] {
        let response = console.get(path).await;
        assert_eq!((response.status, response.header("allow")), (405, Some("POST")), "{path}");
    }
    assert!(console.get("/api/nothing").await.json()["error"].is_string());
}

#[tokio::test]
async fn with_a_token_only_health_is_for_everybody() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--admin-token=s3cr3t", "--admin-listen=0.0.0.0:0"];
    let gateway = Gateway::with(&app, &flags).await;
    let basic = |credentials: &str| format!("Basic {}", BASE64_STANDARD.encode(credentials));
    let sent = [
        (None, 401),
        (Some("Bearer s3cr3t".into()), 200),
        (Some("Bearer s3cr3T".into()), 401),
        (Some("Bearer s3cr3".into()), 401),
        (Some("Bearer ".into()), 401),
        (Some("s3cr3t".into()), 401),
        (Some(basic("adam:s3cr3t")), 200),
        (Some(basic(":s3cr3t").replace("Basic", "basic")), 200),
        (Some(basic("s3cr3t:")), 401),
        (Some(basic("s3cr3t")), 401),
        (Some(basic("adam:s3cr3t:")), 401),
        (Some("Basic s3cr3t!".into()), 401),
        (Some(format!("Digest {}", BASE64_STANDARD.encode("adam:s3cr3t"))), 401),
    ];
    for (token, status) in &sent {
        let mut headers = vec![("Host", "localhost")];
        headers.extend(token.as_deref().map(|token| ("Authorization", token)));
        for path in READ {
            let line = format!("GET {path}");
            let response = http::request(gateway.admin, &line, &headers, "").await;
            assert_eq!(response.status, *status, "{path} {token:?}");
            let asked = r#"Basic realm="myxi", charset="UTF-8""#;
            let asked = (*status == 401).then_some(asked);
            assert_eq!(response.header("www-authenticate"), asked, "{path} {token:?}");
        }
        for path in ["/health/live", "/health/ready"] {
            let line = format!("GET {path}");
            assert_eq!(http::request(gateway.admin, &line, &headers, "").await.status, 200);
        }
    }
    assert_eq!(Console::of(&gateway).push("{}").await.status, 401);
    assert_eq!(Console::of(&gateway).disconnect("{}").await.status, 401);
}

#[tokio::test]
async fn without_a_token_a_listener_for_all_shows_health_alone() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--admin-listen=0.0.0.0:0"];
    let gateway = Gateway::with(&app, &flags).await;
    let console = Console::of(&gateway);
    for path in READ {
        let response = console.get(path).await;
        assert_eq!(response.status, 403, "{path}");
        let error = response.json()["error"].to_string();
        assert!(error.contains("--admin-token"), "{error}");
    }
    assert_eq!(console.push("{}").await.status, 403);
    assert_eq!(console.disconnect("{}").await.status, 403);
    assert_eq!(console.get("/health/ready").await.status, 200);
}

/// Of a page that an operator's browser happens to show.
#[tokio::test]
async fn no_other_page_pushes_or_closes() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let (host, origin) = (("Host", "localhost:5007"), ("Origin", "http://localhost:5007"));
    let kind = ("Content-Type", "application/json");
    for (headers, status) in [
        (vec![host, origin, kind], 200),
        (vec![host, origin, ("Content-Type", "application/JSON; charset=utf-8")], 200),
        (vec![host, kind], 403),
        (vec![host, ("Origin", "null"), kind], 403),
        (vec![host, ("Origin", "http://localhost:5005"), kind], 403),
        (vec![host, ("Origin", "http://attacker.example"), kind], 403),
        (vec![host, origin, ("Origin", "http://attacker.example"), kind], 403),
        (vec![("Host", "attacker.example"), ("Origin", "http://attacker.example"), kind], 403),
        (vec![host, origin], 415),
        (vec![host, origin, ("Content-Type", "text/plain")], 415),
        (vec![host, origin, ("Content-Type", "application/x-www-form-urlencoded")], 415),
    ] {
        let body = json!({"exchange": "widgets", "event": "Pushed"}).to_string();
        let response = http::request(gateway.admin, "POST /api/push", &headers, &body).await;
        assert_eq!(response.status, status, "{headers:?}: {response:?}");
        let client = gateway.client().await;
        let body = json!({"session_id": client.id}).to_string();
        let response = http::request(gateway.admin, "POST /api/disconnect", &headers, &body).await;
        assert_eq!(response.status, status, "{headers:?}: {response:?}");
    }
    let names = ["/api/sessions", "/metrics", "/"];
    for path in names {
        let other = [("Host", "attacker.example")];
        let response = http::request(gateway.admin, &format!("GET {path}"), &other, "").await;
        assert_eq!(response.status, 403, "{path}");
    }
}
