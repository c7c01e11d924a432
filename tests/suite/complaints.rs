//! Who is to blame is in the log, and no failure hides another: each is said at once, again
//! with how often it was left out, and what strangers invent is bounded and counted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tonic::{Code, Request, Status};

use crate::support::{
    DEADLINE,
    client::Client,
    gateway::push_request,
    handler::{TestHandler, reply},
    http,
    metrics::Scrape,
    process::Myxi,
    usage::Process,
    within,
};

/// A line says nothing again before this is over, and so many may be said in it.
const INTERVAL: Duration = Duration::from_secs(10);
const LINES_MAX: u64 = 20;

/// The log's lines with this text.
fn lines(myxi: &Myxi, what: &str) -> Vec<Value> {
    let lines = myxi.log().into_iter().map(|line| serde_json::from_str(&line).expect("JSON"));
    lines
        .filter(|line: &Value| line["message"].as_str().is_some_and(|it| it.contains(what)))
        .collect()
}

const FAILED: &str = "a call to the application failed";
const BROKEN: &str = "a reply of the application breaks a rule";
const OTHERS: &str = ": failed calls to the application";

/// Waits until as many lines have been said, and answers them.
async fn said(myxi: &Myxi, what: &str, count: usize) -> Vec<Value> {
    within(DEADLINE, what, async {
        loop {
            let lines = lines(myxi, what);
            if lines.len() >= count {
                return lines;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// How many failed calls the log stands for: a line with a number for so many, another for
/// itself.
fn accounted(myxi: &Myxi) -> u64 {
    let failed = lines(myxi, FAILED);
    let lines_stand_for = failed.iter().map(|line| line["left_out"].as_u64().unwrap_or(1));
    let others = lines(myxi, OTHERS).into_iter().map(|line| {
        let text = line["message"].as_str().expect("text");
        text.split(' ').nth(1).and_then(|number| number.parse::<u64>().ok()).expect(text)
    });
    lines_stand_for.chain(others).sum()
}

/// What an operator reads: RPC, action, status and problem.
fn told(line: &Value) -> (&str, &str, &str, &str) {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    (text("rpc"), text("action"), text("status"), text("problem"))
}

#[tokio::test]
async fn each_failure_has_its_line_whatever_failed_before() {
    let app = TestHandler::start().await;
    app.on("Buy", |_| Err(Status::internal("out of\n\"paper\"")));
    app.on("Sell", |_| Err(Status::internal("out of\n\"paper\"")));
    app.on("Stop", |_| Err(Status::unavailable("Cancelling all calls")));
    app.on("Full", |_| Err(Status::resource_exhausted("message too large")));
    app.on("Late", |_| Err(Status::deadline_exceeded("the database is slow")));
    app.on("Nonsense", |_| Ok(reply::events([("Bad", "no JSON")])));
    app.on("Big", |_| Ok(reply::set_auth(&format!("\"{}\"", "x".repeat(17 << 10)))));
    app.on("No", |_| Ok(reply::error("SoldOut", "", false)));
    app.on("Who", |_| Err(Status::unauthenticated("nobody")));
    app.hang_on("Hang").hang_on("Lose").on_check(|_| Err(Status::internal("no such table")));
    app.on_closed(|_| Err(Status::internal("cannot note it")));
    let flags = ["--exchange=widgets", "--action-timeout=8s"];
    let myxi = Myxi::serve(&app, &flags).await;
    let mut client = myxi.client().await;
    for action in
        ["Buy", "Sell", "Stop", "Full", "Late", "Nonsense", "Big", "Hang", "No", "Who", "What"]
    {
        client.error(action, json!({})).await;
    }
    client.error("Subscribe", json!({"exchange": "widgets", "routing_key": 1})).await;
    let other = myxi.client().await;
    drop(other);
    // Before the application goes, or it would be told of as unreached.
    app.next("SessionClosed").await;
    app.seen().await;
    let (_, ()) = tokio::join!(client.error("Lose", json!({})), async {
        app.next("HandleAction").await;
        app.kill();
    });
    client.error("Gone", json!({})).await;

    let failed = said(&myxi, FAILED, 10).await;
    let all: Vec<_> = failed.iter().map(told).collect();
    let action = "HandleAction";
    for (rpc, name, status, problem) in [
        (action, "Buy", "INTERNAL", r#"out of\n\"paper\""#),
        (action, "Sell", "INTERNAL", r#"out of\n\"paper\""#),
        (action, "Stop", "UNAVAILABLE", "Cancelling all calls"),
        (action, "Full", "RESOURCE_EXHAUSTED", "message too large"),
        (action, "Late", "DEADLINE_EXCEEDED", "the database is slow"),
        (action, "Hang", "timeout", "did not answer in time"),
        (action, "Lose", "lost", ""),
        (action, "Gone", "unreached", ""),
        ("CheckSubscriptions", "", "INTERNAL", "no such table"),
        ("SessionClosed", "", "INTERNAL", "cannot note it"),
    ] {
        let fits = |line: &&(_, _, _, &str)| {
            (line.0, line.1, line.2) == (rpc, name, status) && line.3.contains(problem)
        };
        assert!(all.iter().any(|line| fits(&line)), "{rpc} {name} {status} {problem}: {all:#?}");
    }
    let of_client = failed.iter().filter(|line| line["session"] == client.id.as_str()).count();
    assert_eq!(of_client, 9, "{failed:#?}");
    let broken = said(&myxi, BROKEN, 2).await;
    let broken: Vec<_> = broken.iter().map(told).collect();
    assert!(
        broken[0].3.contains("events[0]") && broken[1].3.contains("auth and data"),
        "{broken:?}"
    );
    assert_eq!((broken[0].1, broken[1].1), ("Nonsense", "Big"));
    for answer in ["No", "Who", "What"] {
        assert!(!all.iter().any(|line| line.1 == answer), "{answer} is no failure: {all:#?}");
    }
}

#[tokio::test]
async fn a_call_that_gets_no_turn_is_said_too() {
    let app = TestHandler::start().await;
    app.hang_on("Hang").on("Buy", |_| Ok(Default::default()));
    let flags = ["--exchange=widgets", "--max-in-flight=1", "--action-timeout=1h"];
    let myxi = Myxi::serve(&app, &flags).await;
    let mut first = myxi.client().await;
    first.send(json!({"action": "Hang"})).await;
    app.next("HandleAction").await;
    let mut second = myxi.client().await;
    assert_eq!(second.error("Buy", json!({})).await["error"], "Busy");
    let line = said(&myxi, FAILED, 1).await.remove(0);
    let (rpc, action, status, problem) = told(&line);
    assert_eq!((rpc, action, status), ("HandleAction", "Buy", "no_turn"));
    assert!(problem.contains("in flight"), "{line}");
}

/// Over all threads together; and what differs only in numbers and ids is the same.
#[tokio::test]
async fn what_was_left_out_is_counted_and_the_count_is_said() {
    let app = TestHandler::start().await;
    app.on("Buy", |request| {
        let id = request.session.map(|session| session.id).unwrap_or_default();
        Err(Status::internal(format!("no row {} for session {id} in 17ms", request.payload)))
    });
    let flags = ["--exchange=widgets", "--worker-threads=3"];
    let mut myxi = Myxi::serve(&app, &flags).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(myxi.client().await);
    }
    let started = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        client.error("Buy", json!(number)).await;
    }
    within(DEADLINE, "all of them", async {
        while accounted(&myxi) < 6 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let counted = lines(&myxi, FAILED);
    let intervals = started.elapsed().as_secs() / INTERVAL.as_secs();
    assert!(counted.len() as u64 <= 1 + intervals, "{counted:#?}");
    assert_eq!(counted[0]["left_out"], Value::Null, "{counted:#?}");
    let last = clients.last().map(|client| client.id.as_str());
    assert_eq!(counted.last().expect("a line")["session"].as_str(), last, "{counted:#?}");

    // What is not said yet is said in the end.
    clients[0].error("Buy", json!(7)).await;
    myxi.signal("TERM");
    assert_eq!(myxi.ended().await.code(), Some(0));
    assert_eq!(accounted(&myxi), 7, "{:#?}", myxi.log());
}

/// Nobody answers: the fastest way for an action to fail.
#[tokio::test]
async fn names_that_are_invented_are_bounded_in_lines_memory_and_metrics() {
    const NAMES: usize = 100_000;
    const CLIENTS: usize = 4;
    /// In bytes: each name would be 100 of them at least, twice.
    const KEPT_MAX: i64 = 8 << 20;
    let app = TestHandler::start().await;
    app.on("Buy", |_| Ok(Default::default()));
    let flags = ["--exchange=widgets", "--worker-threads=2"];
    let myxi = Myxi::serve(&app, &flags).await;
    myxi.client().await.request("Buy", json!({})).await;
    app.kill();
    let started = Instant::now();
    invent(&myxi, 0, 5_000).await;
    let before = Process(myxi.pid()).memory();
    let floods = (1..=CLIENTS).map(|number| invent(&myxi, number, NAMES / CLIENTS));
    futures_util::future::join_all(floods).await;
    let kept = Process(myxi.pid()).memory() - before;
    assert!(kept < KEPT_MAX, "{kept} bytes for {NAMES} names");

    // What fails otherwise is not hidden by them.
    myxi.client().await.error("Subscribe", json!({"exchange": "widgets", "routing_key": 1})).await;
    within(DEADLINE, "the other failure", async {
        while !lines(&myxi, FAILED).iter().any(|line| line["rpc"] == "CheckSubscriptions") {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Each is in a line or in a number, in the end.
    let all = (NAMES + 5_000) as u64;
    within(DEADLINE, "what was left out", async {
        while accounted(&myxi) < all {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let failed = lines(&myxi, FAILED);
    let intervals = 1 + started.elapsed().as_secs() / INTERVAL.as_secs();
    assert!(failed.len() as u64 <= intervals * LINES_MAX, "{failed:#?}");
    for line in &failed {
        assert!(line.to_string().len() < 1_000, "{line}");
    }

    let scrape = Scrape::of(&myxi).await;
    assert!(!scrape.text.contains("Invented"));
    let (_, overview) = http::get(myxi.admin, "/api/overview", "localhost").await;
    let overview: Value = serde_json::from_str(&overview).expect("JSON");
    let rows = overview["actions"].as_array().expect("rows");
    let only_fails = |row: &&Value| row["count"] == row["errors"] && row["action"] != "other";
    assert_eq!(rows.iter().filter(only_fails).count(), 20, "{overview}");
    assert!(rows.iter().any(|row| row["action"] == "Buy"), "{overview}");
}

/// Sends so many actions of names that nobody has heard of, each long and hard to print, and
/// then some that could be.
async fn invent(myxi: &Myxi, number: usize, names: usize) {
    let mut client = myxi.client().await;
    let batch = 500;
    for first in (0..names).step_by(batch) {
        for name in first..first + batch {
            let long = "\u{1b}[2J\u{e9}".repeat(20);
            let odd = if name + 100 < names { &*long } else { "" };
            let action = format!("Invented{number}-{name}{odd}");
            client.send(json!({"action": action, "tag": name})).await;
        }
        for name in first..first + batch {
            let reply = client.next().await;
            assert_eq!((&reply["event"], &reply["tag"]), (&json!("Error"), &json!(name)));
        }
    }
}

#[tokio::test]
async fn each_origin_that_is_refused_has_its_line() {
    let app = TestHandler::start().await;
    let myxi = Myxi::serve(&app, &["--exchange=widgets"]).await;
    for origin in ["https://one.example", "https://one.example", "https://two.example"] {
        let mut request = format!("ws://{}/", myxi.clients).into_client_request().expect("a URL");
        request.headers_mut().insert("origin", origin.parse().expect("a header"));
        assert!(Client::connect_with(request, myxi.clients).await.is_err());
    }
    let flag = |host: &str| format!("--allow-origin https://{host}.example");
    said(&myxi, &flag("two"), 1).await;
    assert_eq!(lines(&myxi, &flag("one")).len(), 1);
}

#[tokio::test]
async fn calls_to_the_gateway_that_are_refused_are_said_and_counted() {
    let app = TestHandler::start().await;
    let myxi = Myxi::serve(&app, &["--exchange=widgets", "--grpc-token=s3cret"]).await;
    let mut api = myxi.api().await;
    let bearing = |token: Option<&str>| {
        let mut request = Request::new(push_request("widgets", "1", "Changed", &json!(1)));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a header");
            request.metadata_mut().insert("authorization", value);
        }
        request
    };
    for (token, code) in [
        (None, Code::Unauthenticated),
        (Some("gu3ss"), Code::Unauthenticated),
        (None, Code::Unauthenticated),
        (Some("s3cret"), Code::Ok),
    ] {
        let pushed = api.push_event(bearing(token)).await;
        assert_eq!(pushed.map_or_else(|status| status.code(), |_| Code::Ok), code, "{token:?}");
    }
    let refused = said(&myxi, "a call to the Gateway service was refused", 2).await;
    assert_eq!(refused.len(), 2, "{refused:#?}");
    for (line, problem) in refused.iter().zip(["is missing", "is another"]) {
        let (rpc, _, status, said) = told(line);
        assert_eq!((rpc, status), ("PushEvent", "UNAUTHENTICATED"), "{line}");
        assert_eq!(line["peer"], "127.0.0.1");
        assert!(said.contains(problem) && said.contains("--grpc-token"), "{line}");
        assert!(!line.to_string().contains("gu3ss"), "{line}");
    }
    let scrape = Scrape::of(&myxi).await;
    let count =
        |reason| scrape.get(&format!("myxi_gateway_calls_refused_total{{reason=\"{reason}\"}}"));
    assert_eq!((count("no_token"), count("wrong_token")), (Some(2.0), Some(1.0)));
    assert_eq!((count("overload"), count("no_service")), (Some(0.0), Some(0.0)));
}
