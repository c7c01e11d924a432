//! Closing a session by hand: the same path, the same rules as `DisconnectSession`.

use serde_json::{Value, json};

use super::Console;
use crate::support::{gateway::Gateway, handler::TestHandler, process::Myxi};

#[tokio::test]
async fn a_session_is_closed_and_its_client_and_the_log_are_told() {
    let app = TestHandler::start().await;
    let myxi = Myxi::serve(&app, &["--exchange=widgets"]).await;
    let console = Console::of(&myxi);
    let (mut one, mut other) = (myxi.client().await, myxi.client().await);
    let mut done = myxi.client().await;
    let body = json!({"session_id": one.id, "code": 4000, "reason": "come back"}).to_string();
    let answer = console.disconnect(&body).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"session_id": one.id})));
    let closed = one.closed().await;
    assert_eq!((closed.code, &*closed.reason), (4000, "come back"));
    let line: Value = serde_json::from_str(&myxi.logged("closed from the console").await).unwrap();
    assert_eq!((&line["session"], &line["code"]), (&json!(one.id), &json!(4000)));

    assert_eq!(console.disconnect(&json!({"session_id": other.id}).to_string()).await.status, 200);
    assert_eq!(other.closed().await.code, 4500);
    let of_done = json!({"session_id": done.id, "code": 1000}).to_string();
    assert_eq!(console.disconnect(&of_done).await.status, 200);
    assert_eq!(done.closed().await.code, 1000);
    console.awaits("/api/sessions", |it| it["total"] == 0).await;
    assert_eq!(console.disconnect(&body).await.status, 404, "it is gone");
}

#[tokio::test]
async fn a_refusal_names_what_is_wrong() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let client = gateway.client().await;
    let body = |rest: &str| format!(r#"{{"session_id":"{}"{rest}}}"#, client.id);
    for (body, status, named) in [
        ("{".into(), 400, "JSON"),
        (r#"["1"]"#.into(), 400, "object"),
        ("{}".into(), 400, "session_id"),
        (r#"{"session_id":17}"#.into(), 400, "session_id"),
        (r#"{"session_id":"17"}"#.into(), 400, "session_id"),
        (body(r#","code":"4000""#), 400, "code"),
        (body(r#","code":-1"#), 400, "code"),
        (body(r#","code":3000"#), 400, "code"),
        (body(r#","reason":1"#), 400, "reason"),
        (body(&format!(r#","reason":"{}""#, "x".repeat(124))), 400, "reason"),
        (r#"{"session_id":"0000000000000000"}"#.into(), 404, "0000000000000000"),
    ] {
        let answer = Console::of(&gateway).disconnect(&body).await;
        let error = answer.json()["error"].to_string();
        assert_eq!(answer.status, status, "{body}: {error}");
        assert!(error.contains(named), "{body}: {error}");
    }
    assert_eq!(Console::of(&gateway).read("/api/sessions").await["total"], 1);
}
