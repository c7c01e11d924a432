//! `myxi push`: what is pushed arrives as it was written and in order, and of what is not it is said
//! whether it may have happened.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{Running, SECRET, bare, end, end_with, myxi, way::Way};
use crate::support::{
    client::Client,
    gateway::Gateway,
    handler::{TestHandler, free_address},
    scripted_gateway::{ScriptedGateway, result},
};

const PUSH: [&str; 4] = ["push", "widgets", "1", "Changed"];

async fn subscribed() -> (TestHandler, Gateway, Client) {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let client = gateway.subscribers(1, "widgets", "1").await.remove(0);
    (app, gateway, client)
}

fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    PUSH.iter().chain(more).copied().collect()
}

#[tokio::test]
async fn one_event_arrives_as_it_was_written_and_its_id_is_printed() {
    let (_app, gateway, mut client) = subscribed().await;
    let payload = r#"{"n":123456789012345678901234567890, "x":1.0e2}"#;
    let id = end(myxi(&gateway, &args(&[payload]))).await.well();
    assert!(id.trim_end().len() == 32 && id.ends_with('\n'), "{id:?}");
    let text = client.text().await;
    assert!(text.contains(payload), "{text}");

    end(myxi(&gateway, &args(&[]))).await.well();
    assert_eq!(client.next().await["payload"], json!({}));
    end(myxi(&gateway, &args(&["-5"]))).await.well();
    assert_eq!(client.next().await["payload"], json!(-5));

    // The same id is the same event.
    for _ in 0..2 {
        let printed = end(myxi(&gateway, &args(&["1", "--event-id=mine"]))).await.well();
        assert_eq!(printed, "mine\n");
    }
    end(myxi(&gateway, &args(&["2"]))).await.well();
    let payloads = [client.next().await, client.next().await].map(|event| event["payload"].clone());
    assert_eq!(payloads, [json!(1), json!(2)]);
}

#[tokio::test]
async fn ten_thousand_lines_arrive_in_their_order() {
    const LINES: usize = 10_000;
    let (_app, gateway, mut client) = subscribed().await;
    let input: String = (0..LINES).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let pushing = tokio::spawn(end_with(myxi(&gateway, &args(&["-"])), input));
    for n in 0..LINES {
        assert_eq!(client.next().await["payload"], json!({"n": n}));
    }
    let ids = pushing.await.expect("it ends").well();
    assert_eq!(ids.lines().count(), LINES);
}

#[tokio::test]
async fn bad_lines_among_good_ones_are_told_by_their_numbers() {
    let (_app, gateway, mut client) = subscribed().await;
    let long = format!(r#"{{"exchange":"widgets","event":"{}"}}"#, "x".repeat(5 << 20));
    let lines = [
        r#"{"exchange":"widgets","routing_key":1,"event":"A","payload":[1.50],"event_id":"a"}"#,
        "",
        "[]",
        r#"{"exchange":"widgets","routing_key":"1","event":"A","pay":1}"#,
        r#"{"exchange":"nowhere","routing_key":"1","event":"A"}"#,
        &long,
        r#"{"at_ms":1,"exchange":"widgets","routing_key":"1","event":"Z","position":"p"}"#,
        // Without an end of its own.
        "nonsense",
    ];
    let ended = end_with(myxi(&gateway, &["push"]), lines.join("\n")).await;
    assert_eq!(ended.stdout.lines().count(), 2, "{ended:#?}");
    let said = ended.badly();
    for told in [
        "line 3: not pushed: it is not a JSON object",
        "line 4: not pushed: unknown field `pay`",
        "line 5: not pushed: the exchange nowhere is not configured",
        "line 6: not pushed: it is longer than",
        "line 8: not pushed: it is not a JSON object",
        "2 pushed, 5 not pushed, 0 may have been pushed",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(
        client.text().await,
        r#"{"event":"A","payload":[1.50],"mq":{"e":"widgets","rk":"1"}}"#
    );
    assert_eq!(client.next().await["event"], "Z");
}

#[tokio::test]
async fn an_input_that_is_slow_is_not_waited_for() {
    let (_app, gateway, mut client) = subscribed().await;
    let mut push = Running::start(myxi(&gateway, &args(&["-"])));
    push.type_in("1\n2\n3").await;
    for n in 1..=2 {
        assert_eq!(client.next().await["payload"], json!(n));
        push.line().await;
    }
    push.type_in("4\n").await;
    assert_eq!(client.next().await["payload"], json!(34));
    push.stdin = None;
    assert_eq!(push.ended().await, Some(0));
}

#[tokio::test]
async fn what_is_printed_may_be_read_or_not() {
    let (_app, gateway, mut client) = subscribed().await;
    let mut push = Running::start(myxi(&gateway, &args(&["-"])));
    push.stdout = None;
    for n in 0..3 {
        push.type_in(&format!("{n}\n")).await;
        assert_eq!(client.next().await["payload"], json!(n));
    }
    push.stdin = None;
    assert_eq!(push.ended().await, Some(0));
}

#[tokio::test]
async fn what_may_have_been_pushed_is_told_from_what_certainly_was_not() {
    let gateway = ScriptedGateway::start().await;
    let at = format!("--gateway=http://{}", gateway.address);
    // One that is not confirmed, among others; the next call does not come.
    gateway.answers(vec![
        result("a", 0, ""),
        result("b", 2, "not confirmed"),
        result("c", 14, "the broker is away"),
    ]);
    let mut push = Running::start(bare(&args(&["-", &at])));
    push.type_in("1\n2\n3\n").await;
    assert_eq!(push.line().await, "a");
    let said = push.rest_of_stderr().await;
    for told in [
        "line 2: may have been pushed: not confirmed; its event_id is b,",
        "line 3: not pushed: the broker is away",
        "stopped: nothing behind line 3 was pushed",
        "1 pushed, 1 not pushed, 1 may have been pushed",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(push.ended().await, Some(1));

    // The connection is lost in the middle of the call.
    let way = Way::to(gateway.address.port()).await;
    let at = format!("--gateway=http://127.0.0.1:{}", way.port());
    let mut push = Running::start(bare(&args(&["{}", "--event-id=mine", &at])));
    gateway.is_asked().await;
    way.cut();
    let said = push.rest_of_stderr().await;
    assert!(said.starts_with("myxi push: may have been pushed: the connection"), "{said}");
    assert!(said.contains("its event_id is mine"), "{said}");
    assert_eq!(push.ended().await, Some(1));
}

#[tokio::test]
async fn who_interrupts_it_is_told_what_became_of_what_was_under_way() {
    let gateway = ScriptedGateway::start().await;
    // As handlers have it in the same variable.
    let at = format!("--gateway={}", gateway.address);
    let mut push = Running::start(bare(&args(&["{}", "--event-id=mine", &at])));
    gateway.is_asked().await;
    push.signal("INT");
    let said = push.rest_of_stderr().await;
    assert!(said.starts_with("myxi push: may have been pushed: interrupted; its event_id is mine"));
    assert_eq!(push.ended().await, Some(1));

    let (_app, gateway, mut client) = subscribed().await;
    let mut push = Running::start(myxi(&gateway, &args(&["-"])));
    push.type_in("1\n2").await;
    assert_eq!(client.next().await["payload"], json!(1));
    push.line().await;
    push.signal("TERM");
    let said = push.rest_of_stderr().await;
    assert!(said.contains("stopped: nothing behind line 1 was pushed"), "{said}");
    assert_eq!(push.ended().await, Some(1));

    // Nobody reads its ids, for which the pipe has no room any more.
    let mut push = Running::start(myxi(&gateway, &args(&["-"])));
    let mut stdin = push.stdin.take().expect("open");
    let typing = tokio::spawn(async move { stdin.write_all(&b"1\n".repeat(50_000)).await });
    push.waits_in("pipe_write").await;
    push.signal("INT");
    let said = push.rest_of_stderr().await;
    assert!(said.contains("whose ids are not all printed"), "{said}");
    assert!(said.contains("stopped: nothing behind line"), "{said}");
    assert_eq!(push.ended().await, Some(1));
    typing.abort();
}

#[tokio::test]
async fn a_gateway_that_is_not_there_or_asks_for_another_token_is_named() {
    let nobody = free_address();
    let at = format!("--gateway=http://{nobody}");
    let said = end(bare(&args(&["{}", &at]))).await.badly();
    let told = format!("myxi push: the gateway is not reachable at http://{nobody}/ (");
    assert!(said.starts_with(&told) && said.contains("--gateway (MYXI_GATEWAY)"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--grpc-token=right"];
    let gateway = Gateway::with(&app, &flags).await;
    let mut command = myxi(&gateway, &args(&["{}"]));
    command.env("MYXI_GRPC_TOKEN", SECRET);
    let said = end(command).await.badly();
    assert!(said.contains("not pushed: ") && said.contains("MYXI_GRPC_TOKEN"), "{said}");
    let mut command = myxi(&gateway, &args(&["{}"]));
    command.env("MYXI_GRPC_TOKEN", "right");
    end(command).await.well();

    // The port of its clients.
    let at = format!("--gateway=http://{}", gateway.clients);
    let said = end(bare(&args(&["{}", &at]))).await.badly();
    assert!(said.contains("no gRPC"), "{said}");
}

#[tokio::test]
async fn a_command_line_that_is_wrong_says_what_to_write() {
    for (args, told) in [
        (["push", "widgets", "1"].as_slice(), "EXCHANGE, ROUTING_KEY and EVENT belong together"),
        (&["push", "--event-id=1"], "--event-id is for one event"),
        (&["push", "w", "1", "E", "--gateway=ftp://x"], "--gateway: not a URL"),
        (&["tail", "w", "--after=x"], "--after: this is for a client"),
        (&["tail", "w", "1", "--last=101"], "--last: \"101\""),
        (&["tail", "w", "1", "--login=A={\"password\":\"S3CR3T-T0K3N\""], "--login: what follows"),
        (&["disconnect", "1", "--code=1"], "--code: \"1\" is no code"),
        (&["sessions", "--sort=name"], "--sort: \"name\" is unknown"),
        (&["man", "nothing"], "COMMAND: there is no \"nothing\""),
    ] {
        let ended = end(bare(args)).await;
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        assert!(ended.stderr.contains(told) && !ended.stderr.contains(SECRET), "{ended:#?}");
    }
}
