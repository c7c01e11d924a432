//! A chat that fails or hangs: what its clients are told, and that nobody else notices.

use serde_json::json;

use super::{unknown, user};
use crate::support::{
    DEADLINE,
    example::{Example, Language, Place},
    within,
};

/// Over the 255 bytes of a routing key: the gateway does not take what is said there.
const NO_ROOM: usize = 300;

/// An exception (its push fails, and nobody catches it), and an answer that is too large.
pub async fn what_fails_is_told_and_ends_nothing_else(language: Language, place: Place) {
    let example = Example::start(language, place, None).await;
    let mut adam = user(&example, "adam").await;
    let nowhere = json!({"room": "x".repeat(NO_ROOM), "text": "hi"});
    assert_eq!(adam.error("Say", nowhere).await, unknown("InternalError"));
    assert_eq!(adam.error("Roll", json!({"dice": 1_000_000})).await, unknown("InternalError"));
    let sent = adam.request("Say", json!({"room": "lobby", "text": "hi"})).await;
    assert_eq!(sent["payload"], json!({"number": 1}));
    let mut eve = user(&example, "eve").await;
    assert_eq!(eve.request("Roll", json!({"dice": 1})).await["event"], "Rolled");
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
