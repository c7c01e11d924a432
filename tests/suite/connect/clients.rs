//! Connect's own client, here Python's: what it makes of the service and of its errors.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{gateway::Gateway, handler::TestHandler, python::printed_by};

/// Python takes seconds to begin where the machine has other things to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// Forms that the client has for a message; each is a name of the events that it pushes.
const FORMS: [&str; 4] = ["json", "json+gzip", "proto", "proto+gzip"];

/// What each call was answered, as the script tells it.
async fn told(gateway: &Gateway, args: &[&str]) -> Vec<Value> {
    let address = gateway.grpc().to_string();
    let args = [&[&*address], args].concat();
    let printed = printed_by("connect_client.py", &args, PATIENCE).await;
    printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn connects_own_client_makes_every_call_and_understands_every_error() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "k").await;
    let told = told(&gateway, &[&client.id]).await;
    let no_event = "event must be a name of 1 to 255 bytes";
    let unknown = "the exchange elsewhere is not configured (--exchange)";
    for (form, told) in FORMS.iter().zip(told.chunks(5)) {
        let result =
            |id: &str| json!({"event_id": format!("{form}{id}"), "code": 3, "message": no_event});
        let results = [result("a"), result("b")];
        assert_eq!(told[0], json!({"call": "PushEvent", "answer": {"event_id": form}}), "{form}");
        assert_eq!(
            told[1],
            json!({"call": "PushEvents", "answer": {"results": results}}),
            "{form}"
        );
        assert_eq!(told[2], json!({"call": "SendEvent", "answer": {}}), "{form}");
        assert_eq!(
            told[3],
            json!({"call": "PushEvent", "code": "not_found", "message": unknown}),
            "{form}"
        );
        assert_eq!(told[4]["code"], "invalid_argument", "{form}: {}", told[4]);
        assert_eq!(client.event(form).await["payload"], json!({"n": 1}));
        assert_eq!(client.event(&format!("{form} sent")).await["payload"], json!([1]));
    }
    assert_eq!(told[4 * 5..], [json!({"call": "DisconnectSession", "answer": {}})]);
    assert_eq!(client.closed().await.code, 4001);
}

#[tokio::test]
async fn connects_own_client_is_asked_for_the_token() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--grpc-token=s3cret"]).await;
    let nobody = "0".repeat(16);
    for told in told(&gateway, &[&nobody]).await {
        assert_eq!(told["code"], "unauthenticated", "{told}");
    }
    let told = told(&gateway, &[&nobody, "s3cret"]).await;
    assert_eq!(told[0], json!({"call": "PushEvent", "answer": {"event_id": "json"}}));
    assert_eq!(told[2]["code"], "not_found", "{}", told[2]);
}
