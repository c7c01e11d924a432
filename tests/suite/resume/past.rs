//! The latest events of a key.

use serde_json::json;

use super::{Replicas, numbers, on_both};

on_both!(
    the_latest_of_each_key_come_before_live_events,
    of_what_was_never_pushed_there_is_nothing,
    what_is_more_than_a_part_of_an_outbox_is_not_sent,
);

async fn the_latest_of_each_key_come_before_live_events(on: Replicas) {
    let mut client = on.resuming(on.second()).await;
    client.subscribe(&["odd"]).await;
    for number in 0..10 {
        on.push(if number % 2 == 0 { "even" } else { "odd" }, number).await;
    }
    // By then it has read all of them.
    for _ in 0..5 {
        client.event().await;
    }
    let replay = client.recover(&["even"], json!({"last": 1}), 1).await;
    assert_eq!(replay.events, numbers([8]));
    on.push("even", 10).await;
    assert_eq!(client.event().await.0, 10);

    let mut client = on.resuming(on.second()).await;
    let replay = client.recover(&["odd", "even", "neither"], json!({"last": 3}), 6).await;
    assert_eq!(replay.events, numbers([5, 6, 7, 8, 9, 10]));
    let mut client = on.resuming(on.second()).await;
    assert_eq!(client.recover(&["odd"], json!({"last": 100}), 5).await.events.len(), 5);
}

async fn of_what_was_never_pushed_there_is_nothing(on: Replicas) {
    let mut client = on.resuming(on.second()).await;
    let replay = client.recover(&["1"], json!({"last": 1}), 0).await;
    assert!(replay.events.is_empty());
    on.push("1", 0).await;
    assert_eq!(client.event().await.0, 0);
}

async fn what_is_more_than_a_part_of_an_outbox_is_not_sent(on: Replicas) {
    let mut client = on.resuming(&on.first).await;
    client.subscribe(&["1"]).await;
    let large = |_| ("1", json!("x".repeat(100_000)));
    on.first.push_many(&on.exchange, "Changed", (0..4).map(large)).await;
    for _ in 0..4 {
        client.event().await;
    }
    let mut client = on.resuming(&on.first).await;
    assert_eq!(client.not_recovered(&["1"], json!({"last": 4})).await, "too_many");
    on.push("1", 0).await;
    assert_eq!(client.event().await.0, 0);
    let mut client = on.resuming(&on.first).await;
    assert_eq!(client.recover(&["1"], json!({"last": 2}), 2).await.events.len(), 2);
}
