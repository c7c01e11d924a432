//! The chat as `examples/README.md` describes it, from the first client to the last.

use serde_json::{Value, json};

use super::user;
use crate::support::{
    client::{Client, Closed},
    example::{Example, Language, Place},
};

const TEXT: &str = "\"hi\" \\ ü 🦀";

pub async fn plays_the_chat(language: Language, place: Place) {
    let example = Example::start(language, place, None).await;
    who_is_too_old_is_refused(&example).await;
    nobody_may_anything(&example).await;
    let mut adam = user(&example, "adam").await;
    let mut eve = user(&example, "eve").await;
    rooms_are_for_those_who_may_enter(&mut adam, &mut eve).await;
    what_is_said_is_heard(&mut adam, &mut eve).await;
    payloads_are_looked_at(&mut adam).await;
    who_joins_hears_others_leave(&mut adam, eve).await;
    another_gateway_is_refused(&example).await;
}

async fn who_is_too_old_is_refused(example: &Example) {
    let clients = example.gateway.clients();
    let mut client = Client::connect_to(&format!("ws://{clients}/?version=0"), clients).await;
    let reason = "this version is too old".into();
    assert_eq!(client.closed().await, Closed { code: 4500, reason });
}

async fn nobody_may_anything(example: &Example) {
    let mut nobody = example.gateway.client().await;
    assert_eq!(nobody.event("Greeting").await["payload"], json!({"text": "Who are you?"}));
    assert_eq!(nobody.error("Roll", json!({"dice": 1})).await["error"], "AuthRequired");
    let lobby = json!({"exchange": "rooms", "routing_key": "lobby"});
    assert_eq!(nobody.error("Subscribe", lobby).await["error"], "SubscriptionDenied");
    let wrong = nobody.error("Authenticate", json!({"token": "x"})).await;
    let message = "nobody has this token";
    let expected = json!({"error": "InvalidToken", "retryable": false, "message": message});
    assert_eq!(wrong, expected);
    assert_eq!(nobody.error("Authenticate", json!({})).await["error"], "InvalidPayload");
}

async fn rooms_are_for_those_who_may_enter(adam: &mut Client, eve: &mut Client) {
    let rooms = json!({"exchange": "rooms", "routing_keys": ["lobby", "staff"]});
    for (client, staff) in [(&mut *adam, "Subscribed"), (&mut *eve, "Error")] {
        let lobby = client.request("Subscribe", rooms.clone()).await;
        assert_eq!(lobby["event"], "Subscribed", "{lobby}");
        let second = client.await_that(|message| message["tag"] == lobby["tag"]).await;
        assert_eq!(second["event"], staff, "{second}");
    }
    for (action, payload) in
        [("Join", json!({"room": "staff"})), ("Say", json!({"room": "staff", "text": "x"}))]
    {
        assert_eq!(eve.error(action, payload).await["error"], "PermissionDenied");
    }
    let elsewhere = json!({"exchange": "elsewhere", "routing_key": "lobby"});
    assert_eq!(eve.error("Subscribe", elsewhere).await["error"], "InvalidExchangeName");
    assert_eq!(eve.subscriptions().await, json!({"rooms": ["lobby"]}));
}

/// And counted, by what the session keeps.
async fn what_is_said_is_heard(adam: &mut Client, eve: &mut Client) {
    for number in [1, 2] {
        let sent = adam.request("Say", json!({"room": "lobby", "text": TEXT})).await;
        assert_eq!(
            (&sent["event"], &sent["payload"]),
            (&json!("Sent"), &json!({"number": number}))
        );
        for client in [&mut *adam, &mut *eve] {
            let said = client.event("Said").await;
            assert_eq!(said["payload"], json!({"user": "adam", "text": TEXT}));
            assert_eq!(said["mq"]["rk"], "lobby");
        }
    }
}

async fn payloads_are_looked_at(adam: &mut Client) {
    for (action, payload) in [
        ("Say", json!({"room": "lobby"})),
        ("Say", json!({"room": "lobby", "text": 1})),
        ("Join", json!(["lobby"])),
        ("Join", Value::Null),
        ("Roll", json!({"dice": "1"})),
        ("Roll", json!({"dice": 1.5})),
        ("Roll", json!({"dice": 0})),
        ("Roll", json!({"dice": 1_000_001})),
    ] {
        let error = adam.error(action, payload.clone()).await;
        assert_eq!(error["error"], "InvalidPayload", "{action} {payload}");
        assert!(error["message"].is_string(), "{error}");
    }
    let rolled = adam.request("Roll", json!({"dice": 20})).await;
    let dice = rolled["payload"]["dice"].as_array().expect("dice");
    assert_eq!((&rolled["event"], dice.len()), (&json!("Rolled"), 20));
    let fits = |die: &Value| die.as_u64().is_some_and(|die| (1..=6).contains(&die));
    assert!(dice.iter().all(fits), "{rolled}");
    assert_eq!(adam.error("Dance", json!({})).await["error"], "InvalidAction");
}

async fn who_joins_hears_others_leave(adam: &mut Client, mut eve: Client) {
    for client in [&mut *adam, &mut eve] {
        let joined = client.request("Join", json!({"room": "garden"})).await;
        let expected = (&json!("Joined"), &json!({"room": "garden"}));
        assert_eq!((&joined["event"], &joined["payload"]), expected);
        let subscribed = client.event("Subscribed").await;
        assert_eq!(subscribed["payload"]["routing_key"], "garden");
    }
    eve.close().await;
    let left = adam.event("Left").await;
    assert_eq!((&left["payload"], &left["mq"]["rk"]), (&json!({"user": "eve"}), &json!("garden")));
}

async fn another_gateway_is_refused(example: &Example) {
    let gateway = example.gateway_with_a_wrong_token().await;
    gateway.logged("it refuses the gateway's token").await;
    gateway.health_becomes("degraded").await;
}
