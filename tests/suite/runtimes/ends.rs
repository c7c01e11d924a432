//! What clients are told when an application is stopped or dies under their actions.

use serde_json::{Value, json};

use super::{began, finished, start, unknown};
use crate::support::runtime::Runtime;

const ACTIONS: usize = 8;

in_languages!(what_a_stopped_server_still_finishes_was_never_said_to_be_retryable:
    Python Go Node Java Ruby);

/// A deploy: the runtime answers for handlers that go on to their end.
async fn what_a_stopped_server_still_finishes_was_never_said_to_be_retryable(runtime: Runtime) {
    let (mut app, gateway) = start(runtime, &[]).await;
    let mut clients = Vec::new();
    for number in 0..ACTIONS {
        let mut client = gateway.client().await;
        client.send(json!({"action": "Hold", "tag": number, "payload": number})).await;
        clients.push(client);
    }
    let mut noted = Vec::new();
    while noted.len() < ACTIONS.min(runtime.at_once()) {
        noted.push(app.line().await.expect("actions begin"));
    }
    app.tell("stop").await;
    let mut answers: Vec<Value> = Vec::new();
    for client in &mut clients {
        answers.push(client.event("Error").await["payload"].clone());
    }
    // Whatever ends now ends after its client was answered.
    app.tell("go on").await;
    let under_way = noted.clone();
    noted.extend(app.rest().await);
    for (number, answer) in answers.iter().enumerate() {
        if under_way.contains(&began(number)) {
            assert!(noted.contains(&finished(number)), "{number}: {noted:?}");
            assert_eq!(*answer, unknown("ApplicationUnavailable"), "{number}");
        }
        if answer["retryable"] == true {
            assert!(!noted.contains(&began(number)), "{number}: {answer} {noted:?}");
        }
    }
}

in_languages!(what_a_killed_server_had_begun_may_have_happened: Python Go Node Java Ruby);

async fn what_a_killed_server_had_begun_may_have_happened(runtime: Runtime) {
    let (mut app, gateway) = start(runtime, &[]).await;
    let mut client = gateway.client().await;
    client.send(json!({"action": "Hold", "tag": 1, "payload": 1})).await;
    assert_eq!(app.line().await, Some(began(1)));
    app.kill().await;
    let error = client.event("Error").await;
    assert_eq!(error["payload"], unknown("ApplicationUnavailable"));
    // Nothing was sent of this one.
    let error = client.error("Act", json!(2)).await;
    assert_eq!(error["error"], "ApplicationUnavailable");
    assert_eq!(error["retryable"], true, "{error}");
}
