//! What a session is to the application: what it may keep in it, add to it and end of it,
//! how it begins and how it is told that it ended.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, http::HeaderValue};
use tonic::Status;

use crate::support::{
    client::Client,
    gateway::Gateway,
    handler::{
        TestHandler, free_address,
        proto::{
            Event, HandleActionResponse, SendEventRequest, Session, SessionDecision,
            SessionOpenedResponse, SessionUpdate, Topic,
        },
        reply,
    },
};

const STATE_MAX: usize = 16 * 1024;

/// An application that keeps whatever `Keep` says: its payload is a script of the test's.
async fn keeper() -> (TestHandler, Gateway, Client) {
    let app = TestHandler::start().await;
    app.on("Look", |_| Ok(reply::events([])));
    let gateway = Gateway::start(&app).await;
    let client = gateway.client().await;
    (app, gateway, client)
}

async fn keep(app: &TestHandler, client: &mut Client, update: SessionUpdate) -> Value {
    app.on("Keep", move |_| {
        let session_update = Some(update.clone());
        Ok(HandleActionResponse { session_update, ..Default::default() })
    });
    let reply = client.request("Keep", json!({})).await;
    app.seen().await;
    reply
}

/// The session as the application is told of it now.
async fn look(app: &TestHandler, client: &mut Client) -> Session {
    assert_eq!(client.request("Look", json!({})).await["event"], "Done");
    app.next("HandleAction").await.action().session.clone().expect("a session")
}

fn data(entries: &[(&str, &str)]) -> HashMap<String, String> {
    entries.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn topics(exchange: &str, keys: &[&str]) -> Vec<Topic> {
    let topic = |key: &&str| Topic { exchange: exchange.into(), routing_key: (*key).into() };
    keys.iter().map(topic).collect()
}

#[tokio::test]
async fn what_the_application_keeps_comes_back_exactly_until_it_is_removed() {
    let (app, _gateway, mut client) = keeper().await;
    let session = look(&app, &mut client).await;
    assert_eq!((&session.id, &session.auth), (&client.id, &None));
    assert!(session.data.is_empty());

    let auth = r#"{"user" : 123456789012345678901234567890, "roles":["a" , "b"]}"#;
    let set = SessionUpdate {
        set_auth: Some(auth.into()),
        set_data: data(&[("a", "1.50"), ("b", r#""x""#), ("", "null")]),
        ..Default::default()
    };
    assert_eq!(keep(&app, &mut client, set).await["event"], "Done");
    let session = look(&app, &mut client).await;
    assert_eq!(session.auth.as_deref(), Some(auth));
    assert_eq!(session.data, data(&[("a", "1.50"), ("b", r#""x""#), ("", "null")]));

    let change = SessionUpdate {
        set_data: data(&[("b", "2")]),
        remove_data: vec!["a".into(), "never there".into()],
        ..Default::default()
    };
    keep(&app, &mut client, change).await;
    let session = look(&app, &mut client).await;
    assert_eq!(session.auth.as_deref(), Some(auth), "what is not named is kept");
    assert_eq!(session.data, data(&[("b", "2"), ("", "null")]));

    keep(&app, &mut client, SessionUpdate { clear_auth: true, ..Default::default() }).await;
    let session = look(&app, &mut client).await;
    assert_eq!((session.auth, session.data.len()), (None, 2));
}

#[tokio::test]
async fn every_kind_of_call_is_given_what_is_kept() {
    let (app, gateway, mut client) = keeper().await;
    let set = SessionUpdate {
        set_auth: Some("7".into()),
        set_data: data(&[("k", "8")]),
        ..Default::default()
    };
    keep(&app, &mut client, set).await;
    client.subscribe("widgets", "k").await;
    let call = app.next("CheckSubscriptions").await;
    let check = call.check().session.clone().expect("a session");
    let mut stranger = gateway.client().await;
    let other = look(&app, &mut stranger).await;
    let id = client.id.clone();
    client.close().await;
    let call = app.next("SessionClosed").await;
    let closed = call.closed().session.clone().expect("a session");
    for session in [check, closed] {
        assert_eq!((&session.id, session.auth.as_deref()), (&id, Some("7")));
        assert_eq!(session.data, data(&[("k", "8")]));
        assert_eq!((&*session.remote_address, &*session.path), ("127.0.0.1", "/"));
    }
    assert_eq!((other.auth, other.data.len()), (None, 0), "another session has its own");
}

#[tokio::test]
async fn auth_and_data_hold_16_kib_and_not_a_byte_more() {
    let (app, _gateway, mut client) = keeper().await;
    // With two quotes, and a name of one byte.
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let half = SessionUpdate {
        set_auth: Some(text(STATE_MAX / 2)),
        set_data: data(&[("d", &text(STATE_MAX / 2 - 1))]),
        ..Default::default()
    };
    assert_eq!(keep(&app, &mut client, half).await["event"], "Done");
    for too_much in [
        SessionUpdate { set_data: data(&[("e", "1")]), ..Default::default() },
        SessionUpdate { set_auth: Some(text(STATE_MAX / 2 + 1)), ..Default::default() },
        SessionUpdate {
            set_auth: Some("1".into()),
            set_data: data(&[("d", &text(STATE_MAX - 1))]),
            ..Default::default()
        },
    ] {
        let reply = keep(&app, &mut client, too_much).await;
        let expected = json!({"error": "InternalError", "retryable": false, "outcome": "unknown"});
        assert_eq!(reply["payload"], expected);
        let session = look(&app, &mut client).await;
        assert_eq!(session.auth.map(|auth| auth.len()), Some(STATE_MAX / 2));
        assert_eq!(session.data.len(), 1);
        assert_eq!(session.data["d"].len(), STATE_MAX / 2 - 1, "nothing of it is applied");
    }
    // What is removed with the same update makes room.
    let swap = SessionUpdate {
        set_data: data(&[("e", &text(STATE_MAX / 2 - 1))]),
        remove_data: vec!["d".into()],
        ..Default::default()
    };
    assert_eq!(keep(&app, &mut client, swap).await["event"], "Done");
}

#[tokio::test]
async fn subscriptions_that_the_application_adds_and_ends_carry_no_tag() {
    let (app, gateway, mut client) = keeper().await;
    app.on("Change", |request| {
        let add = request.payload == "true";
        let all = [topics("widgets", &["a", "7"]), topics("nowhere", &["a"])].concat();
        Ok(HandleActionResponse {
            subscribe: if add { all.clone() } else { vec![] },
            unsubscribe: if add { vec![] } else { all },
            ..reply::events([("Changed", "1")])
        })
    });
    client.send_text(r#"{"action":"Change","tag":1,"payload":true}"#).await;
    for expected in [
        r#"{"event":"Subscribed","payload":{"exchange":"widgets","routing_key":"a"}}"#,
        r#"{"event":"Subscribed","payload":{"exchange":"widgets","routing_key":"7"}}"#,
        r#"{"event":"Error","payload":{"error":"InvalidExchangeName","retryable":false,"exchange":"nowhere"}}"#,
        r#"{"event":"Changed","tag":1,"payload":1}"#,
    ] {
        assert_eq!(client.text().await, expected);
    }
    gateway.push("widgets", "a", "Pushed", json!({})).await;
    client.event("Pushed").await;
    let checks = app.seen().await;
    assert!(checks.iter().all(|call| call.method != "CheckSubscriptions"), "counts as allowed");
    client.send_text(r#"{"action":"Change","tag":2,"payload":true}"#).await;
    for key in ["a", "7"] {
        let error = client.next().await;
        assert_eq!(error["payload"]["error"], "AlreadySubscribed");
        assert_eq!((&error["payload"]["routing_key"], error.get("tag")), (&json!(key), None));
    }
    client.event("Changed").await;
    client.event("Error").await;

    client.send_text(r#"{"action":"Change","tag":3,"payload":false}"#).await;
    for key in ["a", "7"] {
        let expected = format!(
            r#"{{"event":"Unsubscribed","payload":{{"exchange":"widgets","exchange_name":"widgets","routing_key":"{key}","auto":true}}}}"#
        );
        assert_eq!(client.text().await, expected);
    }
    // What was not held is not mentioned.
    assert_eq!(client.text().await, r#"{"event":"Changed","tag":3,"payload":1}"#);
    gateway.push("widgets", "a", "Pushed", json!({})).await;
    assert!(client.quiet().await, "it was unsubscribed");
}

#[tokio::test]
async fn the_parts_of_a_reply_are_carried_out_in_their_order() {
    let (app, _gateway, mut client) = keeper().await;
    client.subscribe("widgets", "a").await;
    app.on("All", |_| {
        let update = SessionUpdate { set_data: data(&[("k", "1")]), ..Default::default() };
        Ok(HandleActionResponse {
            session_update: Some(update),
            unsubscribe: topics("widgets", &["a"]),
            // Ended first, so that it can be had again.
            subscribe: topics("widgets", &["a", "", &"x".repeat(256)]),
            ..reply::events([("One", ""), ("Two", "")])
        })
    });
    client.send_text(r#"{"action":"All","tag":1}"#).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(client.next().await);
    }
    let names: Vec<_> = seen.iter().map(|reply| reply["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["Unsubscribed", "Subscribed", "Subscribed", "Error", "One", "Two"]);
    assert_eq!(seen[3]["payload"]["error"], "InvalidRoutingKey");
    let tagged: Vec<_> = seen.iter().map(|reply| reply.get("tag").is_some()).collect();
    assert_eq!(tagged, [false, false, false, false, true, true]);
    assert!(client.quiet().await);
}

#[tokio::test]
async fn with_session_opened_the_application_speaks_before_the_clients_first_action() {
    let app = TestHandler::start().await;
    app.on("Look", |_| Ok(reply::events([("Looked", "")])));
    app.on_opened(|_| {
        Ok(SessionOpenedResponse {
            decision: SessionDecision::Accept.into(),
            session_update: Some(SessionUpdate {
                set_auth: Some(r#"{"user":1}"#.into()),
                ..Default::default()
            }),
            events: ["Hello", "News"]
                .map(|event| Event { event: event.into(), payload: "[1]".into() })
                .into(),
            ..Default::default()
        })
    });
    let flags = ["--exchange=widgets", "--session-opened=required"];
    let gateway = Gateway::with(&app, &flags).await;
    let frozen = app.freeze();
    let url = format!("ws://{}/pushwss?token=a%20b&x=%C3%A4", gateway.clients());
    let mut client = Client::connect_to(&url, gateway.clients()).await;
    // Queued while the application has not yet said a word.
    client.send_text(r#"{"action":"Look","tag":1}"#).await;
    client.send_text(r#"{"action":"Ping","tag":2}"#).await;
    assert!(client.is_silent_for(Duration::from_millis(100)).await, "not even a Welcome");
    drop(frozen);
    let mut names = Vec::new();
    for _ in 0..5 {
        names.push(client.next().await);
    }
    let names: Vec<_> = names.iter().map(|message| message["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["Welcome", "Hello", "News", "Looked", "Pong"]);
    let opened = app.next("SessionOpened").await.opened().session.clone().expect("a session");
    assert_eq!((&*opened.path, &*opened.query), ("/pushwss", "token=a%20b&x=%C3%A4"));
    assert_eq!(opened.auth, None);
    let looked = app.next("HandleAction").await.action().session.clone().expect("a session");
    assert_eq!((&looked.id, looked.auth.as_deref()), (&opened.id, Some(r#"{"user":1}"#)));
    assert_eq!(looked.query, opened.query);
}

#[tokio::test]
async fn what_is_sent_to_a_session_before_its_welcome_follows_it() {
    const EARLY: usize = 20;
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--session-opened=required", "--action-timeout=20s"];
    let gateway = Gateway::with(&app, &flags).await;
    let (admit, admitted) = tokio::sync::watch::channel(false);
    app.on_opened_async(move |_| {
        let mut admitted = admitted.clone();
        async move {
            let _ = admitted.wait_for(|admitted| *admitted).await;
            Ok(SessionOpenedResponse {
                decision: SessionDecision::Accept.into(),
                ..Default::default()
            })
        }
    });
    let url = format!("ws://{}/", gateway.clients());
    let mut client = Client::connect_to(&url, gateway.clients()).await;
    let opened = app.next("SessionOpened").await.opened().session.clone().expect("a session");
    let mut api = gateway.api().await;
    for n in 0..EARLY {
        let event = SendEventRequest {
            session_id: opened.id.clone(),
            event: "Early".into(),
            payload: n.to_string(),
        };
        api.send_event(event).await.expect("sent");
    }
    admit.send_replace(true);
    assert_eq!(client.next().await["event"], "Welcome");
    for n in 0..EARLY {
        assert_eq!(client.next().await["payload"], n);
    }
    assert!(client.quiet().await);
}

#[tokio::test]
async fn when_session_opened_fails_nobody_is_let_in() {
    let flags = ["--exchange=widgets", "--session-opened=required", "--action-timeout=300ms"];
    let app = TestHandler::start_at(free_address()).await;
    let gateway = Gateway::with(&app, &flags).await;
    let url = format!("ws://{}/", gateway.clients());
    let refused = async |what: &str| {
        let mut client = Client::connect_to(&url, gateway.clients()).await;
        let first = client.message().await;
        let Some(Ok(Message::Close(Some(frame)))) = &first else { panic!("{what}: {first:?}") };
        assert_eq!(u16::from(frame.code), 1013, "{what}");
        assert!(frame.reason.contains("try again later"), "{what}: {}", frame.reason);
    };
    for status in [
        Status::unimplemented("x"),
        Status::permission_denied("x"),
        Status::unauthenticated("x"),
        Status::unavailable("x"),
        Status::internal("x"),
    ] {
        let what = status.to_string();
        app.on_opened(move |_| Err(status.clone()));
        refused(&what).await;
    }
    for (what, event, auth) in [
        ("a bad event", Event { event: "E".into(), payload: "{".into() }, "1".into()),
        ("too much to keep", Event::default(), format!("\"{}\"", "x".repeat(STATE_MAX))),
    ] {
        app.on_opened(move |_| {
            let update = SessionUpdate { set_auth: Some(auth.clone()), ..Default::default() };
            Ok(SessionOpenedResponse {
                decision: SessionDecision::Accept.into(),
                session_update: Some(update),
                events: vec![event.clone()],
                ..Default::default()
            })
        });
        refused(what).await;
    }
    let frozen = app.freeze();
    refused("frozen").await;
    drop(frozen);
    let told = app.seen().await;
    let opened = told.iter().all(|call| call.method == "SessionOpened");
    assert!(opened, "no end of a session that never began: {told:?}");
    app.kill();
    refused("down").await;
}

#[tokio::test]
async fn the_end_of_a_session_is_told_once_with_its_reason_and_its_time() {
    let started = std::time::Instant::now();
    let (app, _gateway, client) = keeper().await;
    let id = client.id.clone();
    tokio::time::sleep(Duration::from_millis(60)).await;
    client.close().await;
    let call = app.next("SessionClosed").await;
    let closed = call.closed();
    assert_eq!(closed.session.as_ref().expect("a session").id, id);
    assert_eq!((closed.code, &*closed.reason), (1000, ""));
    let most = started.elapsed().as_millis() as i64;
    assert!((60..=most).contains(&closed.duration_ms), "{}", closed.duration_ms);
    let again = app.seen().await;
    assert!(again.is_empty(), "{again:?}");
}

#[tokio::test]
async fn an_application_that_does_not_want_session_closed_is_not_asked_again() {
    let (app, gateway, client) = keeper().await;
    app.on_closed(|_| Err(Status::unimplemented("not wanted")));
    client.close().await;
    app.next("SessionClosed").await;
    for _ in 0..3 {
        let mut client = gateway.client().await;
        look(&app, &mut client).await;
        client.close().await;
    }
    let mut last = gateway.client().await;
    look(&app, &mut last).await;
    let told = app.seen().await;
    assert!(told.iter().all(|call| call.method != "SessionClosed"), "{told:?}");
}

#[tokio::test]
async fn an_event_sent_to_one_session_reaches_it_alone_and_has_no_source() {
    let (_app, gateway, mut client) = keeper().await;
    let mut other = gateway.client().await;
    let payload = "{\"big\": 123456789012345678901234567890}";
    let event = SendEventRequest {
        session_id: client.id.clone(),
        event: "Note".into(),
        payload: payload.into(),
    };
    gateway.api().await.send_event(event).await.expect("sent");
    assert_eq!(client.text().await, format!(r#"{{"event":"Note","payload":{payload}}}"#));
    assert!(other.quiet().await);
}

/// The session that the application sees of a client with these headers.
async fn seen_with(app: &TestHandler, gateway: SocketAddr, headers: &[(&str, &[u8])]) -> Session {
    let mut request = format!("ws://{gateway}/").into_client_request().expect("a URL");
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().expect("a name");
        request.headers_mut().append(name, HeaderValue::from_bytes(value).expect("a value"));
    }
    let mut client = Client::connect_with(request, gateway).await.expect("a WebSocket");
    client.event("Welcome").await;
    look(app, &mut client).await
}

#[tokio::test]
async fn x_forwarded_for_counts_only_from_trusted_proxies() {
    let (app, gateway, _client) = keeper().await;
    let trusting =
        Gateway::with(&app, &["--exchange=widgets", "--trusted-proxy=127.0.0.0/8,10.0.0.0/8"])
            .await;
    for (headers, address) in [
        (&[][..], "127.0.0.1"),
        (&[("x-forwarded-for", &b"203.0.113.7"[..])], "203.0.113.7"),
        (&[("x-forwarded-for", &b"6.6.6.6, 203.0.113.7, 10.1.1.1"[..])], "203.0.113.7"),
        (&[("x-forwarded-for", &b"[2001:db8::1]:443"[..])], "2001:db8::1"),
        (&[("x-forwarded-for", &b"nonsense"[..])], "127.0.0.1"),
    ] {
        let session = seen_with(&app, gateway.clients(), headers).await;
        assert_eq!(session.remote_address, "127.0.0.1", "{headers:?}: nobody is trusted");
        let session = seen_with(&app, trusting.clients(), headers).await;
        assert_eq!(session.remote_address, address, "{headers:?}");
    }
}

#[tokio::test]
async fn only_the_headers_on_the_list_are_forwarded() {
    let (app, gateway, _client) = keeper().await;
    let headers: &[(&str, &[u8])] = &[
        ("Cookie", b"a=1"),
        ("cookie", b"b=2"),
        ("X-Tenant", b"t\xff"),
        ("Authorization", b"Bearer secret"),
    ];
    let session = seen_with(&app, gateway.clients(), headers).await;
    assert!(session.headers.is_empty(), "{:?}", session.headers);
    let flags = ["--exchange=widgets", "--forward-header=Cookie,x-tenant,x-absent"];
    let forwarding = Gateway::with(&app, &flags).await;
    let session = seen_with(&app, forwarding.clients(), headers).await;
    assert_eq!(session.headers, data(&[("cookie", "a=1; b=2"), ("x-tenant", "t\u{fffd}")]));
}
