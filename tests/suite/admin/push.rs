//! Pushing by hand: the same path, the same rules as `PushEvent`.

use serde_json::json;

use super::Console;
use crate::support::{gateway::Gateway, handler::TestHandler, http};

#[tokio::test]
async fn what_is_pushed_reaches_subscribers_as_it_was_written() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let console = Console::of(&gateway);
    let mut client = gateway.client().await;
    client.subscribe("widgets", "12").await;

    let body = r#"{"exchange":"widgets","routing_key":12,"event":"E","payload":[1e2, "ü"]}"#;
    let pushed = console.push(body).await;
    assert_eq!(pushed.status, 200, "{pushed:?}");
    assert_eq!(pushed.json()["event_id"].as_str().map(str::len), Some(32));
    let event = r#"{"event":"E","payload":[1e2, "ü"],"mq":{"e":"widgets","rk":"12"}}"#;
    assert_eq!(client.text().await, event);

    let named = json!({"exchange": "widgets", "routing_key": "12", "event": "E", "event_id": "7"});
    assert_eq!(console.push(&named.to_string()).await.json(), json!({"event_id": "7"}));
    assert_eq!(client.next().await["payload"], json!({}));
}

#[tokio::test]
async fn a_refusal_names_what_is_wrong() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let large =
        format!(r#"{{"exchange":"widgets","event":"E","payload":"{}"}}"#, "x".repeat(300 << 10));
    for (body, status, named) in [
        ("", 400, "JSON"),
        ("{", 400, "JSON"),
        (r#"["widgets","1","E",{}]"#, 400, "object"),
        (r#"{"event":"E"}"#, 400, "exchange"),
        (r#"{"exchange":"widgets"}"#, 400, "event"),
        (r#"{"exchange":5,"event":"E"}"#, 400, "exchange"),
        (r#"{"exchange":"wid gets","event":"E"}"#, 400, "exchange"),
        (r#"{"exchange":"widgets","event":{}}"#, 400, "event"),
        (r#"{"exchange":"widgets","event":""}"#, 400, "event"),
        (r#"{"exchange":"widgets","event":"E","routing_key":[]}"#, 400, "routing_key"),
        (r#"{"exchange":"widgets","event":"E","routing_key":1.5}"#, 400, "routing_key"),
        (r#"{"exchange":"widgets","event":"E","event_id":1}"#, 400, "event_id"),
        (r#"{"exchange":"widgets","event":"E","event_id":""}"#, 400, "event_id"),
        (&large, 400, "--max-event-size"),
        (r#"{"exchange":"gadgets","event":"E"}"#, 404, "gadgets"),
    ] {
        let response = Console::of(&gateway).push(body).await;
        let error = response.json()["error"].to_string();
        assert_eq!(response.status, status, "{body:.80}: {error}");
        assert!(error.contains(named), "{body:.80}: {error}");
    }
}

#[tokio::test]
async fn a_body_has_a_size_and_a_time() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let head = "POST /api/push HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
                Content-Type: application/json\r\nConnection: close\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, " ".repeat(1 << 16));
    for (body, status) in [
        (format!("Content-Length: {}\r\n\r\n", (1 << 20) + 1), 413),
        (format!("Transfer-Encoding: chunked\r\n\r\n{}1\r\n \r\n", chunk.repeat(16)), 413),
        ("Content-Length: 10\r\n\r\n{".into(), 408),
    ] {
        let response = http::exchange(gateway.admin, format!("{head}{body}").as_bytes()).await;
        assert_eq!(http::status(&response), status, "{body:.40}: {response}");
    }
}

#[tokio::test]
async fn without_a_broker_it_is_told_that_nothing_was_published() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--rabbitmq-url=amqp://127.0.0.1:1"];
    let gateway = Gateway::unready(&app, &flags).await;
    let body = json!({"exchange": "widgets", "event": "E"}).to_string();
    let response = Console::of(&gateway).push(&body).await;
    assert_eq!(response.status, 503, "{response:?}");
    assert!(response.json()["error"].to_string().contains("not published"), "{response:?}");
}
