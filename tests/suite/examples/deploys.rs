//! A chat whose process ends in the middle of actions, and the next one in its place: sessions
//! stay, and what they are is with the gateway.

use serde_json::{Value, json};

use super::{unknown, user};
use crate::support::{
    client::Client,
    example::{Example, Language, Place},
    held_gateway::HeldGateway,
};

/// No more than the smallest pool of threads has.
const UNDER_WAY: usize = 8;

fn hi() -> Value {
    json!({"room": "lobby", "text": "hi"})
}

pub async fn a_kill_may_have_happened_after_the_action(language: Language, place: Place) {
    let held = HeldGateway::start().await;
    let mut example = Example::start(language, place, Some(&held.address)).await;
    let mut adam = user(&example, "adam").await;
    adam.send(json!({"action": "Say", "tag": 1, "payload": hi()})).await;
    held.push().await;
    example.kill().await;
    assert_eq!(adam.event("Error").await["payload"], unknown("ApplicationUnavailable"));
    nothing_happens(&mut adam).await;
    held.release();
    example.start_again().await;
    assert_eq!(adam.request("Say", hi()).await["payload"], json!({"number": 1}));
}

pub async fn a_stop_finishes_what_is_under_way(language: Language, place: Place) {
    let held = HeldGateway::start().await;
    let mut example = Example::start(language, place, Some(&held.address)).await;
    let mut clients = Vec::new();
    for _ in 0..UNDER_WAY {
        let mut client = user(&example, "adam").await;
        client.send(json!({"action": "Say", "tag": 1, "payload": hi()})).await;
        let pushed = held.push().await;
        assert_eq!((&*pushed.exchange, &*pushed.routing_key), ("rooms", "lobby"));
        clients.push(client);
    }
    example.signal("TERM");
    example.refuses().await;
    held.release();
    for client in &mut clients {
        let sent = client.await_that(|message| message["tag"] == 1).await;
        assert_eq!(sent["payload"], json!({"number": 1}), "{sent}");
    }
    example.ends_well().await;
    nothing_happens(&mut clients[0]).await;
    example.start_again().await;
    for client in &mut clients {
        assert_eq!(client.request("Say", hi()).await["payload"], json!({"number": 2}));
    }
}

/// What is asked of nobody may be asked again.
async fn nothing_happens(client: &mut Client) {
    let error = client.error("Say", hi()).await;
    assert_eq!(
        (&error["error"], &error["retryable"]),
        (&json!("ApplicationUnavailable"), &json!(true))
    );
}
