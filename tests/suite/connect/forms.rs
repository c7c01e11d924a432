//! How a message may be written: names, payloads, and what is wrong with one.

use serde_json::json;

use super::{ask, assert_refused, event};
use crate::gateway_api::TestGateway;

/// The payload as it is on the bus, or what is told.
async fn pushed(payload: &str) -> Result<String, String> {
    let gateway = TestGateway::start(None).await;
    let body = format!(r#"{{"exchange":"widgets","event":"E"{payload}}}"#);
    let response = ask(&gateway, "PushEvent", body).await;
    if response.status != 200 {
        assert_eq!(response.status, 400, "{response:?}");
        return Err(response.json()["message"].as_str().expect("text").into());
    }
    let published = gateway.bus.published.lock().unwrap();
    Ok(published[0][0].body.payload.get().into())
}

#[tokio::test]
async fn a_payload_is_json_as_it_is_written_or_its_text() {
    for (written, expected) in [
        (
            r#","payload":{"n":1.0, "m":123456789012345678901234567890}"#,
            r#"{"n":1.0, "m":123456789012345678901234567890}"#,
        ),
        (r#","payload":[1e2 ,-0.10]"#, "[1e2 ,-0.10]"),
        (r#","payload":123456789012345678901234567890.00"#, "123456789012345678901234567890.00"),
        (r#","payload":false"#, "false"),
        (r#","payload":"{\"n\":1.0}""#, r#"{"n":1.0}"#),
        (r#","payload":"\"hi\"""#, r#""hi""#),
        (r#","payload":"null""#, "null"),
        (r#","payload":"""#, "{}"),
        (r#","payload":null"#, "{}"),
        ("", "{}"),
    ] {
        assert_eq!(pushed(written).await.as_deref(), Ok(expected), "{written}");
    }
    for written in [r#","payload":"hi""#, r#","payload":"{""#, r#","payload":"\ud800""#] {
        let told = pushed(written).await.expect_err(written);
        assert!(told.contains("payload"), "{told}");
    }
}

#[tokio::test]
async fn names_are_known_in_both_spellings() {
    let gateway = TestGateway::start(None).await;
    for body in [
        r#"{"exchange":"widgets","routing_key":"k","event":"E","event_id":"i"}"#,
        r#"{"exchange":"widgets","routingKey":"k","event":"E","eventId":"i"}"#,
        r#" { "eventId" : "i", "event" : "\u0045", "routing_key" : "k", "exchange" : "widgets" } "#,
    ] {
        let response = ask(&gateway, "PushEvent", body).await;
        assert_eq!((response.status, response.json()), (200, json!({"eventId": "i"})), "{body}");
    }
    let published = gateway.bus.published.lock().unwrap();
    for events in published.iter() {
        assert_eq!((events[0].topic.routing_key(), &*events[0].body.name), ("k", "E"));
    }
    assert_eq!(published.len(), 3);
}

#[tokio::test]
async fn what_is_null_is_absent() {
    let gateway = TestGateway::start(None).await;
    let body =
        r#"{"exchange":"widgets","routingKey":null,"event":"E","payload":null,"eventId":null}"#;
    let response = ask(&gateway, "PushEvent", body).await;
    assert_eq!(response.status, 200, "{response:?}");
    let id = response.json()["eventId"].as_str().map(str::len);
    assert_eq!(id, Some(32), "one is drawn");
    assert_eq!(gateway.bus.published.lock().unwrap()[0][0].topic.routing_key(), "");
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_name() {
    let gateway = TestGateway::start(None).await;
    let with = |name: &str, value: serde_json::Value| {
        let mut event = event();
        event[name] = value;
        event.to_string()
    };
    let long = "n".repeat(100_000);
    for (body, word) in [
        (with("routing_keys", json!("1")), "`routing_keys`"),
        (with("Exchange", json!("widgets")), "`Exchange`"),
        (with(&long, json!(1)), "nnnn"),
        (with("routing_key", json!("2")), "`routing_key`"),
        (with("exchange", json!(1)), "exchange must be a string"),
        (with("routingKey", json!(1)), "routing_key must be a string"),
        (with("event", json!([])), "event must be a string"),
        (with("eventId", json!({})), "event_id must be a string"),
        (with("event", json!("")), "event must be a name"),
        (with("payload", json!("x".repeat(2_000))), "payload"),
        (with("payload", json!(["x".repeat(1_000)])), "1000"),
        (json!({"events": [event(), {"exchange": 1}]}).to_string(), "`events`"),
        ("[\"widgets\",\"1\",\"E\"]".into(), "must be a JSON object"),
        ("null".into(), "must be a JSON object"),
        (String::new(), "not JSON"),
        ("{".into(), "not JSON"),
        (event().to_string() + "x", "not JSON"),
        ("exchange=widgets&event=E".into(), "not JSON"),
    ] {
        let response = ask(&gateway, "PushEvent", &body).await;
        assert_refused(&response, 400, "invalid_argument", word);
        assert!(response.body.len() < 1_000, "a stranger's text is cut: {response:?}");
    }
    let not_utf8 = [&br#"{"exchange":"widgets","event":"\xff"#[..], b"\xff\"}"].concat();
    let response = ask(&gateway, "PushEvent", not_utf8).await;
    assert_refused(&response, 400, "invalid_argument", "");
    let events = json!({"events": [event(), {"exchange": "widgets", "event": 1}]}).to_string();
    let response = ask(&gateway, "PushEvents", events).await;
    assert_refused(&response, 400, "invalid_argument", "events[1]: event must be a string");
    let response = ask(&gateway, "PushEvents", r#"{"events":{}}"#).await;
    assert_refused(&response, 400, "invalid_argument", "events");
    assert!(gateway.bus.published.lock().unwrap().is_empty());
}
