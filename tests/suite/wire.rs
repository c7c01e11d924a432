//! The wire: how messages are framed and written, and that JSON passes through untouched.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::support::{
    client::Client,
    frames::{self, BINARY, CONTINUATION, FIN, PING, TEXT},
    gateway::Gateway,
    handler::{TestHandler, proto::PushEventRequest, reply},
};

/// Values that a parser which builds numbers, sorts members or joins escapes would change.
const EXACT: &[&str] = &[
    r#""text""#,
    r#""""#,
    r#""é \u00e9 \/ \ud83d\ude00 😀""#,
    "0",
    "-0",
    "1.50",
    "1E+2",
    "123456789012345678901234567890",
    "-0.1234567890123456789012345678901234567890",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[1,  2 ,\t[3]]",
    r#"{"b": 1, "a": {"deep": [null, 123456789012345678901234567890]}}"#,
    r#"{"twice":1,"twice":2}"#,
];

/// Answers `Echo` with its own payload, and `Nothing` with nothing.
async fn echo() -> TestHandler {
    let app = TestHandler::start().await;
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    app.on("Nothing", |_| Ok(reply::events([])));
    app
}

#[tokio::test]
async fn a_client_is_welcomed_with_its_id_and_the_ping_interval() {
    let app = echo().await;
    let gateway = Gateway::start(&app).await;
    let mut ids = Vec::new();
    for path in ["/", "/pushwss", "/?a=1", "/pushwss?a=1"] {
        let url = format!("ws://{}{path}", gateway.clients());
        let mut client = Client::connect_to(&url, gateway.clients()).await;
        let text = client.text().await;
        let (start, rest) = text.split_at(r#"{"event":"Welcome","payload":{"id":""#.len());
        let (id, end) = rest.split_at(16);
        assert_eq!(start, r#"{"event":"Welcome","payload":{"id":""#);
        assert!(id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
        assert_eq!(end, r#"","ping_interval_ms":25000}}"#);
        ids.push(id.to_owned());
    }
    assert!(ids.iter().all(|id| id[..8] == ids[0][..8]), "one replica: {ids:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
}

#[tokio::test]
async fn a_tag_comes_back_as_it_was_written_in_every_reply() {
    let app = echo().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let actions = [
        (r#""Ping""#, "{}", "Pong"),
        (r#""ListSubscriptions""#, "{}", "YourSubscriptions"),
        (r#""Subscribe""#, r#"{"exchange":"widgets","routing_key":"k"}"#, "Subscribed"),
        (r#""Subscribe""#, r#"{"exchange":"widgets","routing_key":"k"}"#, "Error"),
        (r#""Unsubscribe""#, r#"{"exchange":"widgets","routing_key":"k"}"#, "Unsubscribed"),
        (r#""Unsubscribe""#, "{}", "Done"),
        (r#""Echo""#, "{}", "Echoed"),
        (r#""Nothing""#, "{}", "Done"),
        (r#""NoSuchAction""#, "{}", "Error"),
        ("7", "{}", "Error"),
        (r#""Subscribe""#, "7", "Error"),
    ];
    for tag in EXACT {
        for (action, payload, event) in actions {
            let text = format!(r#"{{"action":{action},"tag":{tag},"payload":{payload}}}"#);
            let reply = client.ask(&text).await;
            let start = format!(r#"{{"event":"{event}","tag":{tag}"#);
            let rest = reply.strip_prefix(&start);
            assert!(rest.is_some_and(|rest| rest.starts_with([',', '}'])), "{text}: {reply}");
        }
    }
}

#[tokio::test]
async fn where_there_is_no_tag_there_is_none_in_the_replies() {
    let app = echo().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let subscribe = r#"{"action":"Subscribe","payload":{"exchange":"widgets","routing_key":"k"}}"#;
    for text in [
        r#"{"action":"Ping"}"#,
        r#"{"action":"ListSubscriptions"}"#,
        subscribe,
        subscribe,
        r#"{"action":"Unsubscribe"}"#,
        r#"{"action":"Echo"}"#,
        r#"{"action":"NoSuchAction"}"#,
        r#"{"action":7}"#,
        "{}",
    ] {
        let reply = client.ask(text).await;
        assert!(!reply.contains(r#""tag""#), "{text}: {reply}");
    }
    client.send_text(r#"{"action":"Nothing"}"#).await;
    client.send_text(r#"{"action":"Unsubscribe"}"#).await;
    assert!(client.quiet().await, "an untagged action with nothing to say says nothing");
}

#[tokio::test]
async fn payload_and_tag_reach_the_application_and_come_back_untouched() {
    let app = echo().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for payload in EXACT {
        let text =
            format!("{{\"action\" : \"Echo\",\n\"payload\":  {payload}  , \"tag\": {payload} }}");
        let reply = client.ask(&text).await;
        let call = app.next("HandleAction").await;
        assert_eq!(call.action().action, "Echo");
        assert_eq!(call.action().payload, *payload);
        assert_eq!(call.action().tag.as_deref(), Some(*payload));
        assert_eq!(reply, format!(r#"{{"event":"Echoed","tag":{payload},"payload":{payload}}}"#));
    }
    let reply = client.ask(r#"{"action":"Echo"}"#).await;
    assert_eq!(reply, r#"{"event":"Echoed","payload":{}}"#);
    let call = app.next("HandleAction").await;
    assert_eq!((call.action().payload.as_str(), &call.action().tag), ("{}", &None));
}

#[tokio::test]
async fn the_order_of_members_escapes_in_names_and_unknown_members_do_not_matter() {
    let app = echo().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for text in [
        r#"{"payload":{"n":1},"tag":2,"action":"Echo"}"#,
        r#"{"\u0061ction":"\u0045cho","t\u0061g":2,"paylo\u0061d":{"n":1}}"#,
        r#"{"x":[{}],"action":"Echo","y":1,"y":2,"tag":2,"Action":"Ping","payload":{"n":1}}"#,
        " \t\r\n{\"action\":\"Echo\",\"tag\":2,\"payload\":{\"n\":1}}\n ",
    ] {
        let reply = client.ask(text).await;
        assert_eq!(reply, r#"{"event":"Echoed","tag":2,"payload":{"n":1}}"#, "{text}");
    }
}

#[tokio::test]
async fn built_in_names_are_exact_and_never_forwarded() {
    let app = echo().await;
    app.on("ping", |_| Ok(reply::events([("FromTheApplication", "")])));
    app.on("Ping", |_| Ok(reply::events([("FromTheApplication", "")])));
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let forwarded = client.request("ping", json!({})).await;
    assert_eq!(forwarded["event"], "FromTheApplication");
    assert_eq!(forwarded["payload"], json!({}), "an empty payload is an object");
    let before = unix_seconds();
    let pong = client.request("Ping", json!("anything")).await;
    assert_eq!(pong["event"], "Pong");
    let time = pong["payload"]["time"].as_u64().expect("whole seconds");
    assert!((before..=unix_seconds()).contains(&time), "{time}");
    assert_eq!(app.seen().await.len(), 1);
}

fn unix_seconds() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

#[tokio::test]
async fn every_event_of_a_reply_has_the_tag_and_they_keep_their_order() {
    let app = echo().await;
    app.on("Three", |_| {
        Ok(reply::events([("One", "1"), ("Two", r#"{"x": 2}"#), ("One", "[3,  4]")]))
    });
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    client.send_text(r#"{"action":"Three","tag":"t"}"#).await;
    assert_eq!(client.text().await, r#"{"event":"One","tag":"t","payload":1}"#);
    assert_eq!(client.text().await, r#"{"event":"Two","tag":"t","payload":{"x": 2}}"#);
    assert_eq!(client.text().await, r#"{"event":"One","tag":"t","payload":[3,  4]}"#);
    assert_eq!(
        client.ask(r#"{"action":"Nothing","tag":"t"}"#).await,
        r#"{"event":"Done","tag":"t"}"#
    );
    assert!(client.quiet().await);
}

#[tokio::test]
async fn a_pushed_event_says_where_it_comes_from_and_its_payload_is_untouched() {
    let app = echo().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    client
        .send_text(r#"{"action":"Subscribe","payload":{"exchange":"widgets","routing_key":1234}}"#)
        .await;
    client.event("Subscribed").await;
    let mut api = gateway.api().await;
    for payload in EXACT {
        let request = PushEventRequest {
            exchange: "widgets".into(),
            routing_key: "1234".into(),
            event: "Changed".into(),
            payload: (*payload).into(),
            event_id: None,
        };
        api.push_event(request).await.expect("pushed");
        let expected = format!(
            r#"{{"event":"Changed","payload":{payload},"mq":{{"e":"widgets","rk":"1234"}}}}"#
        );
        assert_eq!(client.text().await, expected);
    }
    let empty = PushEventRequest {
        exchange: "widgets".into(),
        routing_key: "1234".into(),
        event: "Änderung \"x\"".into(),
        ..Default::default()
    };
    api.push_event(empty).await.expect("pushed");
    let expected = r#"{"event":"Änderung \"x\"","payload":{},"mq":{"e":"widgets","rk":"1234"}}"#;
    assert_eq!(client.text().await, expected);
}

#[tokio::test]
async fn a_binary_message_is_as_good_as_a_text() {
    let app = echo().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let text = r#"{"action":"Echo","tag":1,"payload":"ä😀"}"#;
    client.send_message(Message::binary(text.as_bytes().to_vec())).await;
    assert_eq!(client.text().await, r#"{"event":"Echoed","tag":1,"payload":"ä😀"}"#);
}

#[tokio::test]
async fn a_message_may_come_in_fragments_with_pings_between_them() {
    let app = echo().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let text = r#"{"action":"Echo","tag":1,"payload":"ä😀"}"#.as_bytes();
    let inside_a_character = text.len() - 4;
    for kind in [TEXT, BINARY] {
        let bytes = [
            frames::frame(kind, &text[..7]),
            frames::frame(CONTINUATION, &[]),
            frames::frame(FIN | PING, b"between"),
            frames::frame(CONTINUATION, &text[7..inside_a_character]),
            frames::frame(FIN | CONTINUATION, &text[inside_a_character..]),
        ];
        client.send_bytes(&bytes.concat()).await;
        let pong = client.message().await;
        assert!(matches!(&pong, Some(Ok(Message::Pong(p))) if &**p == b"between"), "{pong:?}");
        assert_eq!(client.text().await, r#"{"event":"Echoed","tag":1,"payload":"ä😀"}"#);
    }
    // Also byte by byte on the wire.
    for byte in frames::frame(FIN | TEXT, text) {
        client.send_bytes(&[byte]).await;
    }
    assert_eq!(client.text().await, r#"{"event":"Echoed","tag":1,"payload":"ä😀"}"#);
}

#[tokio::test]
async fn a_ping_is_answered_with_its_own_bytes() {
    let app = echo().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for payload in [Bytes::new(), Bytes::from_static(b"\x00\xff"), Bytes::from(vec![7; 125])] {
        client.send_message(Message::Ping(payload.clone())).await;
        let pong = client.message().await;
        assert!(matches!(&pong, Some(Ok(Message::Pong(p))) if *p == payload), "{pong:?}");
    }
    // A pong that nobody asked for is nothing to worry about.
    client.send_message(Message::Pong(Bytes::from_static(b"unasked"))).await;
    assert!(client.quiet().await);
}

#[tokio::test]
async fn the_gateway_pings_at_its_interval_and_says_so() {
    let app = echo().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--ping-interval=500ms"]).await;
    let url = format!("ws://{}/", gateway.clients());
    let mut client = Client::connect_to(&url, gateway.clients()).await;
    assert_eq!(client.event("Welcome").await["payload"]["ping_interval_ms"], 500);
    let started = std::time::Instant::now();
    for _ in 0..5 {
        let ping = client.message().await;
        assert!(matches!(ping, Some(Ok(Message::Ping(_)))), "{ping:?}");
    }
    // Answered by the library on reading: well past two missed pings the client is there.
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert!(client.quiet().await);
}

#[tokio::test]
async fn what_is_no_action_is_an_error_that_says_why() {
    let app = echo().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for (text, code, tag) in [
        (r#"{"tag":1}"#, "InvalidAction", Some(json!(1))),
        (r#"{"action":"","tag":1}"#, "InvalidAction", Some(json!(1))),
        (r#"{"action":null,"tag":1}"#, "InvalidAction", Some(json!(1))),
        (r#"{"action":["Ping"],"tag":1}"#, "InvalidAction", Some(json!(1))),
        (r#"{"action":"NoSuchAction","tag":1}"#, "InvalidAction", Some(json!(1))),
        (r#"{"action":"Ping","action":"Ping","tag":1}"#, "InvalidJSON", Some(json!(1))),
        (r#"["Ping"]"#, "InvalidJSON", None),
        ("", "InvalidJSON", None),
    ] {
        let reply: Value = serde_json::from_str(&client.ask(text).await).expect("JSON");
        assert_eq!(reply["event"], "Error", "{text}: {reply}");
        assert_eq!(reply["payload"]["error"], code, "{text}: {reply}");
        assert_eq!(reply["payload"]["retryable"], false, "{text}: {reply}");
        assert_eq!(reply.get("tag"), tag.as_ref(), "{text}: {reply}");
    }
}
