//! The admin listener: liveness, readiness and who may ask; and a gateway that stands
//! without its application.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{DEADLINE, gateway::Gateway, handler::TestHandler, http, within};

async fn get(gateway: &Gateway, path: &str) -> (u16, Value) {
    let (status, body) = http::get(gateway.admin(), path, "localhost").await;
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[tokio::test]
async fn a_healthy_gateway_is_live_and_ready_and_names_its_bus() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    assert_eq!(get(&gateway, "/health/live").await, (200, json!({"status": "live"})));
    let ready = json!({"status": "ready", "bus": "memory", "reasons": []});
    assert_eq!(get(&gateway, "/health/ready").await, (200, ready));
}

#[tokio::test]
async fn only_what_is_there_is_answered_and_only_to_a_get() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    for (request, status) in [
        ("GET /health/ready?verbose=1 HTTP/1.1\r\nHost: localhost", 200),
        ("HEAD /health/ready HTTP/1.1\r\nHost: localhost", 200),
        ("POST /health/ready HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0", 405),
        ("DELETE /health/live HTTP/1.1\r\nHost: localhost", 405),
        ("GET /nothing HTTP/1.1\r\nHost: localhost", 404),
        ("GET /health HTTP/1.1\r\nHost: localhost", 404),
        ("GET /health/live/ HTTP/1.1\r\nHost: localhost", 404),
        ("GET /health/live HTTP/1.1", 200),
        ("GET /health/ready HTTP/1.0", 200),
        ("HEAD /health/ready HTTP/1.0", 200),
        ("GET / HTTP/1.1", 403),
        ("GET / HTTP/1.0", 403),
        ("nonsense", 400),
    ] {
        let bytes = format!("{request}\r\nConnection: close\r\n\r\n");
        let response = http::exchange(gateway.admin(), bytes.as_bytes()).await;
        assert_eq!(http::status(&response), status, "{request:?}: {response}");
        let allow = response.to_ascii_lowercase().contains("\r\nallow: get, head\r\n");
        assert_eq!(allow, status == 405, "{request:?}: {response}");
    }
}

/// A page can point a name of its own at this address (DNS rebinding).
#[tokio::test]
async fn only_addresses_localhost_and_configured_names_may_be_asked_for() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--admin-host=probe.internal"];
    let gateway = Gateway::with(&app, &flags).await;
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:5007", 200),
        ("127.0.0.1:5007", 200),
        ("10.1.2.3", 200),
        ("[::1]", 200),
        ("[::1]:5007", 200),
        ("probe.internal:80", 200),
        ("Probe.Internal", 200),
        ("attacker.example", 403),
        ("attacker.example:5007", 403),
        ("localhost.attacker.example", 403),
        ("127.0.0.1.attacker.example", 403),
        ("evil-probe.internal", 403),
        ("", 403),
    ] {
        assert_eq!(http::get(gateway.admin(), "/api/overview", host).await.0, status, "{host:?}");
        // Probes ask under any name.
        for path in ["/health/live", "/health/ready"] {
            assert_eq!(http::get(gateway.admin(), path, host).await.0, 200, "{host:?} {path}");
        }
    }
}

#[tokio::test]
async fn clients_are_told_the_word_alone_and_only_where_it_is_configured() {
    let app = TestHandler::start().await;
    let plain = Gateway::start(&app).await;
    assert_eq!(http::get(plain.clients(), "/health/ready", "x").await.0, 404);
    let nobody = crate::support::handler::free_address();
    let broker = format!("--rabbitmq-url=amqp://{nobody}");
    let flags = ["--exchange=widgets", "--health-on-listen", "--max-pending-handshakes=1"];
    let starting = Gateway::unready(&app, &[&flags[..], &[&broker]].concat()).await;
    let ready = http::get(starting.clients(), "/health/ready", "balancer.internal").await;
    assert_eq!(ready, (503, "starting\n".into()));
    assert_eq!(http::get(starting.clients(), "/health/live", "").await, (200, "live\n".into()));

    let gateway = Gateway::with(&app, &flags).await;
    for (request, status, body) in [
        ("GET /health/ready HTTP/1.1\r\nHost: any.example", 200, "ready\n"),
        ("GET /health/ready HTTP/1.0", 200, "ready\n"),
        ("GET /health/live?x HTTP/1.1\r\nHost: x", 200, "live\n"),
        ("HEAD /health/ready HTTP/1.1\r\nHost: x", 200, ""),
        ("POST /health/ready HTTP/1.1\r\nHost: x\r\nContent-Length: 0", 405, "only GET\n"),
    ] {
        // It is not asked to close, and does.
        let bytes = format!("{request}\r\n\r\n");
        let response = http::exchange(gateway.clients(), bytes.as_bytes()).await;
        assert_eq!(http::status(&response), status, "{request:?}: {response}");
        assert!(response.ends_with(&format!("\r\n\r\n{body}")), "{request:?}: {response}");
    }
    for path in ["/health", "/health/", "/health/ready/", "/metrics", "/api/overview"] {
        assert_eq!(http::get(gateway.clients(), path, "localhost").await.0, 404, "{path}");
    }
    gateway.client().await;
}

#[tokio::test]
async fn a_gateway_serves_before_its_application_is_there_and_finds_it_later() {
    let app = TestHandler::start().await;
    app.kill();
    let gateway = Gateway::unready(&app, &["--exchange=widgets"]).await;
    gateway.health_becomes("degraded").await;
    let mut client = gateway.client().await;
    let error = client.error("Hello", json!({})).await;
    assert_eq!(error["error"], "ApplicationUnavailable");
    assert_eq!(error["retryable"], true);
    let topic = json!({"exchange": "widgets", "routing_key": "1"});
    let error = client.error("Subscribe", topic).await;
    assert_eq!(error["error"], "ApplicationUnavailable");
    let (status, body) = gateway.health_becomes("degraded").await;
    assert_eq!(status, 200);
    assert!(body["reasons"][0].as_str().is_some_and(|why| why.contains("application")), "{body}");

    app.restart();
    app.on("Hello", |_| Ok(Default::default()));
    within(DEADLINE, "an answer of the application", async {
        while client.request("Hello", json!({})).await["event"] != "Done" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    client.subscribe("widgets", "1").await;
    assert_eq!(gateway.health_becomes("ready").await.0, 200);
}
