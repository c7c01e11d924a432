//! What the bus makes of a direct exchange and of who publishes to it, beside the promises that
//! it holds for each kind.

use std::time::Duration;

use lapin::BasicProperties;
use myxi::internals::bus::{NotBound, SkipReason};
use tokio::time::sleep;

use crate::{
    bus::{MAX_EVENT_SIZE, Notice, Replica, event, topics},
    support::{
        DEADLINE,
        program::Program,
        rabbitmq::{LEGACY, RabbitMq},
        unique, within,
    },
};

const POLL: Duration = Duration::from_millis(100);

#[tokio::test]
async fn nonsense_is_counted_and_skipped() {
    let (broker, name) = (RabbitMq::shared().await, unique(LEGACY));
    let replica = Replica::direct(&[&broker.legacy_url()], &[&name]).attached(1).await;
    let program = Program::connect(broker).await;
    let too_big = format!(r#"{{"event":"e","payload":"{}"}}"#, "x".repeat(MAX_EVENT_SIZE));
    let nonsense: [&[u8]; 6] =
        [b"", b"not JSON", b"[]", br#"{"event":7}"#, b"{\"event\":\"\xff\"}", too_big.as_bytes()];
    for body in nonsense {
        program.publish_to(&name, "k", body, BasicProperties::default()).await;
    }
    // Whatever else is said of it.
    let batch = BasicProperties::default().with_type("myxi.batch".into());
    program.publish_to(&name, "k", br#"{"event":"Changed","payload":[1, 2]}"#, batch).await;
    let event = replica.event().await;
    assert_eq!((&*event.body.name, event.body.payload.get()), ("Changed", "[1, 2]"));
    assert_eq!((event.position, event.pushed_at), (None, None));
    let skipped = replica.bus.status().skipped;
    assert_eq!((skipped[SkipReason::NoEvent], skipped[SkipReason::TooBig]), (5, 1));
}

/// A content type that is not UTF-8 costs the connection, and what was on it.
#[tokio::test]
async fn what_cannot_be_read_is_told_as_a_gap_and_disturbs_no_other_exchange() {
    let (broker, name, beside) = (RabbitMq::shared().await, unique(LEGACY), unique(LEGACY));
    let url = broker.legacy_url();
    let replica = Replica::direct(&[&url], &[&name, &beside]).attached(2).await;
    broker.publish_raw(&name, &[(b"k", b"\x80\0\x01\xff", b"?")]).await;
    match replica.notice().await {
        Notice::Gap(of) => assert_eq!(of.as_str(), name),
        other => panic!("{other:?} instead of a gap"),
    }
    for exchange in [&name, &beside] {
        assert_eq!(replica.publish(event(exchange, "k", "behind")).await, Ok(()));
        assert_eq!(replica.names(1).await, ["behind"]);
    }
}

#[tokio::test]
async fn what_exists_with_other_settings_is_taken_as_it_is() {
    let broker = RabbitMq::shared().await;
    let program = Program::connect(broker).await;
    for kind in [lapin::ExchangeKind::Direct, lapin::ExchangeKind::Fanout] {
        let name = unique(LEGACY);
        program.declare_durable(&name, kind.clone()).await;
        let replica = Replica::direct(&[&broker.legacy_url()], &[&name]).attached(1).await;
        assert_eq!(replica.publish(event(&name, "k", "one")).await, Ok(()));
        assert_eq!(replica.names(1).await, ["one"]);
        // Declared as before: the broker would refuse if it were another one now.
        program.declare_durable(&name, kind).await;
    }
}

#[tokio::test]
async fn a_key_that_nobody_holds_any_more_is_unbound_after_a_while() {
    let (broker, name) = (RabbitMq::shared().await, unique(LEGACY));
    let replica = Replica::direct(&[&broker.legacy_url()], &[&name]).attached(1).await;
    let bound = async || {
        let bound = broker.bindings(&name, "myxi.direct.").await;
        bound.iter().filter(|key| key.starts_with("for ")).count()
    };
    let keys: Vec<_> = (0..100).map(|n| format!("for a while {n}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).chain(["for ever"]).collect();
    let mut held = replica.bindings.hold(&topics(&name, &keys)).await.expect("bound");
    assert_eq!(bound().await, 101);
    held.drain(..100);
    let unbound = async {
        while bound().await > 1 {
            sleep(POLL).await;
        }
    };
    within(2 * DEADLINE, "they are unbound", unbound).await;
    let again = replica.bindings.hold(&topics(&name, &keys[..1])).await.expect("bound");
    assert_eq!(replica.publish(event(&name, keys[0], "one")).await, Ok(()));
    assert_eq!(replica.publish(event(&name, "for ever", "two")).await, Ok(()));
    assert_eq!(replica.names(2).await, ["one", "two"]);
    drop(again);
}

#[tokio::test]
async fn nothing_can_be_held_while_the_broker_is_away() {
    let mut broker = RabbitMq::exclusive().await;
    let name = unique(LEGACY);
    let replica = Replica::direct(&[&broker.legacy_url()], &[&name]).attached(1).await;
    broker.kill().await;
    replica.status_becomes("down", |status| !status.connected).await;
    let refused = async {
        // It was read a moment ago.
        while replica.bindings.hold(&topics(&name, &["new"])).await.err() != Some(NotBound) {
            sleep(POLL).await;
        }
    };
    within(DEADLINE, "a refusal", refused).await;
    broker.restart().await;
    assert!(matches!(replica.notice().await, Notice::Gap(_)));
    let held = replica.bindings.hold(&topics(&name, &["new"])).await.expect("bound");
    for key in ["new", "k"] {
        replica.publish_until_ok(|| event(&name, key, key)).await;
    }
    assert_eq!(replica.names(2).await, ["new", "k"]);
    drop(held);
}

/// Nothing could show where it leads, and to bind it is much work for a broker that is short.
#[tokio::test]
async fn while_publishers_are_held_back_nothing_is_bound() {
    let mut broker = RabbitMq::exclusive().await;
    let name = unique(LEGACY);
    let replica = Replica::direct(&[&broker.legacy_url()], &[&name]).attached(1).await;
    let keys: Vec<_> = (0..1_000).map(|n| n.to_string()).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let held = replica.bindings.hold(&topics(&name, &keys)).await.expect("bound");
    broker.block_publishers().await;
    // It says so to who publishes.
    let held_back = async {
        while !replica.bus.status().blocked {
            let _ = replica.publish(event(&name, "k", "held back")).await;
        }
    };
    within(DEADLINE, "an alarm", held_back).await;
    for connection in broker.connections("reading").await {
        broker.ctl(&["close_connection", &connection, "a test"]).await;
    }
    replica.status_becomes("connected again", |status| status.reconnects > 0).await;
    let bound = async || broker.bindings(&name, "myxi.direct.").await.len();
    let gone = async { while bound().await > 0 {} };
    within(DEADLINE, "nothing is bound", gone).await;
    // Each look takes longer than another attempt would.
    for _ in 0..5 {
        assert_eq!(bound().await, 0);
    }
    broker.unblock_publishers().await;
    let told_of_gap = async {
        // What was written may be delivered.
        while let Notice::Event(_) = replica.notice().await {}
    };
    within(DEADLINE, "a gap", told_of_gap).await;
    replica.publish_until_ok(|| event(&name, "999", "heard")).await;
    replica.names_until("heard").await;
    drop(held);
}

/// What waits on the broker has a bound, and what is dropped past it is told.
#[tokio::test]
async fn what_a_replica_was_too_slow_for_is_told_as_a_gap() {
    const EVENTS: usize = 15_000;
    let (broker, name) = (RabbitMq::shared().await, unique(LEGACY));
    let replica = Replica::direct(&[&broker.legacy_url()], &[&name]).attached(1).await;
    let (slow, beside) = (replica.slow().await, broker.legacy_url());
    let other = Replica::direct(&[&beside], &[&name]).attached(1).await;
    for first in (0..EVENTS).step_by(1_000) {
        let batch = first..first + 1_000;
        let events = batch.clone().map(|n| event(&name, "k", &n.to_string())).collect();
        crate::bus::all_ok(&other.bus.publish(events).await);
        // Who keeps up, however slow the machine, is told all of it.
        for n in batch {
            assert_eq!(*other.event().await.body.name, *n.to_string());
        }
    }
    drop(slow);
    let mut expected = 0;
    loop {
        match replica.notice().await {
            Notice::Event(event) => {
                assert_eq!(*event.body.name, *expected.to_string());
                expected += 1;
            }
            Notice::Gap(of) => break assert_eq!(of.as_str(), name),
            other => panic!("{other:?}"),
        }
    }
    // What was on its way, and nothing of what waited behind.
    assert!(expected < 1_000, "{expected}");
    assert_eq!(replica.publish(event(&name, "k", "last")).await, Ok(()));
    loop {
        match replica.notice().await {
            Notice::Event(event) => break assert_eq!(*event.body.name, *"last"),
            // What was dropped while it was told of.
            Notice::Gap(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(replica.bus.status().problems, [""; 0]);
}
