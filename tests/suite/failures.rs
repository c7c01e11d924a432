//! What a client is told when asking the application fails, each way made to happen for
//! real: the error, whether it may try again, and whether it may have happened.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tonic::{Code, Status};

use crate::support::{
    DEADLINE,
    client::Client,
    gateway::Gateway,
    handler::{
        TestHandler, free_address,
        proto::{Decision, Disconnect, Event, HandleActionResponse, SessionUpdate, Topic},
        reply,
    },
    within,
};

const TAG: &str = r#"{"n": 123456789012345678901234567890}"#;

/// Sends the action with a tag that is easily damaged, and answers the error it gets.
async fn fail(client: &mut Client, action: &str, payload: &str) -> Value {
    let text =
        client.ask(&format!(r#"{{"action":"{action}","tag":{TAG},"payload":{payload}}}"#)).await;
    error_of(&text, TAG)
}

fn error_of(text: &str, tag: &str) -> Value {
    let start = format!(r#"{{"event":"Error","tag":{tag},"payload":"#);
    assert!(text.starts_with(&start), "{text}");
    serde_json::from_str::<Value>(text).expect("JSON")["payload"].clone()
}

fn retryable(code: &str) -> Value {
    match code {
        "Busy" => json!({"error": code, "retryable": true, "retry_after_ms": 1000}),
        _ => json!({"error": code, "retryable": true}),
    }
}

fn unknown(code: &str) -> Value {
    json!({"error": code, "retryable": false, "outcome": "unknown"})
}

fn final_(code: &str) -> Value {
    json!({"error": code, "retryable": false})
}

/// Subscribes to two keys, one of them twice, and answers the error that is said of each,
/// without its key.
async fn fail_to_subscribe(client: &mut Client) -> Value {
    let subscribe = |keys| format!(r#"{{"exchange":"widgets","routing_keys":{keys}}}"#);
    let mut errors = vec![fail(client, "Subscribe", &subscribe(r#"["a",7,"a"]"#)).await];
    for _ in 1..3 {
        errors.push(error_of(&client.text().await, TAG));
    }
    let of_key = |mut error: Value| (error["routing_key"].take(), error);
    let (keys, errors): (Vec<_>, Vec<_>) = errors.into_iter().map(of_key).unzip();
    assert_eq!(keys, [json!("a"), json!(7), json!("a")], "as they were written");
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    errors.into_iter().next().expect("three")
}

/// An error of a key, but for the key.
fn of_widgets(mut error: Value) -> Value {
    error["exchange"] = json!("widgets");
    error["routing_key"] = json!(null);
    error
}

#[tokio::test]
async fn each_status_of_an_action_has_its_error() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let mut invalid_payload = final_("InvalidPayload");
    invalid_payload["message"] = json!("secret \"words\"");
    for (code, expected) in [
        (Code::Unimplemented, final_("InvalidAction")),
        (Code::Unauthenticated, final_("AuthRequired")),
        (Code::PermissionDenied, final_("PermissionDenied")),
        (Code::InvalidArgument, invalid_payload),
        (Code::DeadlineExceeded, unknown("ActionTimeout")),
        (Code::Unavailable, unknown("ApplicationUnavailable")),
        (Code::ResourceExhausted, unknown("Busy")),
        (Code::Cancelled, unknown("ApplicationUnavailable")),
        (Code::Unknown, unknown("InternalError")),
        (Code::NotFound, unknown("InternalError")),
        (Code::AlreadyExists, unknown("InternalError")),
        (Code::FailedPrecondition, unknown("InternalError")),
        (Code::Aborted, unknown("InternalError")),
        (Code::OutOfRange, unknown("InternalError")),
        (Code::Internal, unknown("InternalError")),
        (Code::DataLoss, unknown("InternalError")),
    ] {
        app.on("Do", move |_| Err(Status::new(code, "secret \"words\"")));
        assert_eq!(fail(&mut client, "Do", "{}").await, expected, "{code:?}");
        assert_eq!(app.seen().await.len(), 1, "{code:?}: asked once");
    }
}

#[tokio::test]
async fn each_status_of_a_check_fails_the_subscribe_and_none_denies() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for (code, expected) in [
        (Code::DeadlineExceeded, retryable("ActionTimeout")),
        (Code::Unavailable, retryable("ApplicationUnavailable")),
        (Code::Cancelled, retryable("ApplicationUnavailable")),
        (Code::ResourceExhausted, retryable("Busy")),
        (Code::PermissionDenied, final_("InternalError")),
        (Code::Unauthenticated, retryable("ApplicationUnavailable")),
        (Code::Unimplemented, retryable("ApplicationUnavailable")),
        (Code::InvalidArgument, final_("InternalError")),
        (Code::NotFound, final_("InternalError")),
        (Code::Internal, final_("InternalError")),
    ] {
        app.on_check(move |_| Err(Status::new(code, "secret")));
        let error = fail_to_subscribe(&mut client).await;
        assert_eq!(error, of_widgets(expected), "{code:?}");
    }
    assert_eq!(client.subscriptions().await, json!({}));
    assert!(client.quiet().await, "one error for each key");
}

#[tokio::test]
async fn a_wrong_number_of_decisions_subscribes_nothing() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for count in [0, 1, 3] {
        app.on_check(move |_| Ok(reply::decisions(vec![Decision::Allow; count])));
        let error = fail_to_subscribe(&mut client).await;
        assert_eq!(error, of_widgets(final_("InternalError")), "{count}");
    }
    assert_eq!(client.subscriptions().await, json!({}));
}

#[tokio::test]
async fn an_application_that_is_down_certainly_did_nothing() {
    let app = TestHandler::start_at(free_address()).await;
    app.on("Do", |_| Ok(reply::events([])));
    app.kill();
    let gateway = Gateway::unready(&app, &["--exchange=widgets"]).await;
    gateway.health_becomes("degraded").await;
    let mut client = gateway.client().await;
    let expected = retryable("ApplicationUnavailable");
    assert_eq!(fail(&mut client, "Do", "{}").await, expected);
    assert_eq!(fail_to_subscribe(&mut client).await, of_widgets(expected));
    // What needs no application goes on.
    assert_eq!(client.subscriptions().await, json!({}));
    assert!(client.quiet().await);
    app.restart();
    within(DEADLINE, "the application's return", async {
        while client.request("Do", json!({})).await["event"] != "Done" {}
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_lost_on_the_way_may_have_happened() {
    let code = "ApplicationUnavailable";
    for (method, expected) in [
        ("HandleAction", unknown(code)),
        // A question may be asked again.
        ("CheckSubscriptions", of_widgets(retryable(code))),
    ] {
        let app = TestHandler::start().await;
        app.hang_on("Do").on_check_async(|_| std::future::pending());
        let gateway = Gateway::start(&app).await;
        let mut client = gateway.client().await;
        let failing = async {
            match method {
                "HandleAction" => fail(&mut client, "Do", "{}").await,
                _ => fail_to_subscribe(&mut client).await,
            }
        };
        let (error, ()) = tokio::join!(failing, async {
            app.next(method).await;
            app.kill();
        });
        assert_eq!(error, expected);
        assert_eq!(client.subscriptions().await, json!({}));
    }
}

#[tokio::test]
async fn an_application_that_does_not_answer_in_time_may_have_done_it() {
    let app = TestHandler::start().await;
    app.hang_on("Do").on_check_async(|_| std::future::pending());
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--action-timeout=6s"]).await;
    let mut client = gateway.client().await;
    let started = Instant::now();
    assert_eq!(fail(&mut client, "Do", "{}").await, unknown("ActionTimeout"));
    assert!(started.elapsed() >= Duration::from_secs(6), "{:?}", started.elapsed());
    let error = fail_to_subscribe(&mut client).await;
    assert_eq!(error, of_widgets(retryable("ActionTimeout")));
    // Frozen as a whole, it is no different.
    app.on("Fast", |_| Ok(reply::events([])));
    assert_eq!(client.request("Fast", json!({})).await["event"], "Done");
    let frozen = app.freeze();
    assert_eq!(fail(&mut client, "Fast", "{}").await, unknown("ActionTimeout"));
    drop(frozen);
}

#[tokio::test]
async fn a_reply_that_breaks_a_rule_is_an_internal_error_and_nothing_of_it_is_applied() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let event = |event: &str, payload: String| Event { event: event.into(), payload };
    let update = |update: SessionUpdate| HandleActionResponse {
        session_update: Some(update),
        ..Default::default()
    };
    let data = |value: &str| [("k".to_owned(), value.to_owned())].into();
    let unsubscribe = |exchange: &str, routing_key: String| HandleActionResponse {
        unsubscribe: vec![Topic { exchange: exchange.into(), routing_key }],
        ..Default::default()
    };
    let of_events = |events| HandleActionResponse { events, ..Default::default() };
    let cases = [
        ("payload no JSON", of_events(vec![event("Ok", "1".into()), event("Bad", "{".into())])),
        ("two values", of_events(vec![event("Bad", "1 2".into())])),
        ("no event name", of_events(vec![event("", "{}".into())])),
        ("event too big", of_events(vec![event("Big", format!("\"{}\"", "x".repeat(256 << 10)))])),
        ("reply too big", of_events(vec![event("Big", format!("\"{}\"", "x".repeat(600 << 10)))])),
        ("many small events", of_events(vec![event("E", "1".into()); 20_000])),
        (
            "auth no JSON",
            update(SessionUpdate { set_auth: Some("{".into()), ..Default::default() }),
        ),
        (
            "auth set and cleared",
            update(SessionUpdate {
                set_auth: Some("1".into()),
                clear_auth: true,
                ..Default::default()
            }),
        ),
        ("data no JSON", update(SessionUpdate { set_data: data("x"), ..Default::default() })),
        (
            "too much to keep",
            update(SessionUpdate {
                set_auth: Some(format!("\"{}\"", "x".repeat(16 << 10))),
                ..Default::default()
            }),
        ),
        ("unsubscribe from a name that is none", unsubscribe("no such name", "k".into())),
        ("unsubscribe from a key that is none", unsubscribe("widgets", "x".repeat(256))),
        ("error without a code", reply::error("", "{}", false)),
        ("details no object", reply::error("Own", "[]", false)),
        ("details no JSON", reply::error("Own", "{", false)),
    ];
    for (what, mut response) in cases {
        // Beside what is wrong, much that is right.
        if response.error.is_none() {
            let update = response.session_update.get_or_insert_default();
            update.set_data.insert("other".into(), "1".into());
            response.subscribe.push(Topic { exchange: "widgets".into(), routing_key: "x".into() });
            response.disconnect = Some(Disconnect { code: 4000, reason: what.into() });
        }
        app.on("Do", move |_| Ok(response.clone()));
        assert_eq!(fail(&mut client, "Do", "{}").await, unknown("InternalError"), "{what}");
    }
    assert!(client.quiet().await);
    assert_eq!(client.subscriptions().await, json!({}));
    app.seen().await;
    app.on("Look", |_| Ok(reply::events([])));
    client.request("Look", json!({})).await;
    let call = app.next("HandleAction").await;
    let session = call.action().session.as_ref().expect("a session");
    assert_eq!((&session.auth, session.data.len()), (&None, 0));
}

#[tokio::test]
async fn an_applications_own_error_is_passed_on_with_its_details() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for (code, details, may_retry, expected) in [
        ("OutOfStock", "", false, r#"{"error":"OutOfStock","retryable":false}"#),
        (
            "OutOfStock",
            r#"{"left": 123456789012345678901234567890,"a":{"b":[1,  2]}}"#,
            true,
            r#"{"error":"OutOfStock","retryable":true,"a":{"b":[1,  2]},"left":123456789012345678901234567890}"#,
        ),
        (
            "Busy",
            r#"{"retry_after_ms":5}"#,
            true,
            r#"{"error":"Busy","retryable":true,"retry_after_ms":5}"#,
        ),
        (
            "Own",
            r#"{"error":"Other","retryable":true,"outcome":"unknown","kept":1}"#,
            false,
            r#"{"error":"Own","retryable":false,"kept":1}"#,
        ),
    ] {
        app.on("Do", move |_| Ok(reply::error(code, details, may_retry)));
        let text = client.ask(r#"{"action":"Do","tag":1}"#).await;
        assert_eq!(text, format!(r#"{{"event":"Error","tag":1,"payload":{expected}}}"#));
    }
    // Beside an error nothing else counts.
    app.on("Do", |_| {
        Ok(HandleActionResponse {
            events: vec![Event { event: "Never".into(), payload: String::new() }],
            disconnect: Some(Disconnect::default()),
            ..reply::error("Own", "", false)
        })
    });
    assert_eq!(client.error("Do", json!({})).await["error"], "Own");
    assert!(client.quiet().await);
}

#[tokio::test]
async fn past_the_calls_in_flight_an_action_waits_a_second_and_is_told_busy() {
    let app = TestHandler::start().await;
    let over = Arc::new(Notify::new());
    let slow_is_over = over.clone();
    app.on_async("Slow", move |_| {
        let over = slow_is_over.clone();
        async move {
            over.notified().await;
            Ok(reply::events([]))
        }
    });
    app.on("Fast", |_| Ok(reply::events([])));
    let flags = ["--exchange=widgets", "--max-in-flight=1", "--action-timeout=1h"];
    let gateway = Gateway::with(&app, &flags).await;
    let mut slow = gateway.client().await;
    slow.send(json!({"action": "Slow", "tag": 1})).await;
    app.next("HandleAction").await;
    let mut other = gateway.client().await;
    let started = Instant::now();
    assert_eq!(fail(&mut other, "Fast", "{}").await, retryable("Busy"));
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(app.seen().await.is_empty(), "busy means that it was not asked");
    // Its turn comes when the slow call is over.
    over.notify_one();
    slow.event("Done").await;
    assert_eq!(other.request("Fast", json!({})).await["event"], "Done");
}
