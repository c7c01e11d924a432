//! What was missed follows.

use futures_util::future::join;
use serde_json::json;

use super::{Replicas, numbers, on_both};

on_both!(
    what_was_missed_comes_once_in_order_and_live_events_after_it,
    the_keys_of_one_message_come_in_the_order_of_the_log,
    every_position_that_a_client_is_told_leads_on_from_there,
    more_than_an_outbox_holds_is_no_burden_for_a_client_that_reads,
    what_is_pushed_meanwhile_comes_once_and_in_order,
    a_key_that_is_ended_meanwhile_is_not_continued,
    an_action_does_not_wait_for_what_was_missed,
);

async fn what_was_missed_comes_once_in_order_and_live_events_after_it(on: Replicas) {
    let mut client = on.resuming(&on.first).await;
    client.subscribe(&["1"]).await;
    on.push_all("1", 0..3).await;
    let mut position = String::new();
    for number in 0..3 {
        let (payload, id) = client.event().await;
        assert_eq!(payload, number);
        position = id;
    }
    drop(client);
    on.push_all("1", 3..10).await;
    on.push_all("2", 0..10).await;

    let mut client = on.resuming(on.second()).await;
    let replay = client.recover(&["1"], json!({"after": position}), 7).await;
    assert_eq!(replay.events, numbers(3..10));
    on.push("1", 10).await;
    assert_eq!(client.event().await.0, 10);
    // From where the replay ended nothing is missing either.
    let mut other = on.resuming(&on.first).await;
    let replay = other.recover(&["1"], json!({"after": replay.id}), 1).await;
    assert_eq!(replay.events, numbers([10]));
}

async fn the_keys_of_one_message_come_in_the_order_of_the_log(on: Replicas) {
    let mut client = on.resuming(&on.first).await;
    let position = client.subscribe(&["a", "b", "c"]).await;
    drop(client);
    let pushed = ["a", "b", "x", "b", "c", "a", "a", "x", "c"];
    for (number, key) in (0..).zip(pushed) {
        on.push(key, number).await;
    }
    let mut client = on.resuming(on.second()).await;
    let replay = client.recover(&["c", "a", "b"], json!({"after": position}), 7).await;
    assert_eq!(replay.events, numbers([0, 1, 3, 4, 5, 6, 8]));
    assert_eq!(replay.keys, ["a", "b", "b", "c", "a", "a", "c"]);
}

async fn every_position_that_a_client_is_told_leads_on_from_there(on: Replicas) {
    let mut client = on.resuming(&on.first).await;
    // Of no exchange whose events it gets.
    assert_eq!(client.pong().await, None);
    let mut positions = vec![(client.subscribe(&["1"]).await, 0)];
    for number in 0..6 {
        on.push("1", number).await;
        positions.push((client.event().await.1, number + 1));
        // What nobody wants moves it on, too.
        on.push("2", number).await;
        positions.push((client.pong().await.expect("a position"), number + 1));
    }
    positions.push((client.subscribe(&["3"]).await, 6));
    let replay = client.recover(&["4"], json!({"after": positions[0].0}), 0).await;
    positions.push((replay.id, 6));

    for (position, seen) in positions {
        let mut client = on.resuming(on.second()).await;
        let missed = (6 - seen) as usize;
        let replay = client.recover(&["1"], json!({"after": position}), missed).await;
        assert_eq!(replay.events, numbers(seen..6), "behind {seen}");
    }
}

async fn more_than_an_outbox_holds_is_no_burden_for_a_client_that_reads(on: Replicas) {
    const EVENTS: u64 = 600;
    let mut client = on.resuming(&on.first).await;
    let position = client.subscribe(&["1"]).await;
    drop(client);
    let large = |number: u64| ("1", json!([number, "x".repeat(10_000)]));
    on.first.push_many(&on.exchange, "Changed", (0..EVENTS).map(large)).await;

    let mut client = on.resuming(on.second()).await;
    let replay = client.recover(&["1"], json!({"after": position}), EVENTS as usize).await;
    let found: Vec<_> = replay.events.iter().map(|event| event[0].clone()).collect();
    assert_eq!(found, numbers(0..EVENTS));
    on.push("1", EVENTS).await;
    assert_eq!(client.event().await.0, EVENTS);
}

async fn what_is_pushed_meanwhile_comes_once_and_in_order(on: Replicas) {
    const EVENTS: u64 = 1_000;
    let mut client = on.resuming(&on.first).await;
    let mut position = client.subscribe(&["1"]).await;
    // So that what they want is read whether they are there or not.
    let mut other = on.resuming(on.second()).await;
    other.subscribe(&["1"]).await;
    let pushing = async {
        for number in (0..EVENTS).step_by(10) {
            on.push_all("1", number..number + 10).await;
        }
    };
    let resuming = async {
        let (mut found, mut times) = (Vec::new(), 0);
        while found.len() < EVENTS as usize {
            let gateway = if times % 2 == 0 { &on.first } else { on.second() };
            let mut client = on.resuming(gateway).await;
            let replay = client.recover(&["1"], json!({"after": position}), 0).await;
            found.extend(replay.events);
            position = replay.id;
            for _ in 0..times % 5 {
                if found.len() < EVENTS as usize {
                    let (payload, id) = client.event().await;
                    found.push(payload);
                    position = id;
                }
            }
            times += 1;
        }
        found
    };
    let ((), found) = join(pushing, resuming).await;
    for number in 0..EVENTS {
        assert_eq!(other.event().await.0, number);
    }
    assert_eq!(found, numbers(0..EVENTS));
}

async fn a_key_that_is_ended_meanwhile_is_not_continued(on: Replicas) {
    let mut client = on.resuming(&on.first).await;
    let position = client.subscribe(&["1", "2"]).await;
    drop(client);
    let large =
        |number: u64| (if number.is_multiple_of(2) { "1" } else { "2" }, json!("x".repeat(10_000)));
    on.first.push_many(&on.exchange, "Changed", (0..1_000).map(large)).await;

    let mut client = on.resuming(on.second()).await;
    let tag = client.ask(&["1", "2"], json!({"after": position})).await;
    let payload = json!({"exchange": on.exchange, "routing_key": "1"});
    client.client.send(json!({"action": "Unsubscribe", "payload": payload})).await;
    client.acknowledged(&["1", "2"], &tag).await;
    let (mut ended, mut before) = (false, 0);
    let (mut of_one, mut of_two) = (0, 0);
    loop {
        let message = client.next().await;
        match (message["event"].as_str(), message["mq"]["rk"].as_str()) {
            (Some("Unsubscribed"), _) => (ended, before) = (true, of_one),
            (Some("Replayed"), _) => {
                assert_eq!(message["payload"]["count"], of_one + of_two);
                break;
            }
            (_, Some("1")) => of_one += 1,
            (_, Some("2")) => of_two += 1,
            _ => panic!("{message}"),
        }
        assert!(!ended || of_one == before, "an event behind Unsubscribed");
    }
    assert!(ended && of_one < 500, "{of_one}");
    // What this replica had not read by then comes live.
    for _ in of_two..500 {
        let message = client.next().await;
        assert_eq!(message["mq"]["rk"], "2", "{message}");
    }
    assert!(client.client.quiet().await);
}

async fn an_action_does_not_wait_for_what_was_missed(on: Replicas) {
    let mut client = on.resuming(&on.first).await;
    let position = client.subscribe(&["1"]).await;
    drop(client);
    let large = |_| ("1", json!("x".repeat(10_000)));
    on.first.push_many(&on.exchange, "Changed", (0..1_000).map(large)).await;

    let mut client = on.resuming(on.second()).await;
    let tag = client.ask(&["1"], json!({"after": position})).await;
    client.client.send(json!({"action": "Ping"})).await;
    client.acknowledged(&["1"], &tag).await;
    let mut events = 0_u64;
    let pong = loop {
        let message = client.next().await;
        if message["event"] == "Pong" {
            break message;
        }
        assert!(message["mq"].is_object(), "{message}");
        events += 1;
    };
    assert!(events < 1_000, "it came behind all of them");
    // It catches up: it is at no place that counts for others.
    assert_eq!(pong["payload"].get("positions"), None);
    let replay = client.replayed(&tag).await;
    events += replay.events.len() as u64;
    assert_eq!(events, replay.count);
    // What this replica had not read by then comes live.
    for _ in events..1_000 {
        client.event().await;
    }
}

/// The second one waits for the first, and holds up nobody meanwhile.
#[tokio::test]
async fn two_wishes_for_what_only_the_log_has_are_both_fulfilled() {
    const EVENTS: u64 = 600;
    let on = Replicas::rabbitmq(&["--resume-buffer=1MiB"]).await;
    let mut client = on.resuming(&on.first).await;
    let position = client.subscribe(&["even", "odd"]).await;
    drop(client);
    let key = |number: u64| if number.is_multiple_of(2) { "even" } else { "odd" };
    // Three times what a reading of the log holds.
    let large = |number: u64| (key(number), json!([number, "x".repeat(20_000)]));
    on.first.push_many(&on.exchange, "Changed", (0..EVENTS).map(large)).await;

    let mut client = on.resuming(on.second()).await;
    for key in ["even", "odd"] {
        client.ask(&[key], json!({"after": position})).await;
    }
    let (mut next, mut replayed) = ([0, 1], 0);
    while replayed < 2 || next != [EVENTS, EVENTS + 1] {
        let message = client.next().await;
        match message["event"].as_str() {
            Some("Subscribed") => assert_eq!(message["payload"]["recovered"], true, "{message}"),
            Some("Replayed") => replayed += 1,
            Some("Changed") => {
                let number = message["payload"][0].as_u64().expect("a number");
                assert_eq!(number, std::mem::replace(&mut next[number as usize % 2], number + 2));
            }
            _ => panic!("{message}"),
        }
    }
}
