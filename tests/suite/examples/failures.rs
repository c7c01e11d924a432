//! A chat that fails or hangs: what its clients are told, and that nobody else notices.

use serde_json::json;
use tonic::Status;

use super::{hi, unknown, user};
use crate::support::{
    DEADLINE,
    example::{Example, Language, Place},
    scripted_gateway::ScriptedGateway,
    within,
};

/// An exception (its push is refused, and nobody catches it), and an answer that is too large.
pub async fn what_fails_is_told_and_ends_nothing_else(language: Language, place: Place) {
    let pushed = ScriptedGateway::start().await;
    let example = Example::start(language, place, Some(&pushed.address.to_string())).await;
    let mut adam = user(&example, "adam").await;
    // What the gateway says to the handler is not the client's.
    pushed.refuses_one(Status::invalid_argument("the exchange is another"));
    assert_eq!(adam.error("Say", hi()).await, unknown("InternalError"));
    assert_eq!(adam.error("Roll", json!({"dice": 1_000_000})).await, unknown("InternalError"));
    pushed.release();
    let sent = adam.request("Say", hi()).await;
    assert_eq!(sent["payload"], json!({"number": 1}));
    let mut eve = user(&example, "eve").await;
    assert_eq!(eve.request("Roll", json!({"dice": 1})).await["event"], "Rolled");
}

/// A call that takes longer than it may, of one client.
pub async fn who_hangs_in_one_call_answers_the_others(language: Language, place: Place) {
    let held = ScriptedGateway::start().await;
    let pushes_to = held.address.to_string();
    let example = Example::with_timeout("6s", language, place, Some(&pushes_to)).await;
    let (mut adam, mut eve) = (user(&example, "adam").await, user(&example, "eve").await);
    adam.send(json!({"action": "Say", "tag": 1, "payload": hi()})).await;
    held.push().await;
    assert_eq!(eve.request("Roll", json!({"dice": 1})).await["event"], "Rolled");
    eve.subscribe("rooms", "lobby").await;
    assert_eq!(adam.event("Error").await["payload"], unknown("ActionTimeout"));
    held.release();
    assert_eq!(adam.request("Say", hi()).await["payload"], json!({"number": 1}));
}

/// A process that is frozen, and goes on later.
pub async fn who_hangs_is_waited_for_until_the_timeout(language: Language, place: Place) {
    let example = Example::with_timeout("6s", language, place, None).await;
    let mut adam = user(&example, "adam").await;
    let mut eve = user(&example, "eve").await;
    example.signal("STOP");
    let lobby = json!({"exchange": "rooms", "routing_key": "lobby"});
    let (action, subscription) =
        tokio::join!(adam.error("Roll", json!({"dice": 1})), eve.error("Subscribe", lobby));
    assert_eq!(action, unknown("ActionTimeout"));
    assert_eq!(subscription["error"], "ActionTimeout");
    assert_eq!(subscription["retryable"], true, "{subscription}");
    example.signal("CONT");
    within(DEADLINE, "an answer", async {
        while adam.request("Roll", json!({"dice": 1})).await["event"] != "Rolled" {}
    })
    .await;
    eve.subscribe("rooms", "lobby").await;
}
