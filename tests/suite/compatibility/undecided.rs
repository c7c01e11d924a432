//! A page asks who it is, and for its subscriptions, when it has connected, and never again: where
//! that cannot be decided it is sent away, and comes back to ask.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tonic::Status;

use super::{FLAGS, both, client_at, gateway, page};
use crate::support::{
    client::Client,
    gateway::{Addresses, Gateway},
    handler::{
        TestHandler,
        proto::{CheckSubscriptionsResponse, HandleActionResponse, Topic},
        reply,
    },
    rabbitmq::RabbitMq,
    unique,
};

const AUTHENTICATE: &str = "Authenticate";

/// Whoever says who they are is believed.
async fn application() -> TestHandler {
    let app = TestHandler::start().await;
    app.on(AUTHENTICATE, |_| {
        let HandleActionResponse { session_update, .. } = reply::set_auth(r#"{"user":1}"#);
        Ok(HandleActionResponse { session_update, ..reply::events([("Authenticated", "{}")]) })
    });
    app
}

async fn authenticate(client: &mut Client) {
    assert_eq!(client.request(AUTHENTICATE, json!({})).await["event"], "Authenticated");
}

/// Sends an action, and is closed without a word.
async fn is_sent_away(client: &mut Client, action: &str, payload: Value) {
    client.send(json!({"action": action, "tag": 1, "payload": payload})).await;
    match client.message().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1013),
        other => panic!("{action}: {other:?}"),
    }
}

fn widgets(keys: &[u32]) -> Value {
    json!({"exchange": "widgets", "routing_keys": keys})
}

#[tokio::test]
async fn an_application_that_is_away_sends_away_whoever_has_not_been_told_who_they_are() {
    let app = application().await;
    let gateway = gateway(&app).await;
    let [mut documented, mut nobody] = both(&gateway).await;
    let mut known = page(&gateway).await;
    authenticate(&mut known).await;
    known.subscribe("widgets", "7").await;

    app.kill();
    let error = documented.error(AUTHENTICATE, json!({})).await;
    assert_eq!(error["error"], "ApplicationUnavailable");
    is_sent_away(&mut nobody, AUTHENTICATE, json!({})).await;
    // Who is known acts as it likes, and is told; what it cannot ask for again it must not miss.
    let error = known.error("Buy", json!({})).await;
    assert_eq!(error, json!({"error": "ApplicationUnavailable"}));
    gateway.push("widgets", "7", "Changed", json!({})).await;
    known.event("Changed").await;
    is_sent_away(&mut known, "Subscribe", widgets(&[8])).await;

    app.restart();
    let mut back = page(&gateway).await;
    loop {
        // It is looked for, and found within a moment.
        back.send(json!({"action": AUTHENTICATE, "tag": 1})).await;
        match back.message().await {
            Some(Ok(Message::Text(text))) => {
                assert!(text.contains(r#""Authenticated""#), "{text}");
                break;
            }
            _ => back = page(&gateway).await,
        }
    }
    back.subscribe("widgets", "8").await;
    assert!(documented.quiet().await, "it is still there");
}

#[tokio::test]
async fn an_application_that_does_not_answer_sends_away_as_well() {
    let app = application().await;
    app.hang_on("Hang");
    app.on_check_async(|_| std::future::pending());
    let flags = [FLAGS[0], FLAGS[1], "--action-timeout=2s"];
    let gateway = Gateway::with(&app, &flags).await;
    let [mut documented, mut nobody] = both(&gateway).await;
    assert_eq!(documented.error("Hang", json!({})).await["error"], "ActionTimeout");
    is_sent_away(&mut nobody, "Hang", json!({})).await;
    let mut known = page(&gateway).await;
    authenticate(&mut known).await;
    assert_eq!(known.error("Hang", json!({})).await, json!({"error": "ActionTimeout"}));
    // Of keys that are none it is not told first: it would be taken for an answer.
    let payload = json!({"exchange": "widgets", "routing_keys": [1.5, 7, 8]});
    is_sent_away(&mut known, "Subscribe", payload).await;
}

#[tokio::test]
async fn an_application_that_says_it_is_away_or_busy_sends_away() {
    let app = application().await;
    app.on("Away", |_| Err(Status::unavailable("")));
    app.on("Busy", |_| Err(Status::resource_exhausted("")));
    app.on_check(|_| Err(Status::unavailable("")));
    let gateway = gateway(&app).await;
    for action in ["Away", "Busy"] {
        is_sent_away(&mut page(&gateway).await, action, json!({})).await;
    }
    is_sent_away(&mut page(&gateway).await, "Subscribe", widgets(&[7])).await;
}

#[tokio::test]
async fn a_broker_that_was_never_there_sends_away_whoever_subscribes() {
    let app = application().await;
    let flags = [FLAGS[0], FLAGS[1], "--rabbitmq-url=amqp://127.0.0.1:9"];
    let gateway = Gateway::unready(&app, &flags).await;
    let [mut documented, mut page] = both(&gateway).await;
    let error = documented.error("Subscribe", widgets(&[7])).await;
    assert_eq!(error["error"], "ExchangeUnavailable");
    authenticate(&mut page).await;
    is_sent_away(&mut page, "Subscribe", widgets(&[7])).await;
}

/// It would never hear of that, and nobody would ask for it again.
#[tokio::test]
async fn what_the_application_cannot_subscribe_it_to_sends_away_as_well() {
    let app = application().await;
    app.on("Follow", |_| {
        let topic = Topic { exchange: "widgets".into(), routing_key: "7".into() };
        Ok(HandleActionResponse { subscribe: vec![topic], ..Default::default() })
    });
    let flags = [FLAGS[0], FLAGS[1], "--rabbitmq-url=amqp://127.0.0.1:9"];
    let gateway = Gateway::unready(&app, &flags).await;
    let [mut documented, mut page] = both(&gateway).await;
    documented.send(json!({"action": "Follow"})).await;
    let error = documented.event("Error").await;
    assert_eq!(error["payload"]["error"], "ExchangeUnavailable");
    authenticate(&mut page).await;
    is_sent_away(&mut page, "Follow", json!({})).await;
}

/// It would be the same the next time: pages would come for ever.
#[tokio::test]
async fn what_fails_whenever_it_is_asked_sends_nobody_away() {
    let app = TestHandler::start().await;
    app.on("Fail", |_| Err(Status::internal("a bug")));
    app.on("Refuse", |_| Ok(reply::error("ApplicationUnavailable", "{}", true)));
    app.on_check(|_| Ok(CheckSubscriptionsResponse::default()));
    let gateway = gateway(&app).await;
    let mut page = page(&gateway).await;
    assert_eq!(page.request("Fail", json!({})).await["event"], "InternalError");
    assert_eq!(page.error("Dance", json!({})).await["error"], "InvalidAction");
    // In the application's own words, whichever they are.
    assert_eq!(page.error("Refuse", json!({})).await["error"], "ApplicationUnavailable");
    assert_eq!(page.request("Subscribe", widgets(&[7])).await["event"], "InternalError");
    assert!(page.quiet().await);
}

/// Pages that are there at the same time; more with `MYXI_PAGES`.
const PAGES: usize = 400;
const ROUNDS: usize = 3;
const IN_FLIGHT: usize = 8;

/// A crowd that nobody answers comes back again and again, and asks no more than is allowed.
#[tokio::test]
async fn a_crowd_that_comes_back_makes_no_more_calls_than_may_be_in_flight() {
    let pages = std::env::var("MYXI_PAGES").map_or(PAGES, |pages| pages.parse().expect("a number"));
    let app = TestHandler::start().await;
    app.hang_on(AUTHENTICATE);
    let (in_flight, connections) =
        (format!("--max-in-flight={IN_FLIGHT}"), format!("--max-connections={}", pages + 10));
    // Who is answered by nobody holds its call to the end.
    let flags = [FLAGS[0], FLAGS[1], &in_flight, &connections, "--action-timeout=1h"];
    let gateway = Gateway::with(&app, &flags).await;
    let _held = join_all((0..IN_FLIGHT).map(async |_| {
        let mut page = page(&gateway).await;
        page.send(json!({"action": AUTHENTICATE})).await;
        app.next("HandleAction").await;
        page
    }))
    .await;
    for _ in 0..ROUNDS {
        join_all((0..pages).map(|_| turned_away(&gateway))).await;
    }
    let calls = app.seen().await.iter().filter(|call| call.method == "HandleAction").count();
    println!("{pages} pages, {ROUNDS} times each: {calls} calls beside the {IN_FLIGHT} under way");
    assert_eq!(calls, 0, "beside those that are under way");
}

async fn turned_away(gateway: &Addresses) {
    let mut page = client_at(gateway, "/pushwss").await;
    page.patience = Duration::from_secs(300);
    is_sent_away(&mut page, AUTHENTICATE, json!({})).await;
}

/// As the original's client does: whoever is sent away is back later, all of them.
#[tokio::test]
async fn a_crowd_is_known_once_the_application_is_back() {
    const CROWD: usize = 50;
    let app = application().await;
    let gateway = gateway(&app).await;
    app.kill();
    let coming_back = join_all((0..CROWD).map(async |_| {
        loop {
            let mut page = page(&gateway).await;
            page.send(json!({"action": AUTHENTICATE})).await;
            if let Some(Ok(Message::Text(_))) = page.message().await {
                page.subscribe("widgets", "7").await;
                return page;
            }
            // A page waits for 5 s; this one is in more of a hurry.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }));
    let (mut back, ()) = tokio::join!(coming_back, async {
        is_sent_away(&mut page(&gateway).await, AUTHENTICATE, json!({})).await;
        app.restart();
    });
    gateway.push("widgets", "7", "Changed", json!({})).await;
    for page in &mut back {
        page.event("Changed").await;
    }
}

/// While the broker is away a page that has been subscribed stays so.
#[tokio::test]
async fn a_broker_that_comes_back_costs_no_page_its_subscription() {
    let mut broker = RabbitMq::exclusive().await;
    let app = application().await;
    let exchange = unique("widgets");
    let flags = [
        format!("--exchange={exchange}"),
        format!("--rabbitmq-url={}", broker.url()),
        FLAGS[1].to_owned(),
    ];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let gateway = Gateway::with(&app, &flags).await;
    let mut page = page(&gateway).await;
    authenticate(&mut page).await;
    page.subscribe(&exchange, "7").await;
    broker.kill().await;
    assert!(page.quiet().await);
    page.subscribe(&exchange, "8").await;
    broker.restart().await;
    gateway.ready().await;
    gateway.push(&exchange, "8", "Changed", json!({})).await;
    page.event("Changed").await;
}
