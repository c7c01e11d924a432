//! The `Gateway` service by HTTP, in the form of the Connect protocol: what is asked and
//! answered so. That it is the same service is what gRPC's own tests say of it.

mod attacks;
mod clients;
mod forms;
mod pages;
mod protocol;

use std::{net::SocketAddr, process::Stdio};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    gateway_api::TestGateway,
    support::{
        DEADLINE, TempDir,
        http::{self, Response},
        within,
    },
};

const PAGE: &str = include_str!("../../docs/grpc.md");

const HOST: (&str, &str) = ("Host", "localhost:5006");
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn path(rpc: &str) -> String {
    format!("/myxi.v1.Gateway/{rpc}")
}

/// A POST with these headers and no others that matter.
async fn post(
    server: SocketAddr,
    rpc: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Response {
    http::request(server, &format!("POST {}", path(rpc)), headers, body).await
}

/// As a program asks.
async fn ask(gateway: &TestGateway, rpc: &str, body: impl AsRef<[u8]>) -> Response {
    post(gateway.address, rpc, &[HOST, JSON], body).await
}

fn event() -> Value {
    json!({"exchange": "widgets", "routingKey": "1", "event": "Changed", "payload": {"n": 1}})
}

/// Asserts a refusal by its status, its code and a word of what is said.
#[track_caller]
fn assert_refused(response: &Response, status: u16, code: &str, word: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{response:?}");
    let body = response.json();
    assert_eq!(body["code"], code, "{response:?}");
    assert!(body["message"].as_str().is_some_and(|said| said.contains(word)), "{response:?}");
    let members: Vec<_> = body.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["code", "message"]);
}

#[tokio::test]
async fn an_event_is_pushed_as_json() {
    let gateway = TestGateway::start(None).await;
    let body = r#"{"exchange":"widgets","routingKey":"1","event":"Changed","payload":{"n": 1.0},"eventId":"mine"}"#;
    let response = ask(&gateway, "PushEvent", body).await;
    assert_eq!((response.status, response.json()), (200, json!({"eventId": "mine"})));
    assert_eq!(response.header("content-type"), Some("application/json"));

    let published = gateway.bus.published.lock().unwrap();
    let [events] = &published[..] else { panic!("{published:?}") };
    assert_eq!(events[0].topic.exchange.as_str(), "widgets");
    assert_eq!(events[0].topic.routing_key(), "1");
    assert_eq!(events[0].body.to_json(), br#"{"event":"Changed","payload":{"n": 1.0}}"#);
    assert_eq!(&*events[0].id, "mine");
}

#[tokio::test]
async fn the_command_of_the_page_pushes_two_objects() {
    let gateway = TestGateway::start(Some("secret")).await;
    let block = PAGE.split("```sh\n").find(|block| block.starts_with("curl ")).expect("a block");
    let command = block.split("```").next().expect("its end");
    let command = command.replace("127.0.0.1:5006", &gateway.address.to_string());
    let mut shell = Command::new("sh");
    shell.args(["-euc", &command]).env("MYXI_GRPC_TOKEN", "secret").env("NO_PROXY", "127.0.0.1");
    shell.stdin(Stdio::null()).kill_on_drop(true);
    let output = within(DEADLINE, "curl", shell.output()).await.expect("a shell");
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let codes: Vec<_> = printed["results"].as_array().expect("results").iter().collect();
    assert!(codes.len() == 2 && codes.iter().all(|one| one["code"] == 0), "{printed}");

    let published = gateway.bus.published.lock().unwrap();
    let bodies: Vec<_> = published.iter().flatten().map(|event| event.body.to_json()).collect();
    let [one, two] = &bodies[..] else { panic!("{bodies:?}") };
    assert_eq!(one, br#"{"event":"Changed","payload":{"n":1}}"#);
    assert_eq!(two, br#"{"event":"Changed","payload":{"n":2}}"#);
}

#[tokio::test]
async fn the_pages_php_pushes_and_says_what_was_wrong() {
    let gateway = TestGateway::start(Some("secret")).await;
    let block = PAGE.split("```php\n").nth(1).expect("a block");
    let script = block.split("```").next().expect("its end");
    let script = script.replace("127.0.0.1:5006", &gateway.address.to_string());
    let directory = TempDir::new("php");
    let file = directory.path().join("push.php");
    std::fs::write(&file, script).expect("written");
    let run = async |token: &str| {
        let mut php = Command::new("php");
        php.arg(&file).env("MYXI_GRPC_TOKEN", token).stdin(Stdio::null()).kill_on_drop(true);
        within(DEADLINE, "PHP", php.output()).await.expect("php")
    };
    let output = run("secret").await;
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(
        gateway.bus.published.lock().unwrap().iter().flatten().next().unwrap().body.to_json(),
        br#"{"event":"Changed","payload":{"n":1}}"#
    );
    let output = run("another").await;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("unauthenticated"), "{said}");
}

#[tokio::test]
async fn each_refusal_has_the_status_that_connect_has_for_it() {
    let gateway = TestGateway::start(None).await;
    for (exchange, status, code, word) in [
        ("elsewhere", 404, "not_found", "--exchange"),
        ("down", 503, "unavailable", "not published"),
        ("full", 429, "resource_exhausted", "later"),
        ("slow", 500, "unknown", "same event_id"),
        ("amq.topic", 400, "invalid_argument", "exchange"),
    ] {
        let mut event = event();
        event["exchange"] = exchange.into();
        let response = ask(&gateway, "PushEvent", event.to_string()).await;
        assert_refused(&response, status, code, word);
    }
}

#[tokio::test]
async fn many_events_go_in_one_go_and_each_has_its_result() {
    let gateway = TestGateway::start(None).await;
    let named =
        |exchange: &str, id: &str| json!({"exchange": exchange, "event": "E", "event_id": id});
    let events =
        json!({"events": [named("widgets", "a"), named("down", "b"), named("widgets", "c")]});
    let response = ask(&gateway, "PushEvents", events.to_string()).await;
    assert_eq!(response.status, 200, "{response:?}");
    let body = response.json();
    let results = body["results"].as_array().expect("results");
    assert_eq!(results[0], json!({"eventId": "a", "code": 0}));
    assert_eq!((&results[1]["eventId"], &results[1]["code"]), (&json!("b"), &json!(14)));
    assert!(results[1]["message"].as_str().is_some_and(|said| said.contains("not published")));
    assert_eq!(results[2], json!({"eventId": "c", "code": 0}));
    let published = gateway.bus.published.lock().unwrap();
    assert_eq!(published.iter().map(Vec::len).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn too_many_events_are_refused_as_by_grpc() {
    let gateway = TestGateway::start(None).await;
    let many = |count: usize| json!({"events": vec![event(); count]}).to_string();
    let taken = ask(&gateway, "PushEvents", many(1_000)).await;
    assert_eq!(taken.json()["results"].as_array().map(Vec::len), Some(1_000));
    for body in [many(0), many(1_001), many(5_000), "{}".into(), r#"{"events":null}"#.into()] {
        let response = ask(&gateway, "PushEvents", body).await;
        assert_refused(&response, 400, "invalid_argument", "events must hold 1 to 1000");
    }
    // What the bytes are of is what they become: gRPC's message.
    let large = json!({"exchange": "widgets", "event": "E", "payload": "\"".repeat(10) + &"x".repeat(5_000)});
    let events = json!({"events": vec![large; 900]}).to_string();
    let response = ask(&gateway, "PushEvents", events).await;
    assert_refused(&response, 400, "invalid_argument", "4194304 bytes together");
    assert_eq!(gateway.bus.published.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_session_is_sent_events_and_closed_on_this_replica_and_on_others() {
    use myxi::internals::session::directory::SessionCommand;
    let gateway = TestGateway::start(None).await;
    for sessions in [&gateway.local, &gateway.remote] {
        let id = sessions.id.to_string();
        let send = format!(r#"{{"sessionId":"{id}","event":"Hello","payload":[1e2]}}"#);
        let response = ask(&gateway, "SendEvent", send).await;
        assert_eq!((response.status, response.json()), (200, json!({})));
        for code in [json!(4001), json!("4001")] {
            let close = json!({"session_id": id, "code": code, "reason": "spät"});
            let response = ask(&gateway, "DisconnectSession", close.to_string()).await;
            assert_eq!((response.status, response.json()), (200, json!({})));
        }
        let done = sessions.done.lock().unwrap();
        let [
            SessionCommand::Send(body),
            SessionCommand::Disconnect(one),
            SessionCommand::Disconnect(other),
        ] = &done[..]
        else {
            panic!("{done:?}");
        };
        assert_eq!((&*body.name, body.payload.get()), ("Hello", "[1e2]"));
        for close in [one, other] {
            assert_eq!((close.code, &*close.reason), (4001, "spät"));
        }
    }
    let bad = [
        (json!({"sessionId": "42"}), "session_id"),
        (json!({"sessionId": gateway.local.id.to_string(), "code": 1.5}), "code must be"),
        (json!({"sessionId": gateway.local.id.to_string(), "code": -1}), "code must be"),
        (json!({"sessionId": gateway.local.id.to_string(), "code": "+4001"}), "code must be"),
        (json!({"sessionId": gateway.local.id.to_string(), "code": 1001}), "code must be"),
        (json!({"sessionId": gateway.local.id.to_string(), "why": 1}), "`why`"),
    ];
    for (body, word) in bad {
        let response = ask(&gateway, "DisconnectSession", body.to_string()).await;
        assert_refused(&response, 400, "invalid_argument", word);
    }
    let nobody =
        format!("{:016x}", u64::from_str_radix(&gateway.local.id.to_string(), 16).unwrap() ^ 1);
    let response =
        ask(&gateway, "SendEvent", json!({"sessionId": nobody, "event": "E"}).to_string()).await;
    assert_refused(&response, 404, "not_found", &nobody);
}
