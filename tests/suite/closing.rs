//! How connections end: the closing handshake from either side, and every close code.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use socket2::SockRef;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};
use tonic::Code;

use crate::support::{
    client::{Client, Closed},
    frames::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT},
    gateway::Gateway,
    handler::{
        TestHandler,
        proto::{
            Disconnect, DisconnectSessionRequest, Event, HandleActionResponse, SendEventRequest,
            SessionDecision, SessionOpenedResponse,
        },
        reply,
    },
};

const RESERVED_BIT: u8 = 0x40;

fn closed(code: u16, reason: &str) -> Closed {
    Closed { code, reason: reason.into() }
}

/// What the application was told of the end.
async fn told(app: &TestHandler) -> (u32, String) {
    let call = app.next("SessionClosed").await;
    (call.closed().code, call.closed().reason.clone())
}

#[tokio::test]
async fn a_client_that_closes_gets_its_own_code_back() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    for (code, reason) in [(1000, "bye"), (1001, ""), (3000, "library"), (4999, "ä")] {
        let mut client = gateway.client().await;
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        client.send_message(Message::Close(Some(frame))).await;
        assert_eq!(client.closed().await, closed(code, reason));
        assert_eq!(told(&app).await, (u32::from(code), reason.into()));
    }
    let mut client = gateway.client().await;
    client.send_bytes(&frames::frame(FIN | CLOSE, b"")).await;
    let answer = client.message().await;
    assert!(matches!(answer, Some(Ok(Message::Close(None)))), "{answer:?}");
    assert_eq!(told(&app).await.0, 1005, "closed without a code");
}

#[tokio::test]
async fn what_was_said_before_a_close_is_still_carried_out() {
    let app = TestHandler::start().await;
    app.on("Note", |_| Ok(reply::events([])));
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let mut bytes = Vec::new();
    for n in 0..20 {
        let text = format!(r#"{{"action":"Note","payload":{n}}}"#);
        bytes.extend(frames::frame(FIN | TEXT, text.as_bytes()));
    }
    bytes.extend(frames::frame(FIN | CLOSE, &frames::close_payload(1000, b"")));
    client.send_bytes(&bytes).await;
    for n in 0..20 {
        assert_eq!(app.next("HandleAction").await.action().payload, n.to_string());
    }
    assert_eq!(client.closed().await.code, 1000);
    assert_eq!(told(&app).await.0, 1000, "told last");
}

#[tokio::test]
async fn a_connection_lost_without_a_word_is_told_as_1006() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let client = gateway.client().await;
    let id = client.id.clone();
    drop(client);
    let call = app.next("SessionClosed").await;
    assert_eq!(call.closed().code, 1006);
    assert_eq!(call.closed().session.as_ref().expect("a session").id, id);
}

#[tokio::test]
async fn a_breach_of_the_protocol_closes_with_its_code() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let invalid_utf8 = b"{\"action\":\"\xff\"}";
    let surrogate = b"\"\xed\xa0\x80\"";
    for (what, bytes, code) in [
        ("a text that is not UTF-8", frames::frame(FIN | TEXT, invalid_utf8), 1007),
        ("a binary that is not UTF-8", frames::frame(FIN | BINARY, invalid_utf8), 1007),
        ("an encoded surrogate", frames::frame(FIN | TEXT, surrogate), 1007),
        ("half a character", frames::frame(FIN | TEXT, b"\"\xc3"), 1007),
        (
            "fragments that are not UTF-8",
            [frames::frame(TEXT, b"\"\xc3"), frames::frame(FIN | CONTINUATION, b"\"")].concat(),
            1007,
        ),
        (
            "a reason that is not UTF-8",
            frames::frame(FIN | CLOSE, &frames::close_payload(1000, b"\xff")),
            1007,
        ),
        ("no mask", frames::unmasked(FIN | TEXT, b"{}"), 1002),
        ("a reserved bit", frames::frame(FIN | RESERVED_BIT | TEXT, b"{}"), 1002),
        ("a reserved data opcode", frames::frame(FIN | 0x3, b"{}"), 1002),
        ("a reserved control opcode", frames::frame(FIN | 0xb, b""), 1002),
        ("a ping in fragments", frames::frame(PING, b""), 1002),
        ("a ping of 126 bytes", frames::frame(FIN | PING, &[0; 126]), 1002),
        ("a continuation of nothing", frames::frame(FIN | CONTINUATION, b"{}"), 1002),
        (
            "a message inside another",
            [frames::frame(TEXT, b"{"), frames::frame(FIN | TEXT, b"{}")].concat(),
            1002,
        ),
        ("half a close code", frames::frame(FIN | CLOSE, &[3]), 1002),
        ("a forbidden code", frames::frame(FIN | CLOSE, &frames::close_payload(1005, b"")), 1002),
        ("a code that is none", frames::frame(FIN | CLOSE, &frames::close_payload(999, b"")), 1002),
    ] {
        let mut client = gateway.client().await;
        client.send_bytes(&bytes).await;
        assert_eq!(client.closed().await.code, code, "{what}");
        assert_eq!(told(&app).await.0, u32::from(code), "{what}");
    }
    assert!(gateway.client().await.quiet().await);
}

#[tokio::test]
async fn an_action_may_close_the_connection_after_what_it_answers() {
    let app = TestHandler::start().await;
    let long = "ä".repeat(100);
    for (asked, reason, expected, kept) in [
        (4000, "come back", 4000, "come back"),
        (4499, "", 4499, ""),
        (4500, "stay away", 4500, "stay away"),
        (4999, "x", 4999, "x"),
        (0, "default", 4500, "default"),
        (1000, "done", 1000, "done"),
        (1001, "not yours", 4500, "not yours"),
        (3008, "not yours", 4500, "not yours"),
        (3999, "", 4500, ""),
        (5000, "", 4500, ""),
        (70_000, "", 4500, ""),
        (4001, &long, 4001, &long[..122]),
    ] {
        let gateway = Gateway::start(&app).await;
        let mut client = gateway.client().await;
        let disconnect = Disconnect { code: asked, reason: reason.into() };
        app.on("Leave", move |_| {
            Ok(HandleActionResponse {
                events: vec![Event { event: "Goodbye".into(), payload: String::new() }],
                disconnect: Some(disconnect.clone()),
                ..Default::default()
            })
        });
        assert_eq!(client.request("Leave", json!({})).await["event"], "Goodbye");
        assert_eq!(client.closed().await, closed(expected, kept), "{asked}");
        assert_eq!(told(&app).await, (u32::from(expected), kept.into()));
    }
}

/// What waits for its turn behind it is not begun.
#[tokio::test]
async fn a_tagged_action_that_only_closes_is_done_and_is_the_last() {
    let app = TestHandler::start().await;
    let read = Arc::new(Notify::new());
    let leave = read.clone();
    app.on_async("Leave", move |_| {
        let read = leave.clone();
        async move {
            read.notified().await;
            let disconnect = Disconnect { code: 4321, reason: "left".into() };
            Ok(HandleActionResponse { disconnect: Some(disconnect), ..Default::default() })
        }
    });
    let bought = Arc::new(AtomicBool::new(false));
    let buys = bought.clone();
    app.on("Buy", move |_| {
        buys.store(true, Ordering::Relaxed);
        Ok(HandleActionResponse::default())
    });
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for (tag, action) in ["Leave", "Buy", "Ping"].into_iter().enumerate() {
        client.send(json!({"action": action, "tag": tag})).await;
    }
    client.send_message(Message::Ping("read?".into())).await;
    let pong = client.message().await;
    assert!(matches!(pong, Some(Ok(Message::Pong(_)))), "{pong:?}");

    read.notify_one();
    assert_eq!(client.text().await, r#"{"event":"Done","tag":0}"#);
    assert_eq!(client.closed().await, closed(4321, "left"));
    told(&app).await;
    assert!(!bought.load(Ordering::Relaxed));
}

#[tokio::test]
async fn disconnect_session_closes_after_everything_sent_before_it() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let mut bystander = gateway.client().await;
    let mut api = gateway.api().await;
    for n in 0..200 {
        let event = SendEventRequest {
            session_id: client.id.clone(),
            event: "Note".into(),
            payload: n.to_string(),
        };
        api.send_event(event).await.expect("sent");
    }
    let disconnect = |code, reason: &str| DisconnectSessionRequest {
        session_id: client.id.clone(),
        code,
        reason: reason.into(),
    };
    api.disconnect_session(disconnect(4100, "moved")).await.expect("closed");
    // The first reason stays.
    let _ = api.disconnect_session(disconnect(4200, "again")).await;
    for n in 0..200 {
        let expected = format!(r#"{{"event":"Note","payload":{n}}}"#);
        assert_eq!(client.text().await, expected);
    }
    assert_eq!(client.closed().await, closed(4100, "moved"));
    assert_eq!(told(&app).await, (4100, "moved".into()));
    assert!(bystander.quiet().await);
}

#[tokio::test]
async fn disconnect_session_does_not_wait_for_an_action_under_way() {
    let app = TestHandler::start().await;
    app.hang_on("Slow");
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--action-timeout=1h"]).await;
    let mut client = gateway.client().await;
    client.send(json!({"action": "Slow", "tag": 1})).await;
    app.next("HandleAction").await;
    let disconnect =
        DisconnectSessionRequest { session_id: client.id.clone(), ..Default::default() };
    gateway.api().await.disconnect_session(disconnect).await.expect("closed");
    assert_eq!(client.closed().await, closed(4500, ""));
}

#[tokio::test]
async fn whoever_began_to_close_gave_the_reason_also_when_the_connection_breaks() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let mut api = gateway.api().await;
    let payload = format!("\"{}\"", "x".repeat(200 << 10));
    // The client does not read: once all buffers are full, it is cut off.
    loop {
        let event = SendEventRequest {
            session_id: client.id.clone(),
            event: "Big".into(),
            payload: payload.clone(),
        };
        if api.send_event(event).await.is_err() {
            break;
        }
    }
    SockRef::from(&*client.socket().get_mut()).set_linger(Some(Duration::ZERO)).expect("set");
    drop(client);
    assert_eq!(told(&app).await.0, 3008, "not that the connection was reset");
}

#[tokio::test]
async fn nothing_can_be_sent_to_a_session_that_is_closing() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let client = gateway.client().await;
    let mut api = gateway.api().await;
    let disconnect =
        DisconnectSessionRequest { session_id: client.id.clone(), ..Default::default() };
    api.disconnect_session(disconnect).await.expect("closed");
    let event = SendEventRequest {
        session_id: client.id.clone(),
        event: "Late".into(),
        payload: String::new(),
    };
    let refused = api.send_event(event).await.expect_err("the client does not answer yet");
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn a_refused_session_is_closed_with_the_applications_code() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--session-opened=required"];
    let gateway = Gateway::with(&app, &flags).await;
    for (decision, refusal, expected) in [
        (SessionDecision::Refuse as i32, Some((4403, "who are you")), closed(4403, "who are you")),
        (SessionDecision::Refuse as i32, Some((1000, "not for you")), closed(1000, "not for you")),
        (SessionDecision::Refuse as i32, Some((1001, "")), closed(4500, "")),
        (SessionDecision::Refuse as i32, None, closed(4500, "")),
        (SessionDecision::Unspecified as i32, None, closed(4500, "")),
        (77, Some((4001, "unknown value")), closed(4001, "unknown value")),
    ] {
        app.on_opened(move |_| {
            let refusal =
                refusal.map(|(code, reason)| Disconnect { code, reason: reason.to_owned() });
            Ok(SessionOpenedResponse { decision, refusal, ..Default::default() })
        });
        let url = format!("ws://{}/", gateway.clients());
        let mut client = Client::connect_to(&url, gateway.clients()).await;
        // Not even a Welcome.
        let first = client.message().await;
        let Some(Ok(Message::Close(Some(frame)))) = first else { panic!("{first:?}") };
        let code: u16 = frame.code.into();
        assert_eq!(closed(code, &frame.reason), expected);
    }
}
