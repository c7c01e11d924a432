//! Handlers that are as they should be: nothing fails, and next to nothing is warned of.

use serde_json::Value;
use tonic::Status;

use super::check;
use crate::support::{
    handler::{
        TestHandler,
        proto::{CheckSubscriptionsRequest, CheckSubscriptionsResponse, Decision},
        reply,
    },
    runtime::Runtime,
};

/// It knows the action `Echo` of somebody, and one room of one exchange.
pub async fn good() -> TestHandler {
    let app = TestHandler::start().await;
    app.on("Echo", |request| match request.session.as_ref().and_then(|it| it.auth.as_ref()) {
        Some(_) => Ok(reply::events([("Echoed", request.payload.as_str())])),
        None => Err(Status::unauthenticated("")),
    });
    app.on_check(|request| Ok(decide(&request)));
    app
}

pub fn decide(request: &CheckSubscriptionsRequest) -> CheckSubscriptionsResponse {
    let somebody = request.session.as_ref().is_some_and(|session| session.auth.is_some());
    reply::decisions(request.topics.iter().map(|topic| {
        match (topic.exchange.as_str(), topic.routing_key.as_str()) {
            ("rooms", "lobby") if somebody => Decision::Allow,
            ("rooms", _) => Decision::Deny,
            _ => Decision::UnknownExchange,
        }
    }))
}

/// What is valid for it.
pub fn valid(app: &TestHandler) -> [String; 5] {
    [
        format!("--action-handler={}", app.endpoint()),
        r#"--auth={"user":"adam"}"#.into(),
        r#"--action=Echo={"text":"hi"}"#.into(),
        "--allow=rooms:lobby".into(),
        "--deny=rooms:staff".into(),
    ]
}

#[tokio::test]
async fn a_good_handler_passes_whole() {
    let app = good().await;
    let flags = valid(&app);
    let more = ["--full", "--action-timeout=30s", "--wait=30s"];
    let flags: Vec<_> = flags.iter().map(String::as_str).chain(more).collect();
    let checked = check(&flags).await;
    assert_eq!(checked.code, Some(0), "{}", checked.text);
    assert_eq!(checked.of("failed"), [""; 0], "{}", checked.text);
    assert_eq!(checked.of("warning"), [""; 0], "{}", checked.text);
    assert_eq!(checked.of("not_checked"), ["tokens"], "{}", checked.text);
    checked.is("ok", "unicode Echo", "came back as it was sent");
    let client: Value = checked.found("action Echo")["client_sees"].clone();
    let frame = r#"{"event":"Echoed","tag":"myxi-check","payload":{"text":"hi"}}"#;
    assert_eq!(client, frame);
    checked.is("ok", "rpcs", "SessionClosed is there");
    for call in app.seen().await.iter().filter(|call| call.method == "HandleAction") {
        let session = call.action().session.as_ref().expect("a session");
        assert_eq!((&*session.path, session.id.len()), ("/myxi-check", 16));
    }
}

#[tokio::test]
async fn without_full_no_session_is_told_of_and_what_cannot_be_checked_is_said() {
    let app = good().await;
    let checked = check(&[&format!("--action-handler={}", app.endpoint())]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.text);
    let not_checked = [
        "action",
        "missing-payload",
        "unicode MyxiCheckNoSuchAction",
        "allow",
        "deny",
        "tokens",
        "session-opened",
        "session-closed",
        "hundred-at-once",
    ];
    assert_eq!(checked.of("not_checked"), not_checked, "{}", checked.text);
    let methods: Vec<_> = app.seen().await.iter().map(|call| call.method).collect();
    assert!(!methods.contains(&"SessionOpened") && !methods.contains(&"SessionClosed"));
}

/// What stock servers count as too many is more than the gateway's two.
#[tokio::test]
async fn a_stock_server_takes_what_the_gateway_takes_to_be_polite() {
    let (mut app, port) = Runtime::Python.start(&["token=t", "workers=8"]).await;
    let handler = format!("--action-handler=http://127.0.0.1:{port}");
    let args = [handler.as_str(), "--action-handler-token=t", "--full"];
    let checked = tokio::select! {
        checked = check(&args) => checked,
        // It prints what it is asked, and waits where nobody reads that.
        () = async { while app.line().await.is_some() {} } => panic!("the handler ended"),
    };
    for name in ["pings", "cancelled-calls", "short-deadline", "hundred-at-once"] {
        checked.is("ok", name, "");
    }
    for name in ["wrong-token", "no-token"] {
        checked.is("ok", name, "UNAUTHENTICATED");
    }
    // It answers every action, and knows no exchange from another.
    checked.warned("unknown-action", "OK");
    checked.warned("unknown-exchange", "Allow");
}
