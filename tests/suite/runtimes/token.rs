//! Before the first client: whether the application is there, and takes the gateway's token.

use serde_json::json;

use super::{began, finish, finished, gateway, unknown};
use crate::support::runtime::Runtime;

in_languages!(the_question_whether_it_is_there_is_answered: Python Go Node Java Ruby);

/// No topics and a session that is nobody's are nothing that a handler stumbles over.
async fn the_question_whether_it_is_there_is_answered(runtime: Runtime) {
    let (app, port) = runtime.start(&[]).await;
    let gateway = gateway(port, &[]).await;
    let (status, body) = gateway.health_becomes("ready").await;
    assert_eq!((status, &body["reasons"]), (200, &json!([])), "{body}");
    let mut client = gateway.client().await;
    client.subscribe("widgets", "1").await;
    finish(app, &[]).await;
}

in_languages!(a_wrong_token_is_the_operators_affair: Python Go Node Java Ruby);

/// The stock interceptors of all languages answer UNAUTHENTICATED.
async fn a_wrong_token_is_the_operators_affair(runtime: Runtime) {
    let (app, port) = runtime.start(&["token=right"]).await;
    let wrong = gateway(port, &["--action-handler-token=wrong"]).await;
    let line = wrong.logged("it refuses the gateway's token").await;
    assert!(line.contains("wrong token"), "{line}");
    let (_, body) = wrong.health_becomes("degraded").await;
    let reasons = body["reasons"].to_string();
    assert!(reasons.contains("it refuses the gateway's token"), "{reasons}");
    let error = wrong.client().await.error("Act", json!(1)).await;
    assert_eq!(error, unknown("ApplicationUnavailable"));

    let right = gateway(port, &["--action-handler-token=right"]).await;
    right.ready().await;
    let mut client = right.client().await;
    client.subscribe("widgets", "1").await;
    assert_eq!(client.request("Act", json!(2)).await["event"], "Answer");
    finish(app, &[began(2), finished(2)]).await;
}
