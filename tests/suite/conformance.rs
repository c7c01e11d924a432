//! What others wrote down about the protocols that the gateway speaks, and how it stands to
//! it. The scripts are in `tests/conformance`.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::support::{
    DEADLINE, gateway::Gateway, handler::TestHandler, process::Myxi, python::printed_by, within,
};

/// Autobahn's cases outside compression.
const CASES: usize = 301;

/// The scripts have up to hundreds of steps, some of which wait for seconds.
const PATIENCE: Duration = Duration::from_secs(900);

/// A script's lines of JSON.
async fn reported_by(script: &str, args: &[&str], deadline: Duration) -> Vec<Value> {
    let printed = printed_by(script, args, deadline).await;
    printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// `examples/echo.rs`, which cargo builds beside the tests. Killed on drop.
async fn echo() -> (Child, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_myxi")).with_file_name("examples").join("echo");
    let mut child = Command::new(&program)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; cargo build --examples", program.display()));
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address = within(DEADLINE, "the echo's address", lines.next_line()).await;
    (child, address.expect("a line").expect("an address"))
}

#[tokio::test]
async fn no_case_of_autobahn_fails() {
    let (_echo, address) = echo().await;
    let url = format!("ws://{address}");
    let results = reported_by("autobahn.py", &[&url], PATIENCE).await;

    // NON-STRICT would pass too, by Autobahn's book; there is none.
    let passed = |verdict: &Value| verdict == "OK" || verdict == "INFORMATIONAL";
    let failed: Vec<_> = results
        .iter()
        .filter(|result| !passed(&result["behavior"]) || !passed(&result["close"]))
        .collect();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    assert_eq!(results.len(), CASES);
}

/// What a caller without stubs is answered: the services, and each call in turn.
async fn reflected(gateway: &Gateway, version: &str, token: &str, session: &str) -> Vec<Value> {
    let grpc = gateway.grpc().to_string();
    reported_by("reflection.py", &[&grpc, version, token, session], PATIENCE).await
}

#[tokio::test]
async fn reflection_of_both_versions_is_enough_to_make_every_call() {
    let app = TestHandler::start().await;
    for version in ["v1", "v1alpha"] {
        // Another gateway has not heard of the ids that the events have each time.
        let gateway = Gateway::start(&app).await;
        let mut client = gateway.client().await;
        client.subscribe("widgets", "1").await;
        let answers = reflected(&gateway, version, "", &client.id).await;
        let services = ["grpc.health.v1.Health", "myxi.v1.Gateway"];
        let no_event = "event must be a name of 1 to 255 bytes";
        let results = json!([
            {"event_id": "b"},
            {"event_id": "c", "code": 3, "message": no_event},
        ]);
        let expected = [
            json!({"call": "services", "answer": {"services": services}}),
            json!({"call": "Check", "answer": {"status": "SERVING"}}),
            json!({"call": "PushEvent", "answer": {"event_id": "a"}}),
            json!({"call": "PushEvents", "answer": {"results": results}}),
            json!({"call": "PushEvent", "status": "NOT_FOUND"}),
            json!({"call": "SendEvent", "answer": {}}),
            json!({"call": "DisconnectSession", "answer": {}}),
            json!({"call": "DisconnectSession", "status": "NOT_FOUND"}),
        ];
        assert_eq!(answers, expected, "{version}");

        for name in ["One", "Two", "Three"] {
            client.event(name).await;
        }
        assert_eq!(client.closed().await.code, 4001);
    }
}

#[tokio::test]
async fn reflection_of_both_versions_asks_for_the_token() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--grpc-token=s3cret"]).await;
    for version in ["v1", "v1alpha"] {
        for wrong in ["", "wrong"] {
            let answers = reflected(&gateway, version, wrong, "").await;
            let refused = json!({"call": "services", "status": "UNAUTHENTICATED"});
            assert_eq!(answers, [refused], "{version}");
        }
        let answers = reflected(&gateway, version, "s3cret", "").await;
        let called = answers.iter().filter(|answer| answer["status"] != "UNAUTHENTICATED");
        assert_eq!(called.count(), 8, "{version}: {answers:#?}");
        assert_eq!(answers[2]["answer"]["event_id"], "a", "{version}");
    }
}

/// Attacks that `h2_negatives.py` knows.
const ATTACKS: usize = 51;

#[tokio::test]
async fn nothing_that_http2_forbids_costs_much_or_keeps_others_out() {
    let app = TestHandler::start().await;
    let mut myxi = Myxi::serve(&app, &["--exchange=widgets"]).await;
    let (grpc, pid) = (myxi.grpc().to_string(), myxi.pid().to_string());
    let attacks = reported_by("h2_negatives.py", &[&grpc, &pid], PATIENCE).await;
    let costly = attacks.iter().filter(|attack| attack["problems"] != json!([]));
    let costly: Vec<_> = costly.map(Value::to_string).collect();
    assert!(costly.is_empty(), "{}", costly.join("\n"));
    assert_eq!(attacks.len(), ATTACKS);
    assert!(myxi.is_running());
}
