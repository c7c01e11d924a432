//! `SendEvent` and `DisconnectSession`: one session, whichever replica holds it.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{task::JoinSet, time::sleep};
use tonic::{Code, Status};

use crate::support::{
    DEADLINE,
    client::Client,
    fleet::Fleet,
    gateway::{Addresses, Gateway},
    handler::proto::SendEventRequest,
    process::Myxi,
    proxy::Proxy,
    rabbitmq::RabbitMq,
    within,
};

#[tokio::test]
async fn a_session_is_reached_through_any_replica_until_it_closes() {
    let fleet = Fleet::start(RabbitMq::shared().await, 2).await;
    let mut client = fleet[0].client().await;

    for replica in &fleet.replicas {
        until(replica, &client.id, Ok(())).await;
        assert_eq!(client.next().await, json!({"event": "Now", "payload": {}}));
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
    for (replica, code, closed_with) in
        [(0, 4001, 4001), (1, 4499, 4499), (1, 0, 4500), (0, 1000, 1000)]
    {
        let mut client = fleet[0].client().await;
        let api = &fleet[replica];
        until(api, &client.id, Ok(())).await;
        assert_eq!(api.disconnect(&client.id, code, "signed out").await, Code::Ok);
        client.event("Now").await;
        let closed = client.closed().await;
        assert_eq!((closed.code, closed.reason.as_str()), (closed_with, "signed out"));

        let told = fleet.app.next("SessionClosed").await;
        let told = told.closed();
        assert_eq!((told.code, told.reason.as_str()), (closed_with.into(), "signed out"));
    }
}

/// What the application is told of a replica that nobody can ask. It may be cut off, and
/// serve the session: not found would be more than is known.
const UNREACHABLE: &str = "cannot be reached: it is gone, or cut off from the broker";

/// What it is told of one that was asked and said nothing.
const SILENT: &str = "whether it was done is unknown";

fn assert_unavailable(sent: Result<(), Status>, what: &str) {
    let status = sent.expect_err(what);
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains(what), "{status}");
}

/// Sends until this is what comes of it. What comes before must not claim that the session
/// is not there.
async fn until(through: &Addresses, session: &str, what: Result<(), &str>) {
    let sent = async {
        loop {
            match (through.try_send_event(session, "Now").await, what) {
                (Ok(()), Ok(())) => return,
                (Err(status), _) if status.code() != Code::Unavailable => panic!("{status}"),
                (Err(status), Err(what)) if status.message().contains(what) => return,
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    within(DEADLINE, &format!("a SendEvent to end in {what:?}"), sent).await;
}

#[tokio::test]
async fn a_session_of_a_replica_that_is_not_there_is_told_to_be_out_of_reach() {
    let fleet = Fleet::start(RabbitMq::shared().await, 1).await;
    let sent = fleet[0].try_send_event("00000000ffffffff", "Lost").await;
    assert_unavailable(sent, UNREACHABLE);
    assert_eq!(fleet[0].disconnect("00000000ffffffff", 4000, "").await, Code::Unavailable);
}

#[tokio::test]
async fn a_replica_that_has_drained_is_not_asked_any_more() {
    let mut fleet = Fleet::start(RabbitMq::shared().await, 2).await;
    let id = fleet[1].client().await.id;
    fleet.replicas.remove(1).drain().await;
    assert_unavailable(fleet[0].try_send_event(&id, "Lost").await, UNREACHABLE);
}

#[tokio::test]
async fn a_replica_that_was_killed_is_known_to_be_out_of_reach() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    let flags = fleet.flags(broker);
    let mut other = Myxi::serve(&fleet.app, &[&flags[0], &flags[1]]).await;
    let client = other.client().await;
    until(&fleet[0], &client.id, Ok(())).await;

    other.signal("KILL");
    other.ended().await;
    // The broker has yet to notice.
    until(&fleet[0], &client.id, Err(UNREACHABLE)).await;
    for _ in 0..10 {
        let sent = fleet[0].try_send_event(&client.id, "Lost").await;
        assert_unavailable(sent, UNREACHABLE);
    }
}

/// It still serves its client, so whoever says that the session is gone is wrong.
#[tokio::test]
async fn a_session_of_a_replica_that_is_cut_off_from_the_broker_is_never_not_found() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 1).await;
    fleet.app.on("Hello", |_| Ok(Default::default()));
    let proxy = Proxy::to(broker.port()).await;
    let through = format!("--rabbitmq-url=amqp://myxi:myxi@127.0.0.1:{}/%2f", proxy.port());
    let exchange = format!("--exchange={}", fleet.exchange);
    fleet.replicas.push(Gateway::with(&fleet.app, &[&through, &exchange]).await);
    let [mut there, mut here] = [fleet[1].client().await, fleet[0].client().await];
    until(&fleet[0], &there.id, Ok(())).await;
    there.event("Now").await;

    let serves = async |there: &mut Client| {
        assert_eq!(there.request("Hello", json!({})).await["event"], "Done");
        assert_eq!(fleet[1].send_event(&there.id, "Local").await, Code::Ok);
        there.event("Local").await;
    };
    proxy.cut();
    until(&fleet[0], &there.id, Err(UNREACHABLE)).await;
    let sent = fleet[1].try_send_event(&here.id, "Lost").await;
    assert_unavailable(sent, "nothing was done");
    assert_eq!(fleet[0].disconnect(&there.id, 4000, "").await, Code::Unavailable);
    serves(&mut there).await;

    proxy.mend();
    until(&fleet[0], &there.id, Ok(())).await;
    until(&fleet[1], &here.id, Ok(())).await;
    here.event("Now").await;

    // Nobody is told of this: the broker takes the question for it.
    proxy.silence();
    assert_unavailable(fleet[0].try_send_event(&there.id, "Silence").await, SILENT);
    serves(&mut there).await;
    proxy.mend();
    until(&fleet[0], &there.id, Ok(())).await;
}

#[tokio::test]
async fn a_replica_whose_queue_is_deleted_is_found_again_and_nothing_is_said_that_is_not_so() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 2).await;
    let (asking, mut client) = (fleet[1].client().await, fleet[0].client().await);
    let session = client.id.clone();
    let over = AtomicBool::new(false);
    let deleting = async {
        // Of the replica that is asked, and of the one that asks.
        for id in [&session, &session, &asking.id] {
            let queue = broker.replica_queue(id).await.expect("a queue");
            broker.ctl(&["delete_queue", &queue]).await;
            until(&fleet[1], &session, Ok(())).await;
            until(&fleet[0], &asking.id, Ok(())).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let sending = async {
        let told = send_while(&over, &fleet[1], &session).await;
        until(&fleet[1], &session, Ok(())).await;
        assert_eq!(fleet[1].send_event(&session, "Last").await, Code::Ok);
        told
    };
    let ((), told, heard) = tokio::join!(deleting, sending, names_until_last(&mut client));

    let mut times = HashMap::<String, u32>::new();
    heard.into_iter().for_each(|name| *times.entry(name).or_default() += 1);
    for (name, sent) in told {
        let times = times.remove(&name).unwrap_or_default();
        match sent {
            Ok(()) => assert_eq!(times, 1, "{name} was sent"),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                let known = status.message().contains("nothing was done");
                assert!(times <= u32::from(!known), "{name} came {times} times: {status}");
            }
        }
    }
}

/// Numbered events, one behind the other without waiting, and what each call answered.
async fn send_while(
    over: &AtomicBool,
    through: &Addresses,
    session: &str,
) -> Vec<(String, Result<(), Status>)> {
    let api = through.api().await;
    let mut calls = JoinSet::new();
    while !over.load(Ordering::Relaxed) {
        let event = format!("E{}", calls.len());
        let request = SendEventRequest {
            session_id: session.into(),
            event: event.clone(),
            payload: String::new(),
        };
        let mut api = api.clone();
        calls.spawn(async move { (event, api.send_event(request).await.map(drop)) });
        sleep(Duration::from_millis(3)).await;
    }
    calls.join_all().await
}

async fn names_until_last(client: &mut Client) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match client.next().await["event"].as_str() {
            Some("Last") => return names,
            Some("Now") => {}
            name => names.push(name.expect("a name").to_owned()),
        }
    }
}

#[tokio::test]
async fn the_exchange_of_the_replicas_is_made_again_and_so_are_their_queues() {
    let mut broker = RabbitMq::exclusive().await;
    let fleet = Fleet::start(&broker, 2).await;
    let clients = [fleet[0].client().await, fleet[1].client().await];
    let all_reached = async || {
        until(&fleet[1], &clients[0].id, Ok(())).await;
        until(&fleet[0], &clients[1].id, Ok(())).await;
    };
    all_reached().await;

    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    let deleting = channel.exchange_delete("myxi.replicas".into(), Default::default());
    deleting.await.expect("deleted");
    all_reached().await;

    broker.kill().await;
    for (replica, session) in [(0, &clients[1].id), (1, &clients[0].id)] {
        let sent = fleet[replica].try_send_event(session, "Lost").await;
        assert_eq!(sent.expect_err("no broker").code(), Code::Unavailable);
    }
    broker.restart().await;
    all_reached().await;
}

/// Its queue still takes the question: routing alone proves nothing.
#[tokio::test]
async fn a_frozen_replica_is_unavailable_in_bounded_time_and_found_again() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    let flags = fleet.flags(broker);
    let other = Myxi::serve(&fleet.app, &[&flags[0], &flags[1]]).await;
    let mut client = other.client().await;
    until(&fleet[0], &client.id, Ok(())).await;
    client.event("Now").await;

    other.signal("STOP");
    let began = Instant::now();
    let sent = fleet[0].send_event(&client.id, "Meanwhile").await;
    let took = began.elapsed();
    other.signal("CONT");
    assert_eq!(sent, Code::Unavailable);
    // It waits 2 s for an answer.
    assert!(took < Duration::from_secs(15), "took {took:?}");

    until(&fleet[0], &client.id, Ok(())).await;
    client.event("Now").await;
}
