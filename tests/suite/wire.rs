//! The wire: every message and every built-in action, as a client sees them.

use serde_json::json;

use crate::support::{gateway::Gateway, handler::TestHandler};

#[tokio::test]
async fn an_action_goes_to_the_application_and_its_events_come_back_under_its_tag() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "1").await;
    gateway.push("widgets", "1", "Changed", json!({"n": 1})).await;
    let event = client.event("Changed").await;
    assert_eq!(event["mq"], json!({"e": "widgets", "rk": "1"}));
}
