//! A message that is not quite right is wrong by the schema: of the gateway's, each that was told
//! and then changed; of the clients', each whose change the gateway refuses, too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{kind, traffic};
use crate::support::{client::Client, gateway::Gateway, schema::Schema};

/// A message, and in words what was done to it.
type Mutant = (String, Value);

/// Below here the application speaks, or the client.
fn is_free(kind: &str, pointer: &str, message: &Value) -> bool {
    let pushed_or_own = message.get("mq").is_some() || ["Echoed", "ForYou"].contains(&kind);
    let application = pushed_or_own || ["Echo", "Ping", "ListSubscriptions"].contains(&kind);
    pointer.starts_with("/tag/") || (application && pointer.starts_with("/payload"))
}

/// Each member left out, each value of another type, and in each object one member more.
pub fn mutants(message: &Value) -> Vec<Mutant> {
    let kind = kind(message);
    let mut mutants = Vec::new();
    for pointer in pointers(message) {
        if is_free(&kind, &pointer, message) {
            continue;
        }
        let at = message.pointer(&pointer).expect("it is there");
        if pointer != "/tag" {
            let mut other = message.clone();
            let wrong = if at.is_array() { json!({}) } else { json!([]) };
            *other.pointer_mut(&pointer).expect("it is there") = wrong;
            mutants.push((format!("{kind}{pointer} of another type"), other));
        }
        if let Some((parent, name)) = pointer.rsplit_once('/') {
            let mut less = message.clone();
            if let Some(members) = less.pointer_mut(parent).and_then(Value::as_object_mut) {
                members.remove(name);
                mutants.push((format!("{kind}{pointer} left out"), less));
            }
        }
        if at.is_object() {
            let mut more = message.clone();
            more.pointer_mut(&pointer).expect("it is there")["unheardOf"] = json!(1);
            mutants.push((format!("{kind}{pointer} with one more"), more));
        }
    }
    mutants
}

/// Of the value itself and all in it.
fn pointers(value: &Value) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, v)| (name.clone(), v)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, v)| (n.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    let below = inner.into_iter().flat_map(|(name, value)| {
        pointers(value).into_iter().map(move |rest| format!("/{name}{rest}"))
    });
    [String::new()].into_iter().chain(below).collect()
}

/// One of each kind and shape.
pub fn distinct(messages: &[Value]) -> Vec<&Value> {
    let shape = |message: &Value| (kind(message), pointers(message));
    let by_shape: BTreeMap<_, _> =
        messages.iter().map(|message| (shape(message), message)).collect();
    by_shape.into_values().collect()
}

/// What may be otherwise, and is as right: members that need not be there, and what the
/// application says.
const AS_RIGHT: [&str; 19] = [
    "Busy/payload/exchange left out",
    "Busy/payload/routing_key left out",
    "Changed/mq left out",
    "Changed/mq/id left out",
    "Gap/payload/id left out",
    "InvalidAction/payload/message left out",
    "InvalidRoutingKey/payload/routing_key of another type",
    "Large/mq left out",
    "Large/mq/id left out",
    "Pong/payload/positions left out",
    "SoldOut/payload with one more",
    "SoldOut/payload/left left out",
    "SoldOut/payload/left of another type",
    "SoldOut/payload/of left out",
    "SoldOut/payload/of of another type",
    "SoldOut/payload/of/0 of another type",
    "Subscribed/payload/id left out",
    "Subscribed/payload/recovered left out",
    "YourSubscriptions/payload/subscriptions/widgets left out",
];

#[tokio::test]
async fn what_the_gateway_says_is_wrong_once_it_is_changed() {
    let traffic = traffic::all().await;
    let mut as_right = BTreeSet::new();
    for message in distinct(&traffic.heard) {
        for (what, mutant) in mutants(message) {
            // Whose action had no tag has none; but then nobody is told that it is done.
            let untagged = what.ends_with("/tag left out") && !what.starts_with("Done");
            if !untagged && Schema::wire().check("GatewayMessage", &mutant).is_ok() {
                as_right.insert(what);
            }
        }
    }
    let expected: BTreeSet<_> = AS_RIGHT.map(String::from).into();
    assert_eq!(as_right, expected);
}

/// What the schema calls wrong and the gateway lets pass: members that mean nothing to it, which are
/// mistakes of whoever writes them, and a position that is none, which is answered as `unknown`.
const LET_PASS: [&str; 8] = [
    "Echo with one more",
    "ListSubscriptions with one more",
    "Ping with one more",
    "Subscribe with one more",
    "Subscribe/payload with one more",
    "Subscribe/payload/after of another type",
    "Unsubscribe with one more",
    "Unsubscribe/payload with one more",
];

#[tokio::test]
async fn what_clients_say_is_wrong_by_the_schema_where_the_gateway_refuses_it() {
    let traffic = traffic::all().await;
    let app = traffic::application().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let mut let_pass = BTreeSet::new();
    // Other actions are refused by the application.
    let judged = ["Subscribe", "Unsubscribe", "ListSubscriptions", "Ping", "Echo"];
    let said = distinct(&traffic.said).into_iter().map(in_widgets);
    let said = said.filter(|message| judged.contains(&kind(message).as_str()));
    let changed = said.flat_map(|message| mutants(&message));
    for (what, message) in changed.chain(written()) {
        let right = Schema::wire().check("ClientMessage", &message).is_ok();
        let refused = is_refused(&mut client, &message).await;
        assert!(!(right && refused), "{what}: {message}");
        if !right && !refused {
            let_pass.insert(what);
        }
    }
    let expected: BTreeSet<_> = LET_PASS.map(String::from).into();
    assert_eq!(let_pass, expected);
}

/// What no change of one value makes.
pub fn written() -> impl Iterator<Item = Mutant> {
    let long = "x".repeat(256);
    let payloads = [
        ("both keys", json!({"exchange": "widgets", "routing_key": 1, "routing_keys": [1]})),
        ("both pasts", json!({"exchange": "widgets", "after": "?", "last": 1})),
        ("no key", json!({"exchange": "widgets", "routing_keys": []})),
        ("no exchange", json!({"routing_key": 1})),
        ("an empty exchange", json!({"exchange": ""})),
        ("an exchange with a space", json!({"exchange": "two words"})),
        ("a long exchange", json!({"exchange": &long[..128]})),
        ("a long key", json!({"exchange": "widgets", "routing_key": long})),
        ("a fraction", json!({"exchange": "widgets", "routing_key": 1.5})),
        ("a truth", json!({"exchange": "widgets", "routing_key": true})),
        ("none of the last", json!({"exchange": "widgets", "last": 0})),
        ("too many of the last", json!({"exchange": "widgets", "last": 101})),
        ("a part of the last", json!({"exchange": "widgets", "last": 1.5})),
        ("the last as text", json!({"exchange": "widgets", "last": "1"})),
    ];
    let whole = payloads.into_iter().flat_map(|(what, payload)| {
        ["Subscribe", "Unsubscribe"].map(|action| {
            (format!("{action} with {what}"), json!({"action": action, "payload": payload}))
        })
    });
    let others = [
        ("no action", json!({})),
        ("an empty action", json!({"action": ""})),
        ("no object", json!(["Ping"])),
        ("no name", json!({"action": 7})),
        ("Subscribe without a payload", json!({"action": "Subscribe"})),
        ("Unsubscribe with no object", json!({"action": "Unsubscribe", "payload": 7})),
    ];
    whole.chain(others.map(|(what, message)| (what.into(), message)))
}

/// The exchange that there is.
fn in_widgets(message: &Value) -> Value {
    let mut message = message.clone();
    if let Some(exchange) = message.pointer_mut("/payload/exchange") {
        *exchange = json!("widgets");
    }
    message
}

/// Whether the gateway says that this message is wrong.
async fn is_refused(client: &mut Client, message: &Value) -> bool {
    client.send(message.clone()).await;
    client.send(json!({"action": "Ping", "tag": "after it"})).await;
    let mut refused = false;
    loop {
        let answer = client.next().await;
        if answer["tag"] == "after it" {
            return refused;
        }
        let code = answer["payload"]["error"].as_str().unwrap_or_default();
        refused |= answer["event"] == "Error" && code.starts_with("Invalid");
    }
}
