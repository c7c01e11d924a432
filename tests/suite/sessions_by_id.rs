//! `SendEvent` and `DisconnectSession`: one session, whichever replica holds it.

use std::time::{Duration, Instant};

use serde_json::json;
use tonic::Code;

use crate::support::{fleet::Fleet, process::Myxi, rabbitmq::RabbitMq};

#[tokio::test]
async fn a_session_is_reached_through_any_replica_until_it_closes() {
    let fleet = Fleet::start(RabbitMq::shared().await, 2).await;
    let mut client = fleet[0].client().await;

    for (replica, event) in [(0, "Here"), (1, "Elsewhere")] {
        assert_eq!(fleet[replica].send_event(&client.id, event).await, Code::Ok);
        assert_eq!(client.next().await, json!({"event": event, "payload": {}}));
    }

    let id = client.id.clone();
    drop(client);
    // The application is told after the session has left the directory.
    fleet.app.next("SessionClosed").await;
    for replica in &fleet.replicas {
        assert_eq!(replica.send_event(&id, "Late").await, Code::NotFound);
        assert_eq!(replica.disconnect(&id, 4000, "late").await, Code::NotFound);
    }
}

#[tokio::test]
async fn a_session_is_closed_through_any_replica_with_the_code_and_reason_given() {
    let fleet = Fleet::start(RabbitMq::shared().await, 2).await;
    for (replica, code, closed_with) in [(0, 4001, 4001), (1, 4499, 4499), (1, 0, 4500)] {
        let mut client = fleet[0].client().await;
        let api = &fleet[replica];
        assert_eq!(api.send_event(&client.id, "Last").await, Code::Ok);
        assert_eq!(api.disconnect(&client.id, code, "signed out").await, Code::Ok);
        client.event("Last").await;
        let closed = client.closed().await;
        assert_eq!((closed.code, closed.reason.as_str()), (closed_with, "signed out"));

        let told = fleet.app.next("SessionClosed").await;
        let told = told.closed();
        assert_eq!((told.code, told.reason.as_str()), (closed_with.into(), "signed out"));
    }
}

#[tokio::test]
async fn a_session_of_a_replica_that_is_not_there_is_not_found() {
    let fleet = Fleet::start(RabbitMq::shared().await, 1).await;
    let began = Instant::now();
    assert_eq!(fleet[0].send_event("00000000ffffffff", "Lost").await, Code::NotFound);
    assert!(began.elapsed() < Duration::from_secs(1), "took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_replica_that_has_drained_is_not_asked_any_more() {
    let mut fleet = Fleet::start(RabbitMq::shared().await, 2).await;
    let id = fleet[1].client().await.id;
    fleet.replicas.remove(1).drain().await;
    let began = Instant::now();
    assert_eq!(fleet[0].send_event(&id, "Lost").await, Code::NotFound);
    assert!(began.elapsed() < Duration::from_secs(1), "took {:?}", began.elapsed());
}

/// Its queue still takes the question: routing alone proves nothing.
#[tokio::test]
async fn a_frozen_replica_is_unavailable_in_bounded_time_and_found_again() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    let flags = fleet.flags(broker);
    let other = Myxi::serve(&fleet.app, &[&flags[0], &flags[1]]).await;
    let mut client = other.client().await;
    assert_eq!(fleet[0].send_event(&client.id, "Before").await, Code::Ok);

    other.signal("STOP");
    let began = Instant::now();
    let sent = fleet[0].send_event(&client.id, "Meanwhile").await;
    let took = began.elapsed();
    other.signal("CONT");
    assert_eq!(sent, Code::Unavailable);
    assert!(took < Duration::from_secs(4), "took {took:?}");

    assert_eq!(fleet[0].send_event(&client.id, "After").await, Code::Ok);
    client.event("Before").await;
    client.event("After").await;
}
