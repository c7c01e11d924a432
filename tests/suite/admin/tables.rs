//! The tables of sessions and topics, over all threads.

use serde_json::{Value, json};

use super::Console;
use crate::support::{
    client::Client,
    gateway::Gateway,
    handler::{TestHandler, reply},
};

const FLAGS: &[&str] = &["--exchange=widgets,gadgets", "--worker-threads=2"];

/// Each is somebody, and subscribed to as many topics as its number says.
async fn people(app: &TestHandler, gateway: &Gateway, count: usize) -> Vec<Client> {
    app.on("Authenticate", |request| Ok(reply::set_auth(&request.payload)));
    let mut people = Vec::new();
    for number in 0..count {
        let mut client = gateway.client().await;
        let user = json!({"user": format!("Person{number}")});
        assert_eq!(client.request("Authenticate", user).await["event"], "Done");
        for key in 0..number {
            client.subscribe("widgets", &key.to_string()).await;
        }
        people.push(client);
    }
    people
}

fn column<'a>(table: &'a Value, name: &str) -> Vec<&'a Value> {
    let rows = table.as_array().expect("rows");
    rows.iter().map(|row| &row[name]).collect()
}

#[tokio::test]
async fn sessions_are_shown_in_pages_by_age_by_subscriptions_and_by_what_is_looked_for() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, FLAGS).await;
    let console = Console::of(&gateway);
    let people = people(&app, &gateway, 5).await;
    let mut stranger = gateway.client().await;
    stranger.subscribe("gadgets", "").await;
    let ids: Vec<&str> = people.iter().chain([&stranger]).map(|client| &*client.id).collect();

    let table = console.read("/api/sessions").await;
    assert_eq!((&table["total"], &table["matching"]), (&json!(6), &json!(6)));
    assert_eq!(column(&table["sessions"], "id"), ids, "the oldest first");
    let first = &table["sessions"][0];
    assert_eq!(first["identity"], r#"{"user":"Person0"}"#);
    assert_eq!((&first["remote"], &first["outbox_bytes"]), (&json!("127.0.0.1"), &json!(0)));
    assert!(first["age_ms"].as_u64() >= table["sessions"][4]["age_ms"].as_u64(), "{table}");
    assert_eq!(column(&table["sessions"], "subscriptions"), [0, 1, 2, 3, 4, 1]);
    assert_eq!(table["sessions"][5]["identity"], json!(null));

    for (query, matching, found) in [
        ("?sort=age&limit=2&offset=3", 6, vec![3, 4]),
        ("?sort=subscriptions&limit=2", 6, vec![4, 3]),
        ("?sort=subscriptions&limit=2&offset=2", 6, vec![2, 1]),
        ("?offset=7", 6, vec![]),
        ("?limit=0", 6, vec![]),
        ("?search=person3", 1, vec![3]),
        ("?search=%22USER%22%3A", 5, vec![0, 1, 2, 3, 4]),
        ("?search=127.0.0&limit=1&offset=5", 6, vec![5]),
        ("?search=nobody", 0, vec![]),
        (&format!("?search={}", ids[5].to_uppercase()), 1, vec![5]),
    ] {
        let table = console.read(&format!("/api/sessions{query}")).await;
        let expected: Vec<_> = found.into_iter().map(|number: usize| ids[number]).collect();
        assert_eq!(column(&table["sessions"], "id"), expected, "{query}");
        assert_eq!((&table["total"], &table["matching"]), (&json!(6), &json!(matching)), "{query}");
    }
    for query in ["?sort=name", "?limit=many", "?offset=-1"] {
        let response = console.get(&format!("/api/sessions{query}")).await;
        let named = query.trim_start_matches('?').split('=').next().expect("a name");
        assert_eq!(response.status, 400, "{query}");
        assert!(response.json()["error"].to_string().contains(named), "{query}: {response:?}");
    }

    drop(people);
    console.awaits("/api/sessions", |table| table["total"] == 1).await;
}

#[tokio::test]
async fn a_long_identity_is_cut_and_found_whole() {
    let app = TestHandler::start().await;
    app.on("Authenticate", |request| Ok(reply::set_auth(&request.payload)));
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    let user = json!({"roles": "ü".repeat(300), "user": "Adam"});
    client.request("Authenticate", user).await;
    let table = Console::of(&gateway).read("/api/sessions?search=adam").await;
    let identity = table["sessions"][0]["identity"].as_str().expect("it is found");
    assert_eq!(identity.chars().count(), 161);
    assert!(identity.ends_with("ü…"), "{identity}");
}

#[tokio::test]
async fn who_does_not_read_comes_first_by_outbox() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--max-outbox=64MiB"];
    let gateway = Gateway::with(&app, &flags).await;
    let _quick = gateway.client().await;
    let slow = gateway.subscribers(1, "widgets", "1").await;
    let _other = gateway.client().await;
    // More than the system holds for a client that does not read.
    for _ in 0..80 {
        gateway.push("widgets", "1", "Large", json!("x".repeat(200 << 10))).await;
    }
    let full = |table: &Value| table["sessions"][0]["outbox_bytes"].as_u64() > Some(200 << 10);
    let table = Console::of(&gateway).awaits("/api/sessions?sort=outbox&limit=1", full).await;
    assert_eq!(table["sessions"][0]["id"], slow[0].id.as_str());
    let overview = Console::of(&gateway).read("/api/overview").await;
    assert!(overview["now"]["outbox_bytes"].as_u64() > Some(200 << 10), "{overview}");
}

#[tokio::test]
async fn topics_of_all_threads_are_counted_together_the_most_wanted_first() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, FLAGS).await;
    let console = Console::of(&gateway);
    let _people = people(&app, &gateway, 5).await;
    let _others = gateway.subscribers(3, "gadgets", "Blue").await;

    let topic = |exchange: &str, key: &str, subscribers: usize| json!({"exchange": exchange, "routing_key": key, "subscribers": subscribers});
    let all = [
        topic("widgets", "0", 4),
        topic("gadgets", "Blue", 3),
        topic("widgets", "1", 3),
        topic("widgets", "2", 2),
        topic("widgets", "3", 1),
    ];
    let table = console.awaits("/api/topics", |table| table["total"] == 5).await;
    assert_eq!(table["topics"], json!(all));
    assert_eq!((&table["matching"], &table["sampled"]), (&json!(5), &json!(false)));
    for (query, matching, found) in [
        ("?limit=2&offset=1", 5, &all[1..3]),
        ("?search=GADGETS", 1, &all[1..2]),
        ("?search=blue", 1, &all[1..2]),
        ("?search=widgets&limit=1&offset=3", 4, &all[4..]),
    ] {
        let table = console.read(&format!("/api/topics{query}")).await;
        assert_eq!(table["topics"], json!(found), "{query}");
        assert_eq!((&table["total"], &table["matching"]), (&json!(5), &json!(matching)), "{query}");
    }
    console.awaits("/api/overview", |overview| overview["now"]["topics"] == 5).await;
}
