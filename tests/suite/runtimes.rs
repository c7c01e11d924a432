//! What the gRPC runtime of an application answers by itself, behind the back of its
//! handlers: seen with a stock server, here Python's.

use serde_json::{Value, json};

use crate::support::{process::Myxi, python::Script};

/// As many as the application carries out at once, and as many that wait there.
const WORKERS: usize = 4;
const ACTIONS: usize = 2 * WORKERS;

/// The application, and a gateway that asks it and has all the time in the world.
async fn start(options: &[&str]) -> (Script, Myxi) {
    let mut app = Script::start("action_handler.py", options);
    let line = app.line().await.expect("its port");
    let port = line.strip_prefix("port ").expect("its port");
    let mut command = Myxi::bare();
    command.args(["--exchange=widgets", "--action-timeout=1h", "--log=debug"]);
    command.arg(format!("--action-handler=http://127.0.0.1:{port}"));
    let gateway = Myxi::run(command).await;
    gateway.ready().await;
    (app, gateway)
}

fn unknown(code: &str) -> Value {
    json!({"error": code, "retryable": false, "outcome": "unknown"})
}

fn began(number: usize) -> String {
    format!("began {number}")
}

fn finished(number: usize) -> String {
    format!("finished {number}")
}

/// A deploy: the runtime answers for handlers that go on to their end.
#[tokio::test]
async fn what_a_stopped_server_still_finishes_was_never_said_to_be_retryable() {
    let (mut app, gateway) = start(&[]).await;
    let mut clients = Vec::new();
    for number in 0..ACTIONS {
        let mut client = gateway.client().await;
        client.send(json!({"action": "Hold", "tag": number, "payload": number})).await;
        clients.push(client);
    }
    let mut noted = Vec::new();
    while noted.len() < WORKERS {
        noted.push(app.line().await.expect("actions begin"));
    }
    app.tell("stop").await;
    let mut answers = Vec::new();
    for client in &mut clients {
        answers.push(client.event("Error").await["payload"].clone());
    }
    // Whatever ends now ends after its client was answered.
    app.tell("go on").await;
    let under_way = noted.clone();
    noted.extend(app.rest().await);
    let mut ended = 0;
    for (number, answer) in answers.iter().enumerate() {
        if under_way.contains(&began(number)) {
            assert!(noted.contains(&finished(number)), "{number}: {noted:?}");
            assert_eq!(*answer, unknown("ApplicationUnavailable"), "{number}");
            ended += 1;
        }
        if answer["retryable"] == true {
            assert!(!noted.contains(&began(number)), "{number}: {answer} {noted:?}");
        }
    }
    assert_eq!(ended, WORKERS, "{noted:?}");
    gateway.logged("it answered UNAVAILABLE: ").await;
}

/// The handler is done, and the runtime finds its reply too large.
#[tokio::test]
async fn a_reply_over_the_limit_of_a_runtime_may_have_happened() {
    let (app, gateway) = start(&["grpc.max_send_message_length=1024"]).await;
    let mut client = gateway.client().await;
    assert_eq!(client.error("Large", json!(7)).await, unknown("Busy"));
    runtime_is_blamed(&gateway).await;
    finish(app, &[began(7), finished(7)]).await;
}

/// The handler never sees it. The status is the same.
#[tokio::test]
async fn an_action_over_the_limit_of_a_runtime_may_have_happened_for_all_one_knows() {
    let (app, gateway) = start(&["grpc.max_receive_message_length=1024"]).await;
    let mut client = gateway.client().await;
    let error = client.error("Small", json!("x".repeat(4096))).await;
    assert_eq!(error, unknown("Busy"));
    runtime_is_blamed(&gateway).await;
    finish(app, &[]).await;
}

/// The log says what came, and not that too many calls were in flight here.
async fn runtime_is_blamed(gateway: &Myxi) {
    let line = gateway.logged("RESOURCE_EXHAUSTED").await;
    assert!(line.contains("HandleAction") && line.contains("larger than max"), "{line}");
    let log = gateway.log();
    assert!(!log.iter().any(|line| line.contains("in flight")), "{log:#?}");
}

async fn finish(mut app: Script, expected: &[String]) {
    app.tell("go on").await;
    assert_eq!(app.rest().await, expected);
}
