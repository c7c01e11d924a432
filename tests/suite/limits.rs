//! The limits of one session: how large, how many, how long without a word.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, sync::Semaphore, time::timeout};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::support::{
    DEADLINE,
    client::Client,
    frames::{self, BINARY, CONTINUATION, FIN, TEXT},
    gateway::Gateway,
    handler::{
        TestHandler,
        proto::{HandleActionResponse, Topic},
        reply,
    },
    within,
};

const MESSAGE_MAX: usize = 64 * 1024;

/// Long enough that a gateway which does answer would have.
const A_MOMENT: Duration = Duration::from_millis(150);

/// An `Echo` whose JSON has exactly so many bytes.
fn echo_of(bytes: usize) -> String {
    let empty = r#"{"action":"Size","tag":1,"payload":""}"#;
    let (start, end) = empty.split_at(empty.len() - 2);
    format!("{start}{}{end}", "x".repeat(bytes - empty.len()))
}

async fn measuring() -> TestHandler {
    let app = TestHandler::start().await;
    app.on("Size", |request| {
        Ok(reply::events([("Size", request.payload.len().to_string().as_str())]))
    });
    app
}

#[tokio::test]
async fn a_message_may_have_64_kib_and_not_a_byte_more() {
    let app = measuring().await;
    let gateway = Gateway::start(&app).await;
    let whole = echo_of(MESSAGE_MAX);
    let mut client = gateway.client().await;
    let size = MESSAGE_MAX - r#"{"action":"Size","tag":1,"payload":}"#.len();
    let expected = format!(r#"{{"event":"Size","tag":1,"payload":{size}}}"#);
    assert_eq!(client.ask(&whole).await, expected);
    client.send_message(Message::binary(whole.clone().into_bytes())).await;
    assert_eq!(client.text().await, expected);
    let (start, end) = whole.as_bytes().split_at(MESSAGE_MAX / 2);
    let fragments = [frames::frame(TEXT, start), frames::frame(FIN | CONTINUATION, end)];
    client.send_bytes(&fragments.concat()).await;
    assert_eq!(client.text().await, expected);

    let more = echo_of(MESSAGE_MAX + 1);
    let (start, end) = more.as_bytes().split_at(MESSAGE_MAX / 2);
    for (what, bytes) in [
        ("a text", frames::frame(FIN | TEXT, more.as_bytes())),
        ("a binary", frames::frame(FIN | BINARY, more.as_bytes())),
        (
            "fragments",
            [frames::frame(TEXT, start), frames::frame(FIN | CONTINUATION, end)].concat(),
        ),
        ("the promise of 4 GiB", frames::beginning(FIN | TEXT, 4 << 30)),
        ("the promise of everything", frames::beginning(FIN | TEXT, u64::MAX >> 1)),
    ] {
        let mut client = gateway.client().await;
        client.send_bytes(&bytes).await;
        let closed = client.closed().await;
        assert_eq!(closed.code, 1009, "{what}");
        assert!(closed.reason.is_empty() || closed.reason.contains("65536"), "{}", closed.reason);
    }
    assert!(client.quiet().await);
}

#[tokio::test]
async fn who_sends_too_much_gets_the_close_frame_while_still_sending() {
    let app = measuring().await;
    let gateway = Gateway::start(&app).await;
    for megabytes in [1, 8] {
        let mut client = gateway.client().await;
        let mut bytes = frames::beginning(FIN | TEXT, megabytes << 20);
        bytes.resize(bytes.len() + (megabytes << 20) as usize, 0);
        // Sending goes on to its end, or until the gateway will not have it.
        let _ = timeout(DEADLINE, client.socket().get_mut().write_all(&bytes)).await;
        assert_eq!(client.closed().await.code, 1009, "{megabytes} MiB");
    }
}

#[tokio::test]
async fn a_session_holds_a_thousand_subscriptions() {
    const MAX: usize = 1_000;
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let keys: Vec<usize> = (0..=MAX).collect();
    let all = json!({"exchange": "widgets", "routing_keys": keys});
    let error = client.error("Subscribe", all).await;
    assert_eq!(error["error"], "TooManySubscriptions", "{error}");
    assert!(app.seen().await.is_empty());

    let keys = json!({"exchange": "widgets", "routing_keys": keys[..MAX]});
    client.send(json!({"action": "Subscribe", "tag": 1, "payload": keys})).await;
    for key in 0..MAX {
        let subscribed = client.next().await;
        assert_eq!(subscribed["event"], "Subscribed", "{subscribed}");
        assert_eq!(subscribed["payload"]["routing_key"], key);
    }
    let calls = app.seen().await;
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].check().topics.len(), MAX);

    let more = json!({"exchange": "widgets", "routing_key": "more"});
    let expected = json!({
        "error": "TooManySubscriptions", "retryable": false,
        "exchange": "widgets", "routing_key": "more",
    });
    assert_eq!(client.error("Subscribe", more.clone()).await, expected);
    // Nor can the application add one.
    app.on("Add", |_| {
        let topic = Topic { exchange: "widgets".into(), routing_key: "added".into() };
        Ok(HandleActionResponse { subscribe: vec![topic], ..Default::default() })
    });
    client.send(json!({"action": "Add", "tag": 2})).await;
    let error = client.event("Error").await;
    assert_eq!(error["payload"]["error"], "TooManySubscriptions", "{error}");
    client.event("Done").await;
    // One that is held is that, and no question of room.
    let held = json!({"exchange": "widgets", "routing_key": 7});
    assert_eq!(client.error("Subscribe", held.clone()).await["error"], "AlreadySubscribed");
    client.request("Unsubscribe", held).await;
    client.subscribe("widgets", "more").await;
    gateway.push("widgets", "more", "Changed", json!({})).await;
    client.event("Changed").await;
    assert!(client.quiet().await);
}

#[tokio::test]
async fn within_an_array_only_as_many_as_fit_are_asked_about() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--max-subscriptions=3"]).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "a").await;
    app.next("CheckSubscriptions").await;
    let keys = json!({"exchange": "widgets", "routing_keys": ["b", "c", "d"]});
    client.send(json!({"action": "Subscribe", "tag": 1, "payload": keys})).await;
    assert_eq!(client.next().await["payload"]["routing_key"], "b");
    assert_eq!(client.next().await["payload"]["routing_key"], "c");
    let third = client.next().await;
    assert_eq!(third["payload"]["error"], "TooManySubscriptions");
    assert_eq!(third["payload"]["routing_key"], "d");
    assert_eq!(app.next("CheckSubscriptions").await.check().topics.len(), 2);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_gone_after_two() {
    const INTERVAL: Duration = Duration::from_millis(600);
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--ping-interval=600ms"]).await;
    // Does not read, and so answers nothing.
    let mut gone = gateway.client().await;
    let mut stays = gateway.client().await;
    let pongs = async {
        for _ in 0..8 {
            let ping = stays.message().await;
            assert!(matches!(ping, Some(Ok(Message::Ping(_)))), "{ping:?}");
        }
    };
    let (closed, ()) = tokio::join!(app.next("SessionClosed"), pongs);
    assert_eq!(closed.closed().session.as_ref().expect("a session").id, gone.id);
    assert_eq!(closed.closed().code, 1006);
    // Two unanswered, and the third interval over.
    let lived = Duration::from_millis(closed.closed().duration_ms as u64);
    assert!(lived >= INTERVAL * 29 / 10, "{lived:?}");
    let mut pings = 0;
    while let Some(Ok(message)) = gone.message().await {
        assert!(message.is_ping(), "{message:?}");
        pings += 1;
    }
    assert_eq!(pings, 2);
    assert!(stays.quiet().await);
}

/// An application that answers `Gated` when it is let, with its tag's order kept.
fn gate(app: &TestHandler) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(0));
    let gated = gate.clone();
    app.on_async("Gated", move |_| {
        let gate = gated.clone();
        async move {
            gate.acquire().await.expect("open").forget();
            Ok(reply::events([]))
        }
    });
    gate
}

#[tokio::test]
async fn past_256_unread_actions_the_socket_is_not_read_and_all_are_answered_in_the_end() {
    const UNREAD: usize = 256;
    let app = TestHandler::start().await;
    let gate = gate(&app);
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--action-timeout=1h"]).await;
    let mut client = gateway.client().await;
    let send = async |client: &mut Client, tag: usize| {
        client.send(json!({"action": "Gated", "tag": tag})).await;
    };
    // One under way and 255 unread: the socket is still read.
    for tag in 0..UNREAD {
        send(&mut client, tag).await;
    }
    client.send_message(Message::Ping(Bytes::from_static(b"still"))).await;
    let pong = client.message().await;
    assert!(matches!(&pong, Some(Ok(Message::Pong(p))) if &**p == b"still"), "{pong:?}");
    // One more, and it is not.
    send(&mut client, UNREAD).await;
    client.send_message(Message::Ping(Bytes::from_static(b"late"))).await;
    assert!(client.is_silent_for(A_MOMENT).await, "it was read");
    gate.add_permits(UNREAD + 1);
    let (mut done, mut pong) = (0, false);
    while done <= UNREAD || !pong {
        match client.message().await {
            Some(Ok(Message::Text(text))) => {
                assert_eq!(text.as_str(), format!(r#"{{"event":"Done","tag":{done}}}"#));
                done += 1;
            }
            Some(Ok(Message::Pong(payload))) => {
                assert_eq!(&*payload, b"late");
                pong = true;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(client.quiet().await);
}

#[tokio::test]
async fn a_client_that_sends_faster_than_it_is_served_is_slowed_down_by_tcp() {
    const MESSAGE: usize = 60 << 10;
    // Far more than kernels buffer for one connection.
    const MOST: usize = (48 << 20) / MESSAGE;
    let app = TestHandler::start().await;
    let gate = gate(&app);
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--action-timeout=1h"]).await;
    let mut client = gateway.client().await;
    let filler = "x".repeat(MESSAGE);
    let mut sent = 0;
    loop {
        let text = json!({"action": "Gated", "tag": sent, "payload": filler}).to_string();
        let bytes = frames::frame(FIN | TEXT, text.as_bytes());
        let stream = client.socket().get_mut();
        let mut written = 0;
        while written < bytes.len() {
            let Ok(wrote) = timeout(A_MOMENT, stream.write(&bytes[written..])).await else { break };
            written += wrote.expect("a live connection");
        }
        sent += 1;
        assert!(sent < MOST, "nothing slowed it down");
        if written < bytes.len() {
            // Served again, the rest is taken.
            gate.add_permits(Semaphore::MAX_PERMITS / 2);
            within(DEADLINE, "the rest", stream.write_all(&bytes[written..])).await.expect("sent");
            break;
        }
    }
    for tag in 0..sent {
        assert_eq!(client.next().await["tag"], tag);
    }
    assert!(client.quiet().await);
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_waits_for_itself_and_loses_no_reply() {
    const ACTIONS: usize = 400;
    let app = TestHandler::start().await;
    let filler = format!("\"{}\"", "x".repeat(20 << 10));
    app.on("Big", move |_| Ok(reply::events([("Big", filler.as_str())])));
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for tag in 0..ACTIONS {
        client.send(json!({"action": "Big", "tag": tag})).await;
    }
    // 8 MB of replies: more than the outbox and the kernel hold.
    for tag in 0..ACTIONS {
        let reply: Value = client.next().await;
        assert_eq!((&reply["event"], &reply["tag"]), (&json!("Big"), &json!(tag)));
    }
    assert!(client.quiet().await);
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_cut_off() {
    let app = TestHandler::start().await;
    let filler = format!("\"{}\"", "x".repeat(60 << 10));
    app.on("Big", move |_| Ok(reply::events([("Big", filler.as_str())])));
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--ping-interval=2s"]).await;
    let mut client = gateway.client().await;
    let asking = async {
        loop {
            // Fails once the gateway has let go of the socket.
            let action = frames::frame(FIN | TEXT, br#"{"action":"Big"}"#);
            if client.socket().get_mut().write_all(&action).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        call = app.next("SessionClosed") => assert_eq!(call.closed().code, 3008),
    }
}
