//! `myxi sessions`, and what is done to one of them.

use serde_json::{Value, json};

use super::{SECRET, end, myxi};
use crate::support::{
    gateway::Gateway,
    handler::{
        TestHandler,
        proto::{HandleActionResponse, SessionUpdate},
    },
};

#[tokio::test]
async fn they_are_listed_by_what_was_asked_for() {
    let app = TestHandler::start().await;
    app.on("Login", |request| {
        let update = SessionUpdate { set_auth: Some(request.payload), ..Default::default() };
        Ok(HandleActionResponse { session_update: Some(update), ..Default::default() })
    });
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--admin-token=right"]).await;
    let (mut adam, _eve) = (gateway.client().await, gateway.client().await);
    adam.request("Login", json!({"user": "adam\u{9b}2J"})).await;
    adam.subscribe("widgets", "1").await;
    let asked = |args: &[&str], token: &str| {
        let args: Vec<_> = std::iter::once("sessions").chain(args.iter().copied()).collect();
        let mut command = myxi(&gateway, &args);
        command.env("MYXI_ADMIN_TOKEN", token);
        end(command)
    };
    let table = asked(&["adam"], "right").await.well();
    let [head, row] = table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
    assert!(head.starts_with("ID ") && head.ends_with("IDENTITY"), "{head}");
    assert!(row.starts_with(&adam.id), "{row}");
    assert!(row.ends_with(r#"{"user":"adam\u{9b}2J"}"#), "{row}");

    let lines = asked(&["--json", "--sort=subscriptions", "--limit=1"], "right").await;
    assert!(lines.stderr.contains("1 of 2 shown"), "{lines:#?}");
    let session: Value = serde_json::from_str(&lines.stdout).expect("one line of JSON");
    assert_eq!(session["id"], adam.id);
    assert_eq!(session["subscriptions"], 1);

    assert!(asked(&[], SECRET).await.badly().contains("MYXI_ADMIN_TOKEN"));
}

#[tokio::test]
async fn one_of_them_is_sent_an_event_and_closed() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let id = client.id.clone();
    let payload = r#"{"n":123456789012345678901234567890}"#;
    assert_eq!(end(myxi(&gateway, &["send", &id, "Notice", payload])).await.well(), "");
    assert_eq!(client.text().await, format!(r#"{{"event":"Notice","payload":{payload}}}"#));
    let args = ["disconnect", &id, "--code=4000", "--reason=sign in again"];
    assert_eq!(end(myxi(&gateway, &args)).await.well(), "");
    let closed = client.closed().await;
    assert_eq!((closed.code, &*closed.reason), (4000, "sign in again"));

    app.next("SessionClosed").await;
    let said = end(myxi(&gateway, &["send", &id, "Notice"])).await.badly();
    assert_eq!(said, format!("myxi send: there is no session {id}\n"));
    let said = end(myxi(&gateway, &["disconnect", "x"])).await.badly();
    assert_eq!(said, "myxi disconnect: session_id must be 16 hex digits\n");
}
