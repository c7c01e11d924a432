//! What a page is told of what went wrong: the names that it knows, and no more than it knows.

use serde_json::{Value, json};
use tonic::Status;

use super::{both, gateway};
use crate::support::handler::{TestHandler, proto::Decision, reply};

/// `Buy` is refused by the application, `Fail` fails, `Secret` is for others; of `widgets` 13 is
/// denied.
async fn application() -> TestHandler {
    let app = TestHandler::start().await;
    app.on("Buy", |_| Ok(reply::error("OutOfStock", r#"{"left":0,"message":"none"}"#, true)));
    app.on("Fail", |_| Err(Status::internal("a secret")));
    app.on("Secret", |_| Err(Status::unauthenticated("")));
    app.on("Fussy", |_| Err(Status::invalid_argument("a number, please")));
    app.on_check(|request| {
        let denied = |key: &str| if key == "13" { Decision::Deny } else { Decision::Allow };
        Ok(reply::decisions(request.topics.iter().map(|topic| denied(&topic.routing_key))))
    });
    app
}

#[tokio::test]
async fn errors_are_those_that_a_page_knows() {
    let app = application().await;
    let gateway = gateway(&app).await;
    let [mut documented, mut page] = both(&gateway).await;
    let widgets = |key: Value| json!({"exchange": "widgets", "routing_key": key});
    for (action, payload, code, to_page) in [
        ("Dance", json!({}), "InvalidAction", json!({"error": "InvalidAction"})),
        ("Secret", json!({}), "AuthRequired", json!({"error": "AuthRequired"})),
        ("Fussy", json!({}), "InvalidPayload", json!({"error": "InvalidPayload"})),
        // The application's own is its own, whatever it has beside.
        (
            "Buy",
            json!({}),
            "OutOfStock",
            json!({"error": "OutOfStock", "left": 0, "message": "none"}),
        ),
        ("Subscribe", json!({}), "InvalidPayload", json!({"error": "InvalidPayload"})),
        (
            "Subscribe",
            widgets(json!(13)),
            "SubscriptionDenied",
            json!({"error": "SubscriptionDenied", "exchange": "widgets", "routing_key": 13}),
        ),
        // A key that is neither a text nor an integer: another text in each language.
        (
            "Subscribe",
            widgets(json!(1.5)),
            "InvalidRoutingKey",
            json!({"error": "InvalidRoutingKey", "exchange": "widgets", "routing_key": 1.5}),
        ),
        (
            "Subscribe",
            widgets(json!({"id": true})),
            "InvalidRoutingKey",
            json!({"error": "InvalidRoutingKey", "exchange": "widgets", "routing_key": {"id": true}}),
        ),
        (
            "Subscribe",
            json!({"exchange": "gizmos", "routing_key": 1}),
            "InvalidExchangeName",
            json!({"error": "InvalidExchange", "exchange": "gizmos"}),
        ),
    ] {
        let told = documented.error(action, payload.clone()).await;
        assert_eq!(told["error"], code, "{action} {payload}");
        assert!(told["retryable"].is_boolean(), "{told}");
        assert_eq!(page.error(action, payload.clone()).await, to_page, "{action} {payload}");
    }
    for client in [&mut documented, &mut page] {
        client.subscribe("widgets", "7").await;
    }
    let known = json!({"error": "AlreadySubscribed", "exchange": "widgets", "routing_key": 7});
    assert_eq!(page.error("Subscribe", widgets(json!(7))).await, known);
    assert_eq!(page.ask("{").await, r#"{"event":"Error","payload":{"error":"InvalidJSON"}}"#);
}

#[tokio::test]
async fn of_an_unknown_exchange_each_key_has_its_error() {
    let app = application().await;
    let gateway = gateway(&app).await;
    let [mut documented, mut page] = both(&gateway).await;
    for keys in [3, 1] {
        let payload = json!({"exchange": "gizmos", "routing_keys": (0..keys).collect::<Vec<_>>()});
        let message = json!({"action": "Subscribe", "tag": 1, "payload": payload});
        documented.send(message.clone()).await;
        assert_eq!(documented.event("Error").await["payload"]["error"], "InvalidExchangeName");
        assert!(documented.quiet().await, "one for all");
        page.send(message).await;
        for _ in 0..keys {
            assert_eq!(page.event("Error").await["payload"]["error"], "InvalidExchange");
        }
        assert!(page.quiet().await, "one for each");
    }
}

/// The application may be the one who does not know it.
#[tokio::test]
async fn an_exchange_that_the_application_does_not_know_is_unknown_as_well() {
    let app = TestHandler::start().await;
    app.on_check(|request| {
        Ok(reply::decisions(request.topics.iter().map(|_| Decision::UnknownExchange)))
    });
    let gateway = gateway(&app).await;
    let [_, mut page] = both(&gateway).await;
    let payload = json!({"exchange": "widgets", "routing_keys": [1, 2]});
    page.send(json!({"action": "Subscribe", "payload": payload})).await;
    for _ in 0..2 {
        let error = page.event("Error").await;
        assert_eq!(error["payload"], json!({"error": "InvalidExchange", "exchange": "widgets"}));
    }
    assert!(page.quiet().await);
}

/// It had an event of its own, and named the exception; what that was nobody outside learns.
#[tokio::test]
async fn what_failed_is_an_internal_error_which_is_an_event() {
    let app = application().await;
    let gateway = gateway(&app).await;
    let [mut documented, mut page] = both(&gateway).await;
    let told = documented.error("Fail", json!({})).await;
    assert_eq!(told, json!({"error": "InternalError", "retryable": false, "outcome": "unknown"}));
    let fail = r#"{"action":"Fail","tag":1}"#;
    let event = r#"{"event":"InternalError","tag":1,"payload":{"error":"InternalError","message":"the application failed"}}"#;
    assert_eq!(page.ask(fail).await, event);
}
