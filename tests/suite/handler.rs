//! The client of the application: what its answers and its failures mean, each made to
//! happen for real.

mod connection;
mod service;

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use h2::Reason;
use http::Response;
use myxi::internals::{
    application::{
        Action, ActionReply, Admission, Application, ApplicationError, AuthUpdate, CheckReason,
        ClientInfo, Decision, SessionSnapshot,
        grpc::{ApplicationState, CallLimit, GrpcApplication, GrpcConfig, Shared},
    },
    event::{Exchange, Topic},
    ids::SessionId,
    metrics::Metrics,
    protocol::{Close, ErrorCode},
};
use tokio::{
    io::AsyncWriteExt,
    sync::{Notify, Semaphore},
    time::timeout,
};
use tonic::{Code, Status};

use crate::support::{
    handler::{TestHandler, free_address, proto, reply},
    raw::{self, RawServer},
};

/// Calls are bounded in time, and what comes by itself comes in seconds.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(endpoint: &str) -> GrpcConfig {
    GrpcConfig {
        endpoint: endpoint.parse().unwrap(),
        token: None,
        timeout: Duration::from_secs(10),
        max_reply_size: 1 << 20,
        own_ports: [].into(),
    }
}

/// The only handler of its gateway.
struct Client {
    handler: GrpcApplication,
    state: Arc<ApplicationState>,
}

impl Client {
    fn start(config: GrpcConfig, calls: usize) -> Self {
        Self::sharing(config, Arc::new(CallLimit::new(calls)))
    }

    fn sharing(config: GrpcConfig, calls: Arc<CallLimit>) -> Self {
        let state = Arc::new(ApplicationState::new(&config.endpoint, 1));
        let shared = Shared {
            calls,
            state: state.clone(),
            complaints: Default::default(),
            metrics: Arc::new(Metrics::new(ErrorCode::NAMES)),
        };
        Self { handler: GrpcApplication::start(config, shared, 0), state }
    }

    fn problem(&self) -> Option<String> {
        self.state.problem()
    }

    /// Waits until the application is known to be well.
    async fn ready(&self) {
        until(|| self.problem().is_none()).await;
    }

    /// Waits until this is a part of the problem.
    async fn problem_with(&self, part: &str) -> String {
        until(|| self.problem().is_some_and(|problem| problem.contains(part))).await;
        self.problem().expect("it lasts")
    }
}

impl Deref for Client {
    type Target = GrpcApplication;

    fn deref(&self) -> &GrpcApplication {
        &self.handler
    }
}

fn client(endpoint: &str) -> Client {
    Client::start(config(endpoint), 1_000)
}

/// That it is there is known already.
async fn connected(endpoint: &str) -> Client {
    let client = client(endpoint);
    client.ready().await;
    client
}

fn impatient(endpoint: &str, timeout: Duration) -> Client {
    Client::start(GrpcConfig { timeout, ..config(endpoint) }, 1_000)
}

fn session() -> SessionSnapshot {
    SessionSnapshot {
        id: SessionId::parse("0123456789abcdef").unwrap(),
        client: Arc::new(ClientInfo {
            remote_address: "192.0.2.7".into(),
            path: "/pushwss".into(),
            query: "a=%20b".into(),
            headers: [("cookie".into(), "c=1".into())].into(),
            dialect: Default::default(),
        }),
        auth: Some(r#"{"user":1}"#.into()),
        data: BTreeMap::from([("plan".into(), r#""gold""#.into())]),
    }
}

async fn act(client: &GrpcApplication, name: &str) -> Result<ActionReply, ApplicationError> {
    let action = Action { name, payload: "{}", tag: None };
    timeout(PATIENCE, client.handle_action(&session(), action)).await.expect("calls are bounded")
}

fn topics(keys: &[&str]) -> Vec<Topic> {
    let exchange = Exchange::new("widgets").unwrap();
    keys.iter().map(|key| Topic::new(exchange.clone(), key).unwrap()).collect()
}

async fn check(
    client: &GrpcApplication,
    reason: CheckReason,
) -> Result<Vec<Decision>, ApplicationError> {
    let session = session();
    let topics = topics(&["1", "2"]);
    let check = client.check_subscriptions(&session, &topics, reason);
    timeout(2 * PATIENCE, check).await.expect("calls are bounded")
}

/// The error's name, to compare outcomes by.
fn kind(error: &ApplicationError) -> &'static str {
    match error {
        ApplicationError::Refused { .. } => "Refused",
        ApplicationError::Unimplemented => "Unimplemented",
        ApplicationError::Unauthenticated => "Unauthenticated",
        ApplicationError::PermissionDenied => "PermissionDenied",
        ApplicationError::InvalidPayload(_) => "InvalidPayload",
        ApplicationError::Timeout => "Timeout",
        ApplicationError::Unreachable(_) => "Unreachable",
        ApplicationError::Lost(_) => "Lost",
        ApplicationError::Unavailable(_) => "Unavailable",
        ApplicationError::Exhausted(_) => "Exhausted",
        ApplicationError::Busy => "Busy",
        ApplicationError::Failed(_) => "Failed",
    }
}

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(result: &Result<T, ApplicationError>, expected: &str) {
    match result {
        Err(error) if kind(error) == expected => {}
        other => panic!("expected {expected}, got {other:?}"),
    }
}

#[tokio::test]
async fn the_application_gets_all_it_decides_from_as_it_was_written() {
    let app = TestHandler::start().await;
    app.on("Buy", |_| Ok(reply::events([])));
    let action = Action {
        name: "Buy",
        payload: r#"{"n":123456789012345678901234567890, "x":1e2}"#,
        tag: Some(r#"{"t": 0.10}"#),
    };
    connected(&app.endpoint()).await.handle_action(&session(), action).await.unwrap();

    let call = app.next("HandleAction").await;
    let request = call.action();
    assert_eq!(request.action, "Buy");
    assert_eq!(request.payload, action.payload);
    assert_eq!(request.tag.as_deref(), action.tag);
    let session = request.session.as_ref().unwrap();
    assert_eq!(session.id, "0123456789abcdef");
    assert_eq!(session.auth.as_deref(), Some(r#"{"user":1}"#));
    assert_eq!(session.data["plan"], r#""gold""#);
    assert_eq!(session.remote_address, "192.0.2.7");
    assert_eq!((session.path.as_str(), session.query.as_str()), ("/pushwss", "a=%20b"));
    assert_eq!(session.headers["cookie"], "c=1");
}

#[tokio::test]
async fn a_reply_arrives_whole() {
    let app = TestHandler::start().await;
    app.on("Buy", |_| {
        let topic =
            |key: &str| proto::Topic { exchange: "widgets".into(), routing_key: key.into() };
        Ok(proto::HandleActionResponse {
            events: reply::events([("Bought", r#"{"n":1.0}"#), ("Empty", "")]).events,
            session_update: Some(proto::SessionUpdate {
                set_auth: Some("7".into()),
                clear_auth: false,
                set_data: [("cart".to_owned(), "[1]".to_owned())].into(),
                remove_data: vec!["plan".into()],
            }),
            subscribe: vec![topic("new"), proto::Topic::default()],
            unsubscribe: vec![topic("old")],
            disconnect: Some(proto::Disconnect { code: 4001, reason: "later".into() }),
            error: None,
        })
    });
    let client = connected(&app.endpoint()).await;
    let reply = act(&client, "Buy").await.unwrap();

    let events: Vec<_> =
        reply.events.iter().map(|event| (&*event.name, event.payload.get())).collect();
    assert_eq!(events, [("Bought", r#"{"n":1.0}"#), ("Empty", "{}")]);
    assert_eq!(reply.update.auth, AuthUpdate::Set("7".into()));
    assert_eq!(reply.update.set_data, [("cart".into(), "[1]".into())]);
    assert_eq!(reply.update.remove_data, ["plan".into()]);
    let (empty, new) = (String::new(), String::from("new"));
    assert_eq!(reply.subscribe, [("widgets".into(), new), (empty.clone(), empty)]);
    assert_eq!(reply.unsubscribe, topics(&["old"]));
    assert_eq!(reply.disconnect, Some(Close::new(4001, "later")));
}

#[tokio::test]
async fn a_refusal_carries_its_details() {
    let app = TestHandler::start().await;
    app.on("Buy", |_| Ok(reply::error("SoldOut", r#"{"left":1e400}"#, true)));
    app.on("Bare", |_| Ok(reply::error("SoldOut", "", false)));
    let client = connected(&app.endpoint()).await;
    match act(&client, "Buy").await {
        Err(ApplicationError::Refused { code, details, retryable: true }) => {
            assert_eq!(&*code, "SoldOut");
            assert_eq!(details["left"].get(), "1e400");
        }
        other => panic!("{other:?}"),
    }
    match act(&client, "Bare").await {
        Err(ApplicationError::Refused { details, retryable: false, .. }) => {
            assert!(details.is_empty());
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_status_of_an_action_means_what_the_contract_says() {
    let app = TestHandler::start().await;
    let client = connected(&app.endpoint()).await;
    for (code, expected) in [
        (Code::Unimplemented, "Unimplemented"),
        (Code::Unauthenticated, "Unauthenticated"),
        (Code::PermissionDenied, "PermissionDenied"),
        (Code::InvalidArgument, "InvalidPayload"),
        (Code::DeadlineExceeded, "Timeout"),
        (Code::Unavailable, "Unavailable"),
        (Code::ResourceExhausted, "Exhausted"),
        (Code::Cancelled, "Unavailable"),
        (Code::Unknown, "Failed"),
        (Code::NotFound, "Failed"),
        (Code::AlreadyExists, "Failed"),
        (Code::FailedPrecondition, "Failed"),
        (Code::Aborted, "Failed"),
        (Code::OutOfRange, "Failed"),
        (Code::Internal, "Failed"),
        (Code::DataLoss, "Failed"),
    ] {
        app.on("Act", move |_| Err(Status::new(code, "größer als \"5\"")));
        let result = act(&client, "Act").await;
        assert_kind(&result, expected);
        let message = "größer als \"5\"";
        match result {
            Err(ApplicationError::InvalidPayload(heard)) => assert_eq!(heard, message),
            // As it came, for the log.
            Err(ApplicationError::Unavailable(heard)) => {
                let name = if code == Code::Cancelled { "CANCELLED" } else { "UNAVAILABLE" };
                assert_eq!(heard, format!("it answered {name}: {message}"));
            }
            Err(ApplicationError::Exhausted(heard)) => {
                assert_eq!(heard, format!("it answered RESOURCE_EXHAUSTED: {message}"));
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_failing_check_is_never_a_denial() {
    let app = TestHandler::start().await;
    let client = connected(&app.endpoint()).await;
    for (code, expected) in [
        (Code::PermissionDenied, "Failed"),
        (Code::Unauthenticated, "Unavailable"),
        (Code::Unimplemented, "Unavailable"),
        (Code::InvalidArgument, "Failed"),
        (Code::NotFound, "Failed"),
        (Code::Internal, "Failed"),
        (Code::DeadlineExceeded, "Timeout"),
        (Code::Unavailable, "Unavailable"),
        (Code::ResourceExhausted, "Exhausted"),
    ] {
        app.on_check(move |_| Err(Status::new(code, "no")));
        assert_kind(&check(&client, CheckReason::Subscribe).await, expected);
    }
}

#[tokio::test]
async fn unknown_decisions_deny_and_a_wrong_count_is_nonsense() {
    let app = TestHandler::start().await;
    let client = connected(&app.endpoint()).await;
    let answer = |decisions: &'static [i32]| {
        app.on_check(move |_| {
            Ok(proto::CheckSubscriptionsResponse { decisions: decisions.into() })
        });
    };
    for (numbers, expected) in [
        (&[1, 2], [Decision::Allow, Decision::Deny]),
        (&[3, 0], [Decision::UnknownExchange, Decision::Deny]),
        (&[99, -1], [Decision::Deny, Decision::Deny]),
    ] {
        answer(numbers);
        assert_eq!(check(&client, CheckReason::Subscribe).await.unwrap(), expected);
    }
    for numbers in [&[][..], &[1], &[1, 1, 1]] {
        answer(numbers);
        assert_kind(&check(&client, CheckReason::Subscribe).await, "Failed");
    }
}

#[tokio::test]
async fn a_check_tells_why_and_in_portions_of_1000() {
    let app = TestHandler::start().await;
    let client = connected(&app.endpoint()).await;
    let keys: Vec<String> = (0..1_001).map(|i| i.to_string()).collect();
    let topics = topics(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let decisions =
        client.check_subscriptions(&session(), &topics, CheckReason::Recheck).await.unwrap();
    assert_eq!(decisions, vec![Decision::Allow; 1_001]);
    let (first, second) =
        (app.next("CheckSubscriptions").await, app.next("CheckSubscriptions").await);
    assert_eq!(first.check().topics.len(), 1_000);
    assert_eq!(first.check().reason(), proto::CheckReason::Recheck);
    assert_eq!(second.check().topics[0].routing_key, "1000");
}

#[tokio::test]
async fn nonsense_in_a_reply_fails_the_whole_call() {
    let app = TestHandler::start().await;
    let client = connected(&app.endpoint()).await;
    let update = |update: proto::SessionUpdate| proto::HandleActionResponse {
        session_update: Some(update),
        ..Default::default()
    };
    let data = |value: &str| [("k".to_owned(), value.to_owned())].into();
    let bad_topic = proto::Topic { exchange: "amq.topic".into(), routing_key: String::new() };
    for (reply, field) in [
        (reply::events([("Good", "{}"), ("Bad", "{")]), "events[1]"),
        (reply::events([("", "{}")]), "events[0]"),
        (reply::set_auth("{\"a\":}"), "set_auth"),
        (reply::set_auth(""), "set_auth"),
        (update(proto::SessionUpdate { set_data: data("x"), ..Default::default() }), "set_data"),
        (
            update(proto::SessionUpdate {
                set_auth: Some("1".into()),
                clear_auth: true,
                ..Default::default()
            }),
            "auth",
        ),
        (reply::error("", "{}", false), "error.code"),
        (reply::error("Code", "[]", false), "error.details"),
        (reply::error("Code", "{\"a\":1", false), "error.details"),
        (
            proto::HandleActionResponse { unsubscribe: vec![bad_topic], ..Default::default() },
            "unsubscribe[0]",
        ),
    ] {
        app.on("Act", move |_| Ok(reply.clone()));
        match act(&client, "Act").await {
            Err(ApplicationError::Failed(problem)) => assert!(problem.contains(field), "{problem}"),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn nothing_listening_is_unreachable_and_a_problem() {
    let client = client(&format!("http://{}", free_address()));
    assert_eq!(client.problem().as_deref(), Some("not connected yet"));
    // Nobody asked for anything.
    client.problem_with("refused").await;
    assert_kind(&act(&client, "Act").await, "Unreachable");

    let started = Instant::now();
    for _ in 0..1_000 {
        assert_kind(&act(&client, "Act").await, "Unreachable");
    }
    // If each waited for an attempt, it were minutes.
    assert!(started.elapsed() < PATIENCE, "fails fast between attempts");
}

#[tokio::test]
async fn an_application_that_comes_back_is_found_by_itself() {
    let app = TestHandler::start().await;
    app.on("Act", |_| Ok(reply::events([])));
    let client = connected(&app.endpoint()).await;
    act(&client, "Act").await.unwrap();
    app.kill();
    // Told without a call: readiness shows it.
    until(|| client.problem().is_some()).await;
    assert_kind(&act(&client, "Act").await, "Unreachable");

    app.restart();
    client.ready().await;
    act(&client, "Act").await.unwrap();
}

/// Polls what has no event to wait for.
async fn until(condition: impl Fn() -> bool) {
    until_async(async || condition()).await;
}

async fn until_async(condition: impl AsyncFn() -> bool) {
    timeout(PATIENCE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the condition comes true");
}

#[tokio::test]
async fn killed_in_the_middle_of_a_call_is_lost() {
    let app = TestHandler::start().await;
    app.hang_on("Act");
    let client = connected(&app.endpoint()).await;
    let kill = async {
        app.next("HandleAction").await;
        app.kill();
    };
    let (result, ()) = tokio::join!(act(&client, "Act"), kill);
    assert_kind(&result, "Lost");
}

#[tokio::test]
async fn a_hanging_handler_times_out_and_knew_the_deadline() {
    let app = TestHandler::start().await;
    app.hang_on("Act");
    let limit = Duration::from_secs(2);
    let client = impatient(&app.endpoint(), limit);
    client.ready().await;
    let started = Instant::now();
    assert_kind(&act(&client, "Act").await, "Timeout");
    assert!(started.elapsed() >= limit, "{:?}", started.elapsed());

    let call = app.next("HandleAction").await;
    let told = call.header("grpc-timeout").expect("a deadline").strip_suffix('m').unwrap();
    let told = Duration::from_millis(told.parse().unwrap());
    assert!(told <= limit && told > limit / 2, "{told:?}");
}

#[tokio::test]
async fn a_call_that_timed_out_is_cancelled_at_the_application() {
    struct Dropped(Arc<Notify>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let app = TestHandler::start().await;
    let cancelled = Arc::new(Notify::new());
    let on_drop = cancelled.clone();
    app.on_async("Act", move |_| {
        let dropped = Dropped(on_drop.clone());
        async move {
            let _dropped = dropped;
            std::future::pending().await
        }
    });
    let client = impatient(&app.endpoint(), Duration::from_secs(2));
    client.ready().await;
    assert_kind(&act(&client, "Act").await, "Timeout");
    timeout(PATIENCE, cancelled.notified()).await.expect("the handler's call is dropped");
}

#[tokio::test]
async fn a_frozen_application_times_out_when_connected_and_is_unreachable_when_not() {
    let app = TestHandler::start().await;
    app.on("Act", |_| Ok(reply::events([])));
    let connected = impatient(&app.endpoint(), Duration::from_millis(1_500));
    connected.ready().await;
    act(&connected, "Act").await.unwrap();
    let frozen = app.freeze();
    let new = client(&app.endpoint());
    let (old, new) = tokio::join!(act(&connected, "Act"), act(&new, "Act"));
    assert_kind(&old, "Timeout");
    assert_kind(&new, "Unreachable");
    drop(frozen);
    act(&connected, "Act").await.unwrap();
}

#[tokio::test]
async fn a_connection_that_died_in_silence_is_given_up() {
    let app = TestHandler::start().await;
    app.on("Act", |_| Ok(reply::events([])));
    let client = impatient(&app.endpoint(), Duration::from_secs(1));
    client.ready().await;
    act(&client, "Act").await.unwrap();
    let _frozen = app.freeze();
    let started = Instant::now();
    // First the calls on the old connection, then the ping, then the attempt at a new one.
    while client.problem().is_none() {
        act(&client, "Act").await.unwrap_err();
        assert!(started.elapsed() < 3 * PATIENCE, "it was not given up");
    }
    assert_kind(&act(&client, "Act").await, "Unreachable");
}

#[tokio::test]
async fn a_server_that_ends_the_call_at_the_deadline_timed_out_too() {
    let app = TestHandler::start().await;
    let limit = Duration::from_millis(200);
    for code in [Code::Cancelled, Code::DeadlineExceeded] {
        app.on_async("Act", move |_| async move {
            tokio::time::sleep(limit - Duration::from_millis(10)).await;
            Err(Status::new(code, "too late"))
        });
        let client = impatient(&app.endpoint(), limit);
        client.ready().await;
        assert_kind(&act(&client, "Act").await, "Timeout");
    }
}

#[tokio::test]
async fn an_oversized_reply_fails_and_one_of_the_limit_does_not() {
    let app = TestHandler::start().await;
    let config = GrpcConfig { max_reply_size: 200_000, ..config(&app.endpoint()) };
    let client = Client::start(config, 1);
    let payload = |size: usize| format!("\"{}\"", "x".repeat(size));
    app.on("Big", move |_| Ok(reply::events([("Big", payload(199_900).as_str())])));
    app.on("TooBig", move |_| Ok(reply::events([("Big", payload(200_001).as_str())])));
    for _ in 0..30 {
        // More than a connection's window together: every byte read is given back.
        act(&client, "Big").await.unwrap();
    }
    assert_kind(&act(&client, "TooBig").await, "Failed");
    act(&client, "Big").await.unwrap();
}

#[tokio::test]
async fn a_server_of_http2_that_is_not_grpc_is_a_failure_and_no_unknown_action() {
    for (status, expected) in [(404, "Failed"), (200, "Failed"), (403, "Failed"), (502, "Lost")] {
        let server = RawServer::http2(move |mut respond, _| {
            let head = Response::builder().status(status).header("content-type", "text/html");
            respond.send_response(head.body(()).unwrap(), true).unwrap();
        })
        .await;
        assert_kind(&act(&client(&server.endpoint()), "Act").await, expected);
    }
}

#[tokio::test]
async fn garbage_in_grpc_is_a_failure() {
    const OK: &[(&str, &str)] = &[("grpc-status", "0")];
    for (body, trailers) in [
        (&b""[..], OK),
        (b"\0\0\0", OK),
        (b"\0\0\0\0\x09short", OK),
        (b"\0\0\0\0\x01\x08trailing", OK),
        (b"\x01\0\0\0\0", OK),
        (b"\0\0\0\0\x02\xff\xff", OK),
        (b"\0\0\0\0\x03\x0a\x09\x00", OK),
        (b"\0\0\0\0\0", &[]),
        (b"\0\0\0\0\0", &[("grpc-status", "zero")]),
        (b"\0\0\0\0\0", &[("grpc-status", "13"), ("grpc-status-details-bin", "=not base64=")]),
        (b"\0\0\0\0\0", &[("grpc-status", "13"), ("grpc-message", "%ff%fe")]),
    ] {
        let server = RawServer::http2(move |mut respond, _| {
            raw::send_grpc(&mut respond, body, trailers);
        })
        .await;
        let result = act(&client(&server.endpoint()), "Act").await;
        assert!(
            matches!(&result, Err(ApplicationError::Failed(_))),
            "{body:?} {trailers:?}: {result:?}"
        );
    }
}

/// An empty reply that is right.
fn succeed(mut respond: h2::server::SendResponse<bytes::Bytes>) {
    raw::send_grpc(&mut respond, b"\0\0\0\0\0", &[("grpc-status", "0")]);
}

#[tokio::test]
async fn a_call_that_was_refused_unread_is_sent_once_more_and_no_other() {
    for (reason, expected_calls, expected) in [
        (Reason::REFUSED_STREAM, 2, "Unreachable"),
        (Reason::INTERNAL_ERROR, 1, "Lost"),
        (Reason::CANCEL, 1, "Lost"),
    ] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let server = RawServer::http2(move |mut respond, _| {
            counter.fetch_add(1, Ordering::SeqCst);
            respond.send_reset(reason);
        })
        .await;
        assert_kind(&act(&client(&server.endpoint()), "Act").await, expected);
        assert_eq!(calls.load(Ordering::SeqCst), expected_calls, "{reason:?}");
    }

    let server = RawServer::http2(|mut respond, number| match number {
        0 => respond.send_reset(Reason::REFUSED_STREAM),
        _ => succeed(respond),
    })
    .await;
    act(&client(&server.endpoint()), "Act").await.unwrap();
}

#[tokio::test]
async fn a_call_that_a_closing_connection_did_not_take_goes_over_the_next() {
    let server = RawServer::start(|mut stream, number| async move {
        if number == 0 {
            raw::until_first_request(&mut stream).await;
            stream.write_all(&raw::go_away()).await.unwrap();
            // It stays open: what it took before would be finished.
            std::future::pending().await
        }
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_request, respond))) = connection.accept().await {
            succeed(respond);
        }
    })
    .await;
    act(&client(&server.endpoint()), "Act").await.unwrap();
}

#[tokio::test]
async fn the_token_and_a_trace_of_its_own_go_with_each_call() {
    let app = TestHandler::start().await;
    app.on("Act", |_| Ok(reply::events([])));
    let config = GrpcConfig { token: Some("s3cret".parse().unwrap()), ..config(&app.endpoint()) };
    assert!(!format!("{config:?}").contains("s3cret"));
    let client = Client::start(config, 1);
    let mut traces = Vec::new();
    for _ in 0..2 {
        act(&client, "Act").await.unwrap();
        let call = app.next("HandleAction").await;
        assert_eq!(call.header("authorization"), Some("Bearer s3cret"));
        let trace = call.header("traceparent").unwrap().to_owned();
        let lengths: Vec<_> = trace.split('-').map(str::len).collect();
        assert_eq!(lengths, [2, 32, 16, 2], "{trace}");
        traces.push(trace);
    }
    assert_ne!(traces[0], traces[1]);
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let path = std::env::temp_dir().join(format!("myxi-handler-{}.sock", std::process::id()));
    let app = TestHandler::start_unix(&path).await;
    app.on("Act", |_| Ok(reply::events([])));
    let unix = connected(&app.endpoint()).await;
    act(&unix, "Act").await.unwrap();
    app.kill();
    std::fs::remove_file(&path).unwrap();
    assert_kind(&act(&client(&app.endpoint()), "Act").await, "Unreachable");
}

fn limited(endpoint: &str, calls: usize) -> Arc<Client> {
    Arc::new(Client::start(config(endpoint), calls))
}

#[tokio::test]
async fn past_the_bound_an_action_waits_its_turn_a_second_and_is_busy() {
    let app = TestHandler::start().await;
    app.hang_on("Hang");
    app.on("Act", |_| Ok(reply::events([])));
    let limit = Arc::new(CallLimit::new(2));
    // The bound is the gateway's, not each handler's.
    let [one, two] =
        [(), ()].map(|()| Arc::new(Client::sharing(config(&app.endpoint()), limit.clone())));
    let hanging: Vec<_> = [&one, &two]
        .map(|client| client.clone())
        .map(|client| tokio::spawn(async move { act(&client, "Hang").await.map(drop) }))
        .into();
    app.next("HandleAction").await;
    app.next("HandleAction").await;

    let started = Instant::now();
    assert_kind(&act(&one, "Act").await, "Busy");
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(app.seen().await.is_empty(), "a busy call never reaches the application");
    for task in hanging {
        assert_kind(&task.await.unwrap(), "Timeout");
    }
    act(&two, "Act").await.unwrap();
}

#[tokio::test]
async fn a_turn_waited_for_is_not_taken_from_the_deadline() {
    let app = TestHandler::start().await;
    // More than half of the deadline, and less than the second that a turn is waited for.
    let pause = Duration::from_millis(550);
    app.on_async("Slow", move |_| async move {
        tokio::time::sleep(pause).await;
        Ok(reply::events([]))
    });
    let config = GrpcConfig { timeout: pause * 19 / 10, ..config(&app.endpoint()) };
    let client = Client::start(config, 1);
    let mut outcomes = Vec::new();
    // A busy machine may add to the pauses so much that time is up.
    for _ in 0..10 {
        let started = Instant::now();
        match tokio::join!(act(&client, "Slow"), act(&client, "Slow")) {
            (Ok(_), Ok(_)) => {
                assert!(started.elapsed() >= 2 * pause, "one after another");
                return;
            }
            both => outcomes.push(both),
        }
    }
    panic!("{outcomes:?}");
}

#[tokio::test]
async fn re_checks_take_a_tenth_of_the_calls_and_are_not_busy() {
    let app = TestHandler::start().await;
    app.on("Act", |_| Ok(reply::events([])));
    let gate = Arc::new(Semaphore::new(0));
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    app.on_check_async({
        let (gate, running, most) = (gate.clone(), running.clone(), most.clone());
        move |request| {
            let (gate, running, most) = (gate.clone(), running.clone(), most.clone());
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(reply::allow_all(&request))
            }
        }
    });
    let client = limited(&app.endpoint(), 20);
    let checks: Vec<_> = (0..6)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { check(&client, CheckReason::Recheck).await })
        })
        .collect();
    app.next("CheckSubscriptions").await;
    app.next("CheckSubscriptions").await;
    // A subscribe is a client's call: it passes by the re-checks that wait.
    let subscribe = check(&client, CheckReason::Subscribe);
    let release = async {
        let call = app.next("CheckSubscriptions").await;
        assert_eq!(call.check().reason(), proto::CheckReason::Subscribe);
        act(&client, "Act").await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 3, "two re-checks and the subscribe");
        // Longer than a client would wait for its turn.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        gate.add_permits(7);
    };
    let (subscribed, ()) = tokio::join!(subscribe, release);
    subscribed.unwrap();
    for check in checks {
        check.await.unwrap().expect("a re-check waits its turn");
    }
}

#[tokio::test]
async fn a_session_is_accepted_or_refused() {
    let app = TestHandler::start().await;
    let client = connected(&app.endpoint()).await;
    app.on_opened(|_| {
        Ok(proto::SessionOpenedResponse {
            decision: proto::SessionDecision::Accept.into(),
            session_update: reply::set_auth("1").session_update,
            events: reply::events([("Hello", "{}")]).events,
            refusal: None,
        })
    });
    match client.session_opened(&session()).await.unwrap() {
        Admission::Accept { update, events } => {
            assert_eq!(update.auth, AuthUpdate::Set("1".into()));
            assert_eq!(&*events[0].name, "Hello");
        }
        other @ Admission::Refuse(_) => panic!("{other:?}"),
    }
    for (decision, refusal, expected) in [
        (2, Some((4001, "later")), Close::new(4001, "later")),
        (2, Some((1000, "bye")), Close::new(1000, "bye")),
        (0, None, Close::new(4500, "")),
        (77, None, Close::new(4500, "")),
    ] {
        app.on_opened(move |_| {
            let refusal =
                refusal.map(|(code, reason)| proto::Disconnect { code, reason: reason.to_owned() });
            Ok(proto::SessionOpenedResponse { decision, refusal, ..Default::default() })
        });
        match client.session_opened(&session()).await.unwrap() {
            Admission::Refuse(reason) => assert_eq!(reason, expected),
            other @ Admission::Accept { .. } => panic!("{other:?}"),
        }
    }
    app.on_opened(|_| Err(Status::permission_denied("no")));
    assert_kind(&client.session_opened(&session()).await, "Failed");
}

#[tokio::test]
async fn the_end_of_a_session_is_told_unless_it_is_not_wanted() {
    let app = TestHandler::start().await;
    app.on("Act", |_| Ok(reply::events([])));
    let client = connected(&app.endpoint()).await;
    let close = || async {
        let reason = Close::new(Close::ABNORMAL, "gone");
        client.session_closed(&session(), &reason, Duration::from_millis(1_234)).await;
    };
    close().await;
    let call = app.next("SessionClosed").await;
    let told = call.closed();
    assert_eq!((told.code, told.reason.as_str(), told.duration_ms), (1006, "gone", 1_234));
    assert_eq!(told.session.as_ref().unwrap().id, "0123456789abcdef");

    app.on_closed(|_| Err(Status::unimplemented("not wanted")));
    close().await;
    app.next("SessionClosed").await;
    close().await;
    act(&client, "Act").await.unwrap();
    let methods: Vec<_> = app.seen().await.iter().map(|call| call.method).collect();
    assert_eq!(methods, ["HandleAction"], "it was not asked again");

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    close().await;
    app.next("SessionClosed").await;
}
