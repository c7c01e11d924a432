//! What was missed does not follow, and the client is told so at once.

use myxi::internals::event::{Entry, Position};
use serde_json::{Value, json};

use super::{Replicas, numbers, on_both};
use crate::support::{
    gateway::Gateway,
    handler::{TestHandler, proto::CheckReason, reply},
};

on_both!(
    what_is_no_position_here_is_unknown,
    what_the_ring_has_no_more_is_expired,
    what_is_held_already_is_not_replayed,
);

async fn what_is_no_position_here_is_unknown(on: Replicas) {
    let mut client = on.resuming(&on.first).await;
    let known = client.subscribe(&["1"]).await;
    on.push("1", 0).await;
    client.event().await;
    let position = Position::parse(&known).expect("a position");
    let Entry { offset, hash } = position.entry();
    let other = |offset, hash| json!(Position::end_of(Entry { offset, hash }).to_string());
    for after in [
        json!(""),
        json!("!"),
        json!(7),
        json!({}),
        json!([known]),
        json!(known.repeat(2)),
        json!("A".repeat(24)),
        other(offset, hash ^ 1),
        // Nothing of this log is ever there.
        other(u64::MAX, hash),
        other(offset + 1_000, hash),
    ] {
        let mut client = on.resuming(on.second()).await;
        let reason = client.not_recovered(&["1", "2"], json!({"after": after})).await;
        let reasons: &[_] =
            if after == "A".repeat(24) { &["expired", "unknown"] } else { &["unknown"] };
        assert!(reasons.contains(&reason.as_str()), "{after}: {reason}");
    }
    // It goes on live all the same.
    let mut client = on.resuming(on.second()).await;
    client.not_recovered(&["1"], json!({"after": "?"})).await;
    on.push("1", 1).await;
    assert_eq!(client.event().await.0, 1);
}

async fn what_the_ring_has_no_more_is_expired(on: Replicas) {
    drop(on);
    let on = Replicas::memory(&["--resume-buffer=1MiB"]).await;
    let mut client = on.resuming(&on.first).await;
    let position = client.subscribe(&["1"]).await;
    drop(client);
    let large = |number: u64| ("1", json!([number, "x".repeat(10_000)]));
    on.first.push_many(&on.exchange, "Changed", (0..200).map(large)).await;
    let mut client = on.resuming(&on.first).await;
    let payload = json!({"after": position});
    assert_eq!(client.not_recovered(&["1"], payload).await, "expired");
    // What it still has is enough for whoever was away shortly.
    let position = client.pong().await.expect("a position");
    on.push("1", 200).await;
    let mut client = on.resuming(&on.first).await;
    let replay = client.recover(&["1"], json!({"after": position}), 1).await;
    assert_eq!(replay.events, numbers([200]));
}

async fn what_is_held_already_is_not_replayed(on: Replicas) {
    let mut client = on.resuming(&on.first).await;
    let position = client.subscribe(&["1"]).await;
    on.push("1", 0).await;
    client.event().await;
    let tag = client.ask(&["1", "2"], json!({"after": position})).await;
    let held = client.next().await;
    assert_eq!(held["payload"]["error"], "AlreadySubscribed", "{held}");
    client.acknowledged(&["2"], &tag).await;
    assert!(client.replayed(&tag).await.events.is_empty());
}

#[tokio::test]
async fn who_may_not_subscribe_learns_nothing() {
    let app = TestHandler::start().await;
    app.on_check(|request| Ok(reply::deny_all(&request)));
    let gateway = Gateway::start(&app).await;
    gateway.push("widgets", "1", "Changed", json!(0)).await;
    let mut client = gateway.client().await;
    let position = Position::before(Entry { offset: 0, hash: 0 }).to_string();
    for members in [json!({"after": position}), json!({"last": 1}), json!({"after": "?"})] {
        let mut payload = json!({"exchange": "widgets", "routing_key": "1"});
        payload.as_object_mut().expect("an object").extend(members.as_object().cloned().unwrap());
        client.send(json!({"action": "Subscribe", "payload": payload})).await;
        let denied = client.positioned().await;
        let expected = json!({
            "error": "SubscriptionDenied",
            "retryable": false,
            "exchange": "widgets",
            "routing_key": "1",
        });
        assert_eq!(denied["payload"], expected);
        let call = app.next("CheckSubscriptions").await;
        assert_eq!(call.check().reason(), CheckReason::Resume);
    }
    assert!(client.quiet().await);
}

#[tokio::test]
async fn what_is_no_wish_is_refused() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let most = "\"last\" must be a number from 1 to 100";
    for (members, message) in [
        (json!({"last": 0}), most),
        (json!({"last": 101}), most),
        (json!({"last": -1}), most),
        (json!({"last": 1.5}), most),
        (json!({"last": "1"}), most),
        (json!({"last": 1, "after": "?"}), "give \"after\" or \"last\", not both"),
    ] {
        let mut payload = json!({"exchange": "widgets", "routing_key": "1"});
        payload.as_object_mut().expect("an object").extend(members.as_object().cloned().unwrap());
        let error = client.error("Subscribe", payload).await;
        assert_eq!(
            (&error["error"], &error["message"]),
            (&json!("InvalidPayload"), &json!(message))
        );
    }
    // Nothing is asked for by these.
    for members in [json!({"last": Value::Null}), json!({"after": Value::Null})] {
        let mut payload = json!({"exchange": "widgets", "routing_key": members.to_string()});
        payload.as_object_mut().expect("an object").extend(members.as_object().cloned().unwrap());
        let reply = client.request("Subscribe", payload).await;
        assert_eq!(reply["payload"].get("recovered"), None, "{reply}");
    }
}
