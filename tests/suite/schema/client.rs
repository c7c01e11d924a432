//! The client that was written from the schema alone (`clients/python`) against real gateways: it
//! authenticates, subscribes, and misses nothing while gateways come and go. It holds every message to
//! the schema by itself.

use std::net::SocketAddr;

use myxi::internals::protocol::OWN_EVENTS;
use serde_json::json;
use tonic::{Code, Status};

use crate::support::{
    fleet::Fleet,
    gateway::Gateway,
    handler::{
        TestHandler, free_address,
        proto::{HandleActionResponse, SendEventRequest},
        reply,
    },
    process::Myxi,
    python::of_tests,
    rabbitmq::RabbitMq,
    script::Script,
};

/// Whoever knows the token may subscribe, and nobody else.
fn asks_for_the_token(app: &TestHandler) {
    app.on("Authenticate", |request| match request.payload.contains("sesame") {
        true => Ok(HandleActionResponse {
            events: reply::events([("Authenticated", r#"{"user":"adam"}"#)]).events,
            ..reply::set_auth(r#""adam""#)
        }),
        false => Err(Status::permission_denied("")),
    });
    app.on_check(|request| {
        let known = request.session.as_ref().is_some_and(|session| session.auth.is_some());
        Ok(if known { reply::allow_all(&request) } else { reply::deny_all(&request) })
    });
}

fn client(gateway: SocketAddr, exchange: &str, keys: &[&str]) -> Script {
    let mut command = of_tests("conformance/python_client.py");
    command.arg(format!("ws://{gateway}/")).arg(exchange).args(keys);
    Script::start("the client", command)
}

/// Its next line.
async fn hears(client: &mut Script, expected: &str) {
    assert_eq!(client.line().await.as_deref(), Some(expected));
}

/// It is let in, and subscribed to both.
async fn is_back(client: &mut Script) {
    for line in ["Authenticated adam", "1 Subscribed None", "2 Subscribed None"] {
        hears(client, line).await;
    }
}

#[tokio::test]
async fn it_misses_nothing_while_gateways_drain_and_are_killed() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    asks_for_the_token(&fleet.app);
    let address = free_address();
    let own = fleet.flags(broker);
    let listen = format!("--listen={address}");
    let flags = [&*own[0], &*own[1], &*listen];
    let mut gateway = Myxi::serve(&fleet.app, &flags).await;
    let mut client = client(address, &fleet.exchange, &["1", "2"]);
    is_back(&mut client).await;
    let mut number = 0;
    for end in ["TERM", "KILL", "KILL", "TERM"] {
        for key in ["1", "2", "1"] {
            number += 1;
            gateway.push(&fleet.exchange, key, "Changed", json!({"n": number})).await;
            hears(&mut client, &format!("{key} Changed {number}")).await;
        }
        gateway.signal(end);
        gateway.ended().await;
        for key in ["2", "1", "2"] {
            number += 1;
            fleet[0].push(&fleet.exchange, key, "Missed", json!({"n": number})).await;
        }
        gateway = Myxi::serve(&fleet.app, &flags).await;
        is_back(&mut client).await;
        for (key, n) in [("2", number - 2), ("1", number - 1), ("2", number)] {
            hears(&mut client, &format!("{key} Missed {n}")).await;
        }
        for key in ["1", "2"] {
            hears(&mut client, &format!("{key} Recovered None")).await;
        }
    }
}

#[tokio::test]
async fn it_says_what_it_has_missed_and_comes_back_as_the_codes_want_it() {
    let app = TestHandler::start().await;
    asks_for_the_token(&app);
    let address = free_address();
    let flags = ["--exchange=widgets", &format!("--listen={address}")];
    let gateway = Gateway::with(&app, &flags).await;
    let mut client = client(address, "widgets", &["1", "2"]);
    is_back(&mut client).await;
    gateway.drain().await;
    // Its log is another.
    let gateway = Gateway::with(&app, &flags).await;
    for line in ["Authenticated adam", "1 Subscribed None", "1 Gap None", "2 Subscribed None"] {
        hears(&mut client, line).await;
    }
    hears(&mut client, "2 Gap None").await;
    let close = async |code| {
        let seen = app.seen().await.into_iter().rev().find(|call| call.method == "HandleAction");
        let session = seen.expect("it has authenticated").action().session.clone().expect("one");
        assert_eq!(gateway.disconnect(&session.id, code, "enough").await, Code::Ok);
    };
    close(4001).await;
    is_back(&mut client).await;
    for key in ["1", "2"] {
        hears(&mut client, &format!("{key} Recovered None")).await;
    }
    close(4500).await;
    assert_eq!(client.rest().await, ["closed 4500"]);
}

#[tokio::test]
async fn it_bears_bad_moments_and_servers_that_are_none() {
    let cases = Script::start("the cases", of_tests("conformance/python_client_edges.py"));
    let well = cases.rest().await;
    assert_eq!(well.len(), 6, "{well:?}");
}

#[tokio::test]
async fn what_is_not_by_the_schema_and_a_handler_that_fails_disturb_nothing() {
    let app = TestHandler::start().await;
    asks_for_the_token(&app);
    let gateway = Gateway::start(&app).await;
    let mut client = client(gateway.clients(), "widgets", &["--lenient", "1"]);
    hears(&mut client, "Authenticated adam").await;
    hears(&mut client, "1 Subscribed None").await;
    let session = app.next("CheckSubscriptions").await.check().session.clone().expect("one");
    // An application's own, named as the gateway's are, and without anything in it.
    for name in OWN_EVENTS {
        assert_eq!(gateway.send_event(&session.id, name).await, Code::Ok);
    }
    // And with members that are something else.
    let digits = "9".repeat(400);
    for (event, payload) in [
        ("Pong", r#"{"positions":{"widgets":[1]}}"#.to_owned()),
        ("Gap", r#"{"exchange":"widgets","routing_key":9,"id":{"a":1}}"#.to_owned()),
        ("Reconnect", format!(r#"{{"after_ms":{digits}}}"#)),
        ("Reconnect", format!(r#"{{"after_ms":{}}}"#, digits.repeat(20))),
    ] {
        let session_id = session.id.clone();
        let event = SendEventRequest { session_id, event: event.into(), payload };
        gateway.api().await.send_event(event).await.expect("sent");
    }
    gateway.push("widgets", "1", "Stumble", json!({"n": 1})).await;
    gateway.push("widgets", "1", "Changed", json!({"n": 2})).await;
    hears(&mut client, "1 Changed 2").await;
    gateway.disconnect(&session.id, 4000, "come back").await;
    for line in ["Authenticated adam", "1 Subscribed None", "1 Recovered None"] {
        hears(&mut client, line).await;
    }
    gateway.push("widgets", "1", "Close", json!({})).await;
    assert_eq!(client.rest().await, ["1 Close None", "closed 1000"]);
}
