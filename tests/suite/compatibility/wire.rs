//! Paths, keys, payloads, and what is not said.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest};

use super::{FLAGS, both, client_at, gateway, page};
use crate::support::{
    client::{Client, Closed},
    fleet::Fleet,
    gateway::Gateway,
    handler::{
        TestHandler,
        proto::{CheckReason, HandleActionResponse, Topic},
        reply,
    },
    program::Program,
    rabbitmq::RabbitMq,
};

/// As it lists the key 7, which it sent as a number.
async fn listed(client: &mut Client) -> Value {
    let payload = json!({"exchange": "widgets", "routing_key": 7});
    assert_eq!(client.request("Subscribe", payload).await["payload"]["routing_key"], 7);
    client.subscriptions().await["widgets"][0].clone()
}

#[tokio::test]
async fn every_path_but_the_root_speaks_as_the_original_did() {
    let app = TestHandler::start().await;
    let gateway = gateway(&app).await;
    for path in ["/pushwss", "/pushwss/", "/pushwss?x", "/push.ws", "/cable/2?a=b", "//"] {
        assert_eq!(listed(&mut client_at(&gateway, path).await).await, "7", "{path}");
    }
    for path in ["/", "/?pushwss"] {
        assert_eq!(listed(&mut client_at(&gateway, path).await).await, 7, "{path}");
    }
}

#[tokio::test]
async fn without_the_flag_nothing_does() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    for path in ["/", "/pushwss", "/pushwss/"] {
        assert_eq!(listed(&mut client_at(&gateway, path).await).await, 7, "{path}");
    }
    let url = format!("ws://{}/cable", gateway.clients());
    let request = url.into_client_request().expect("a URL");
    match Client::connect_with(request, gateway.clients()).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 404),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a WebSocket at /cable"),
    }
}

#[tokio::test]
async fn both_kinds_of_clients_hear_the_same() {
    let app = TestHandler::start().await;
    let gateway = gateway(&app).await;
    let mut clients = both(&gateway).await;
    for client in &mut clients {
        client.subscribe("widgets", "7").await;
    }
    gateway.push("widgets", "7", "Changed", json!({"quantity": 3})).await;
    let [documented, page] = &mut clients;
    let event = documented.event("Changed").await;
    assert_eq!(event["mq"]["e"], "widgets");
    assert_eq!(event["mq"]["rk"], "7");
    assert_eq!(page.event("Changed").await, event);
}

/// Each with the same questions: where the answers differ, they are there twice.
#[tokio::test]
async fn keys_come_back_as_the_original_wrote_them() {
    const SUBSCRIBED: &str =
        r#"{"event":"Subscribed","tag":1,"payload":{"exchange":"widgets","routing_key":7}}"#;
    const UNSUBSCRIBED: &str = r#"{"event":"Unsubscribed","tag":1,"payload":{"exchange":"widgets","exchange_name":"widgets","routing_key":7,"auto":false}}"#;
    let app = TestHandler::start().await;
    let gateway = gateway(&app).await;
    let [mut documented, mut page] = both(&gateway).await;
    let as_text = |reply: &str| reply.replace(":7", r#":"7""#);
    for (action, payload, expected, to_page) in [
        ("Subscribe", r#"{"exchange":"widgets","routing_key":7}"#, SUBSCRIBED, None),
        (
            "ListSubscriptions",
            "{}",
            r#"{"event":"YourSubscriptions","tag":1,"payload":{"subscriptions":{"widgets":[7]}}}"#,
            Some(r#"{"event":"YourSubscriptions","tag":1,"payload":{"subscriptions":{"widgets":["7"]}}}"#.to_owned()),
        ),
        // The very key: as it was sent.
        ("Unsubscribe", r#"{"exchange":"widgets","routing_key":7}"#, UNSUBSCRIBED, None),
        ("Subscribe", r#"{"exchange":"widgets","routing_key":7}"#, SUBSCRIBED, None),
        // All keys: as they were kept.
        ("Unsubscribe", r#"{"exchange":"widgets"}"#, UNSUBSCRIBED, Some(as_text(UNSUBSCRIBED))),
        ("Subscribe", r#"{"exchange":"widgets","routing_key":7}"#, SUBSCRIBED, None),
        ("Unsubscribe", "{}", UNSUBSCRIBED, Some(as_text(UNSUBSCRIBED))),
    ] {
        let text = format!(r#"{{"action":"{action}","tag":1,"payload":{payload}}}"#);
        assert_eq!(documented.ask(&text).await, expected, "{text}");
        let to_page = to_page.unwrap_or_else(|| expected.to_owned());
        assert_eq!(page.ask(&text).await, to_page, "{text}");
    }
}

#[tokio::test]
async fn a_null_is_a_key_to_subscribe_to_and_all_keys_to_unsubscribe_from() {
    let app = TestHandler::start().await;
    let gateway = gateway(&app).await;
    let [mut documented, mut page] = both(&gateway).await;
    for client in [&mut documented, &mut page] {
        client.subscribe("widgets", "7").await;
        let null = json!({"exchange": "widgets", "routing_key": null});
        let reply = client.request("Subscribe", null.clone()).await;
        assert_eq!(reply["payload"]["routing_key"], Value::Null);
        client.request("Unsubscribe", null).await;
    }
    assert_eq!(documented.subscriptions().await, json!({"widgets": ["7"]}));
    assert_eq!(page.subscriptions().await, json!({}));
}

#[tokio::test]
async fn of_keys_and_a_key_the_original_took_the_keys() {
    let app = TestHandler::start().await;
    let gateway = gateway(&app).await;
    let [mut documented, mut page] = both(&gateway).await;
    let payload = json!({"exchange": "widgets", "routing_key": 9, "routing_keys": [7, 8]});
    let error = documented.error("Subscribe", payload.clone()).await;
    assert_eq!(error["error"], "InvalidPayload");
    page.request("Subscribe", payload.clone()).await;
    page.event("Subscribed").await;
    assert_eq!(page.subscriptions().await, json!({"widgets": ["7", "8"]}));
    // In the original the only way to end two of many.
    page.request("Unsubscribe", payload).await;
    page.event("Unsubscribed").await;
    assert_eq!(page.subscriptions().await, json!({}));
}

#[tokio::test]
async fn what_it_did_not_know_of_a_past_it_does_not_ask_for() {
    let app = TestHandler::start().await;
    let gateway = gateway(&app).await;
    let [mut documented, mut page] = both(&gateway).await;
    let payload = json!({"exchange": "widgets", "routing_key": "7", "after": "x", "last": 0});
    let error = documented.error("Subscribe", payload.clone()).await;
    assert_eq!(error["error"], "InvalidPayload");
    let subscribed = page.request("Subscribe", payload).await;
    assert_eq!(subscribed["event"], "Subscribed");
    assert_eq!(subscribed["payload"].get("recovered"), None);
}

#[tokio::test]
async fn a_payload_of_nothing_is_an_object() {
    let app = TestHandler::start().await;
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    let gateway = gateway(&app).await;
    let [mut documented, mut page] = both(&gateway).await;
    for payload in [json!(null), json!(false)] {
        assert_eq!(documented.request("Echo", payload.clone()).await["payload"], payload);
        assert_eq!(page.request("Echo", payload.clone()).await["payload"], json!({}));
        assert_eq!(documented.error("Unsubscribe", payload).await["error"], "InvalidPayload");
    }
    for payload in [json!([null]), json!(0), json!("")] {
        assert_eq!(page.request("Echo", payload.clone()).await["payload"], payload);
    }
    // Where it has none, or says nothing.
    page.subscribe("widgets", "7").await;
    page.send(json!({"action": "Unsubscribe", "payload": null})).await;
    assert_eq!(page.event("Unsubscribed").await["payload"]["routing_key"], "7");
}

#[tokio::test]
async fn tags_come_back_and_where_there_was_none_there_is_none() {
    let app = TestHandler::start().await;
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    let gateway = gateway(&app).await;
    for mut client in both(&gateway).await {
        for (sent, echoed) in
            [(r#""tag":[1],"#, r#""tag":[1],"#), (r#""tag":null,"#, r#""tag":null,"#), ("", "")]
        {
            let reply = client.ask(&format!(r#"{{"action":"Echo",{sent}"payload":1}}"#)).await;
            assert_eq!(reply, format!(r#"{{"event":"Echoed",{echoed}"payload":1}}"#));
        }
    }
}

#[tokio::test]
async fn what_ends_by_itself_has_its_key_as_a_text() {
    let app = TestHandler::start().await;
    app.on("Demote", |_| Ok(reply::set_auth("1")));
    app.on("End", |_| {
        let topic = Topic { exchange: "widgets".into(), routing_key: "8".into() };
        Ok(HandleActionResponse { unsubscribe: vec![topic], ..Default::default() })
    });
    app.on_check(|request| {
        let again = request.reason() == CheckReason::Recheck;
        Ok(if again { reply::deny_all(&request) } else { reply::allow_all(&request) })
    });
    let gateway = gateway(&app).await;
    for (mut client, keys) in
        both(&gateway).await.into_iter().zip([json!([7, 8]), json!(["7", "8"])])
    {
        let payload = json!({"exchange": "widgets", "routing_keys": [7, 8]});
        client.request("Subscribe", payload).await;
        client.send(json!({"action": "End"})).await;
        assert_eq!(client.event("Unsubscribed").await["payload"]["routing_key"], keys[1]);
        client.send(json!({"action": "Demote"})).await;
        let ended = client.event("Unsubscribed").await;
        assert_eq!(ended["payload"]["routing_key"], keys[0]);
        assert_eq!(ended["payload"]["auto"], true);
    }
}

#[tokio::test]
async fn an_action_with_nothing_to_say_says_nothing() {
    let app = TestHandler::start().await;
    app.on("Nothing", |_| Ok(reply::events([])));
    let gateway = gateway(&app).await;
    let [mut documented, mut page] = both(&gateway).await;
    for action in ["Nothing", "Unsubscribe"] {
        assert_eq!(documented.request(action, json!({})).await["event"], "Done");
        page.send(json!({"action": action, "tag": 1})).await;
        assert!(page.quiet().await, "{action}");
    }
}

#[tokio::test]
async fn who_is_sent_away_by_a_drain_is_only_closed() {
    let app = TestHandler::start().await;
    let gateway = gateway(&app).await;
    let [mut documented, mut page] = both(&gateway).await;
    let of_documented = async {
        let told = documented.next().await;
        (told["event"].clone(), documented.closed().await.code)
    };
    let of_page = async {
        let first = page.message().await.expect("a close").expect("a frame");
        page.message().await;
        first
    };
    let (told, first, ()) = tokio::join!(of_documented, of_page, gateway.drain());
    assert_eq!(told, (json!("Reconnect"), 1012));
    assert!(first.is_close(), "{first}");
}

#[tokio::test]
async fn a_gap_is_told_to_those_who_know_what_it_is() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    fleet.add(broker, &FLAGS[1..]).await;
    let mut clients = both(&fleet[0]).await;
    for client in &mut clients {
        client.subscribe(&fleet.exchange, "1").await;
    }
    fleet[0].push(&fleet.exchange, "1", "Before", json!({})).await;
    for client in &mut clients {
        client.event("Before").await;
    }
    Program::connect(broker).await.delete_log(&fleet.exchange).await;
    let [documented, page] = &mut clients;
    documented.event("Gap").await;
    fleet[0].ready().await;
    fleet[0].push(&fleet.exchange, "1", "After", json!({})).await;
    documented.event("After").await;
    assert_eq!(page.next().await["event"], "After");
}

/// A flood of errors is no reason to write them all: one for each key, with a great tag.
#[tokio::test]
async fn who_asks_for_thousands_of_keys_that_are_none_is_cut_off() {
    let app = TestHandler::start().await;
    let flags = [FLAGS[0], FLAGS[1], "--max-outbox=64KiB"];
    let gateway = Gateway::with(&app, &flags).await;
    let mut page = page(&gateway).await;
    let keys: Vec<u32> = (0..5_000).collect();
    let payload = json!({"exchange": "gizmos", "routing_keys": keys});
    page.send(json!({"action": "Subscribe", "tag": "x".repeat(10_000), "payload": payload})).await;
    let Closed { code, .. } = page.closed().await;
    assert_eq!(code, 3008);
    // Nobody waits for it meanwhile.
    let mut other = gateway.client().await;
    other.patience = Duration::from_secs(10);
    assert!(other.quiet().await);
}
