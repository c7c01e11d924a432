//! Re-checks, and their races: only a clear no of the application ends a subscription, and
//! only the one that was asked about.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tonic::Status;

use crate::support::{
    client::Client,
    gateway::Gateway,
    handler::{
        Call, TestHandler,
        proto::{CheckReason, CheckSubscriptionsResponse, Decision},
        reply,
    },
};

/// No re-check but those that a change of auth brings about.
const ONLY_BY_AUTH: [&str; 3] =
    ["--exchange=widgets", "--recheck-interval=1h", "--action-timeout=1h"];

type Answer = Result<CheckSubscriptionsResponse, Status>;

/// An application whose answers to re-checks are given by the test, one at a time; what a
/// client subscribes to is allowed at once. `Auth` sets the auth to its payload.
struct Judge {
    app: TestHandler,
    waiting: Arc<Mutex<VecDeque<oneshot::Sender<Answer>>>>,
}

impl Judge {
    async fn start() -> Self {
        let app = TestHandler::start().await;
        let waiting = Arc::<Mutex<VecDeque<oneshot::Sender<Answer>>>>::default();
        let asked = waiting.clone();
        app.on("Auth", |request| Ok(reply::set_auth(&request.payload)));
        app.on("ClearAuth", |_| Ok(reply::clear_auth()));
        app.on_check_async(move |request| {
            let (answer, answered) = oneshot::channel();
            let recheck = request.reason() == CheckReason::Recheck;
            if recheck {
                asked.lock().unwrap().push_back(answer);
            }
            async move {
                if !recheck {
                    return Ok(reply::allow_all(&request));
                }
                answered.await.expect("the test answers")
            }
        });
        Self { app, waiting }
    }

    /// The next re-check, which waits for its answer.
    async fn recheck(&self) -> (Call, oneshot::Sender<Answer>) {
        loop {
            let call = self.app.next("CheckSubscriptions").await;
            if call.check().reason() == CheckReason::Recheck {
                // Recorded before it is scripted, in another thread.
                loop {
                    if let Some(answer) = self.waiting.lock().unwrap().pop_front() {
                        return (call, answer);
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

async fn set_auth(client: &mut Client, auth: Value) {
    assert_eq!(client.request("Auth", auth).await["event"], "Done");
}

fn auth_of(call: &Call) -> Option<&str> {
    call.check().session.as_ref().expect("a session").auth.as_deref()
}

fn keys_of(call: &Call) -> Vec<&str> {
    let mut keys: Vec<_> =
        call.check().topics.iter().map(|topic| topic.routing_key.as_str()).collect();
    keys.sort_unstable();
    keys
}

fn deny(call: &Call) -> Answer {
    Ok(reply::deny_all(call.check()))
}

/// Still subscribed, and told nothing else.
async fn is_still_delivered(gateway: &Gateway, client: &mut Client, key: &str) {
    gateway.push("widgets", key, "Pushed", json!({})).await;
    assert_eq!(client.next().await["event"], "Pushed");
    assert!(client.quiet().await);
}

#[tokio::test]
async fn a_denied_recheck_ends_the_subscription_and_says_so_without_a_tag() {
    let judge = Judge::start().await;
    let gateway = Gateway::with(&judge.app, &ONLY_BY_AUTH).await;
    let mut client = gateway.client().await;
    for key in ["stays", "denied", "unspecified", "unknown"] {
        client.subscribe("widgets", key).await;
    }
    client.request("Subscribe", json!({"exchange": "widgets", "routing_key": 77})).await;
    set_auth(&mut client, json!(1)).await;
    let (call, answer) = judge.recheck().await;
    assert_eq!(keys_of(&call), ["77", "denied", "stays", "unknown", "unspecified"]);
    assert_eq!(auth_of(&call), Some("1"));
    let decide = |key: &str| match key {
        "stays" => Decision::Allow,
        "unspecified" => Decision::Unspecified,
        "unknown" => Decision::UnknownExchange,
        _ => Decision::Deny,
    };
    let decisions = call.check().topics.iter().map(|topic| decide(&topic.routing_key));
    answer.send(Ok(reply::decisions(decisions))).expect("it waits");
    let mut ended = Vec::new();
    for _ in 0..4 {
        let message = client.text().await;
        let (start, rest) = message.split_once(r#""routing_key":"#).expect("a key");
        let expected =
            r#"{"event":"Unsubscribed","payload":{"exchange":"widgets","exchange_name":"widgets","#;
        assert_eq!(start, expected);
        ended.push(rest.strip_suffix(r#","auto":true}}"#).expect("by itself").to_owned());
    }
    ended.sort();
    assert_eq!(ended, [r#""denied""#, r#""unknown""#, r#""unspecified""#, "77"]);
    assert_eq!(client.subscriptions().await, json!({"widgets": ["stays"]}));
    for key in ["denied", "77", "unknown"] {
        gateway.push("widgets", key, "Ended", json!({})).await;
    }
    is_still_delivered(&gateway, &mut client, "stays").await;
}

#[tokio::test]
async fn a_failing_recheck_changes_nothing() {
    let judge = Judge::start().await;
    let flags = ["--exchange=widgets", "--recheck-interval=1h", "--action-timeout=8s"];
    let gateway = Gateway::with(&judge.app, &flags).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "k").await;
    let mut version = 0;
    let mut next = async |client: &mut Client| {
        version += 1;
        set_auth(client, json!(version)).await;
        loop {
            let (call, answer) = judge.recheck().await;
            if auth_of(&call) == Some(&*version.to_string()) {
                return (call, answer);
            }
            // The one before it failed, and is asked again.
            let _ = answer.send(Err(Status::internal("the auth is another by now")));
        }
    };
    for failure in [
        Err(Status::permission_denied("no")),
        Err(Status::unauthenticated("no")),
        Err(Status::unimplemented("no")),
        Err(Status::internal("no")),
        Err(Status::unavailable("no")),
        Ok(reply::decisions([])),
        Ok(reply::decisions([Decision::Deny, Decision::Deny])),
    ] {
        let (_, answer) = next(&mut client).await;
        answer.send(failure).expect("it waits");
        is_still_delivered(&gateway, &mut client, "k").await;
    }
    let (_, hanging) = next(&mut client).await;
    // Its deadline passes: the next one is asked all the same.
    let (call, answer) = next(&mut client).await;
    drop(hanging);
    answer.send(deny(&call)).expect("it waits");
    assert_eq!(client.event("Unsubscribed").await["payload"]["auto"], true);
}

#[tokio::test]
async fn a_recheck_after_a_change_of_auth_is_asked_again_until_it_is_answered() {
    let judge = Judge::start().await;
    let gateway = Gateway::with(&judge.app, &ONLY_BY_AUTH).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "k").await;
    set_auth(&mut client, json!(1)).await;
    let (_, answer) = judge.recheck().await;
    answer.send(Err(Status::unavailable("not now"))).expect("it waits");
    let (call, answer) = judge.recheck().await;
    assert_eq!(auth_of(&call), Some("1"));
    answer.send(deny(&call)).expect("it waits");
    assert_eq!(client.event("Unsubscribed").await["payload"]["auto"], true);
}

#[tokio::test]
async fn an_application_that_is_gone_takes_no_subscription_away() {
    let app = TestHandler::start().await;
    app.on("Auth", |_| Ok(reply::set_auth("1")));
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--recheck-interval=50ms"]).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "k").await;
    app.next("CheckSubscriptions").await;
    app.next("CheckSubscriptions").await;
    app.kill();
    // New ones fail closed, what is there stays.
    let payload = json!({"exchange": "widgets", "routing_key": "new"});
    let error = client.error("Subscribe", payload).await;
    assert_eq!(error["error"], "ApplicationUnavailable", "{error}");
    for _ in 0..10 {
        is_still_delivered(&gateway, &mut client, "k").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.subscriptions().await, json!({"widgets": ["k"]}));
    app.restart();
    app.on_check(|request| Ok(reply::deny_all(&request)));
    assert_eq!(client.event("Unsubscribed").await["payload"]["routing_key"], "k");
}

#[tokio::test]
async fn a_denial_does_not_end_a_subscription_that_came_since() {
    let judge = Judge::start().await;
    let gateway = Gateway::with(&judge.app, &ONLY_BY_AUTH).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "k").await;
    client.subscribe("widgets", "old").await;
    set_auth(&mut client, json!(1)).await;
    let (call, answer) = judge.recheck().await;
    assert_eq!(keys_of(&call), ["k", "old"]);
    let payload = json!({"exchange": "widgets", "routing_key": "k"});
    assert_eq!(client.request("Unsubscribe", payload).await["event"], "Unsubscribed");
    client.subscribe("widgets", "k").await;
    client.subscribe("widgets", "new").await;
    answer.send(deny(&call)).expect("it waits");
    let ended = client.event("Unsubscribed").await;
    assert_eq!(ended["payload"]["routing_key"], "old", "{ended}");
    is_still_delivered(&gateway, &mut client, "k").await;
    assert_eq!(client.subscriptions().await, json!({"widgets": ["k", "new"]}));
}

#[tokio::test]
async fn a_denial_by_an_auth_that_is_no_longer_so_does_not_count() {
    let judge = Judge::start().await;
    let gateway = Gateway::with(&judge.app, &ONLY_BY_AUTH).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "k").await;
    set_auth(&mut client, json!("guest")).await;
    let (first, denial) = judge.recheck().await;
    assert_eq!(auth_of(&first), Some(r#""guest""#));
    set_auth(&mut client, json!("admin")).await;
    // At once: the first has not been answered yet.
    let (second, allowance) = judge.recheck().await;
    assert_eq!(auth_of(&second), Some(r#""admin""#));
    let _ = denial.send(deny(&first));
    is_still_delivered(&gateway, &mut client, "k").await;
    allowance.send(Ok(reply::allow_all(second.check()))).expect("it waits");
    is_still_delivered(&gateway, &mut client, "k").await;
    // To be nobody is a change as well, also when the same auth was set before.
    for (action, auth) in [("Auth", Some(r#""admin""#)), ("ClearAuth", None)] {
        client.request(action, json!("admin")).await;
        let (call, answer) = judge.recheck().await;
        assert_eq!(auth_of(&call), auth);
        let decision = if auth.is_some() { Decision::Allow } else { Decision::Deny };
        answer.send(Ok(reply::decisions([decision]))).expect("it waits");
    }
    client.event("Unsubscribed").await;
    assert_eq!(client.subscriptions().await, json!({}));
}

#[tokio::test]
async fn a_recheck_does_not_hold_up_actions_and_an_unsubscribed_one_is_not_ended_twice() {
    let judge = Judge::start().await;
    let gateway = Gateway::with(&judge.app, &ONLY_BY_AUTH).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "k").await;
    set_auth(&mut client, json!(1)).await;
    let (call, answer) = judge.recheck().await;
    is_still_delivered(&gateway, &mut client, "k").await;
    let payload = json!({"exchange": "widgets", "routing_key": "k"});
    assert_eq!(client.request("Unsubscribe", payload).await["event"], "Unsubscribed");
    answer.send(deny(&call)).expect("it waits");
    set_auth(&mut client, json!(2)).await;
    assert!(client.quiet().await);
}

#[tokio::test]
async fn rechecks_come_at_the_interval_one_call_for_all_that_a_session_holds() {
    const INTERVAL: Duration = Duration::from_millis(200);
    const ROUNDS: u32 = 5;
    let app = TestHandler::start().await;
    let gateway =
        Gateway::with(&app, &["--exchange=widgets,gadgets", "--recheck-interval=200ms"]).await;
    let began = Instant::now();
    let mut client = gateway.client().await;
    let _holds_nothing = gateway.client().await;
    for (exchange, key) in [("widgets", "a"), ("widgets", "b"), ("gadgets", "a")] {
        client.subscribe(exchange, key).await;
    }
    let mut rounds = 0;
    while rounds < ROUNDS {
        let call = app.next("CheckSubscriptions").await;
        if call.check().reason() == CheckReason::Subscribe {
            continue;
        }
        // One may come before all three are held.
        if rounds == 0 && call.check().topics.len() < 3 {
            continue;
        }
        assert_eq!(call.check().session.as_ref().expect("a session").id, client.id);
        assert_eq!(call.check().topics.len(), 3);
        rounds += 1;
        // Jittered by a quarter; a busy machine is late, never early.
        assert!(began.elapsed() >= INTERVAL * 3 / 4 * rounds, "{:?}", began.elapsed());
    }
    assert!(client.quiet().await, "an allowed re-check says nothing");
}
