//! A chat whose process ends in the middle of actions, and the next one in its place: sessions
//! stay, and what they are is with the gateway.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{hi, unknown, user};
use crate::support::{
    client::Client,
    example::{Example, Language, Place},
    scripted_gateway::ScriptedGateway,
};

/// Together no more than the smallest pool of threads has.
const UNDER_WAY: usize = 8;
/// Clients that go on asking.
const LOAD: usize = 4;

fn one_die() -> Value {
    json!({"dice": 1})
}

pub async fn a_kill_may_have_happened_after_the_action(language: Language, place: Place) {
    let held = ScriptedGateway::start().await;
    let mut example = Example::start(language, place, Some(&held.address.to_string())).await;
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
    let held = ScriptedGateway::start().await;
    let mut example = Example::start(language, place, Some(&held.address.to_string())).await;
    let mut clients = Vec::new();
    for _ in 0..UNDER_WAY {
        let mut client = user(&example, "adam").await;
        client.send(json!({"action": "Say", "tag": 1, "payload": hi()})).await;
        let pushed = held.push().await;
        assert_eq!((&*pushed.exchange, &*pushed.routing_key), ("rooms", "lobby"));
        clients.push(client);
    }
    let mut load = JoinSet::new();
    for _ in 0..LOAD {
        let mut client = user(&example, "eve").await;
        assert_eq!(client.request("Roll", one_die()).await["event"], "Rolled");
        load.spawn(async move { rolls_until_refused(&mut client).await });
    }
    example.signal("TERM");
    example.refuses().await;
    held.release();
    for client in &mut clients {
        let sent = client.await_that(|message| message["tag"] == 1).await;
        assert_eq!(sent["payload"], json!({"number": 1}), "{sent}");
    }
    let refusals = load.join_all().await;
    let expected = |error: &Value| {
        *error == certainly_nothing()
            || leaves_unknown(language).iter().any(|code| *error == unknown(code))
    };
    assert!(refusals.iter().all(expected), "{refusals:?}");
    example.ends_well().await;
    nothing_happens(&mut clients[0]).await;
    example.start_again().await;
    for client in &mut clients {
        assert_eq!(client.request("Say", hi()).await["payload"], json!({"number": 2}));
    }
}

/// gRPC's core, which these are built on, answers CANCELLED to a call that comes while its server is
/// being stopped, or nothing at all.
fn leaves_unknown(language: Language) -> &'static [&'static str] {
    match language {
        Language::Python | Language::Ruby => &["ApplicationUnavailable", "ActionTimeout"],
        Language::Node | Language::Go | Language::Java | Language::Rust => &[],
    }
}

/// All that came before it was answered, in the middle of the stop as well.
async fn rolls_until_refused(client: &mut Client) -> Value {
    loop {
        let reply = client.request("Roll", one_die()).await;
        if reply["event"] != "Rolled" {
            return reply["payload"].clone();
        }
    }
}

/// What is asked of nobody may be asked again.
async fn nothing_happens(client: &mut Client) {
    assert_eq!(client.error("Say", hi()).await, certainly_nothing());
}

fn certainly_nothing() -> Value {
    json!({"error": "ApplicationUnavailable", "retryable": true})
}
