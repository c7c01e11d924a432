//! The `Gateway` service over a real socket: what it takes, refuses and asks of the bus
//! and the other replicas. How real buses behave is their own tests' business.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use myxi::internals::{
    bus::{Answers, AskError, BusStatus, EventBus, PublishError, Replicas},
    event::{Exchange, OutgoingEvent},
    gateway_api::{
        self, GatewayApi,
        peers::{LocalAnswers, Peers},
    },
    ids::{ReplicaId, SessionId, SessionIds},
    metrics::Metrics,
    net::listener::Listener,
    protocol::ErrorCode,
    session::directory::{LocalSessions, SessionCommand},
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use tonic::{Code, Request, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{
    DEADLINE,
    gateway::Gateway,
    handler::{
        TestHandler,
        proto::{
            DisconnectSessionRequest, PushEventRequest, PushEventsRequest, SendEventRequest,
            gateway_client::GatewayClient,
        },
    },
};

pub const MAX_EVENT_SIZE: usize = 1_000;

/// Keeps what is published, and knows one other replica.
#[derive(Default)]
pub struct TestBus {
    pub published: Mutex<Vec<Vec<OutgoingEvent>>>,
    other: Option<(ReplicaId, Arc<TestSessions>)>,
}

#[async_trait]
impl EventBus for TestBus {
    async fn publish(&self, events: Vec<OutgoingEvent>) -> Vec<Result<(), PublishError>> {
        if events.iter().any(|event| event.topic.exchange.as_str() == "hangs") {
            return std::future::pending().await;
        }
        let result = |event: &OutgoingEvent| match event.topic.exchange.as_str() {
            "widgets" => Ok(()),
            "down" => Err(PublishError::Unavailable("no broker".into())),
            "full" => Err(PublishError::Overloaded("1000 wait".into())),
            "slow" => Err(PublishError::Unconfirmed),
            other => Err(PublishError::UnknownExchange(Exchange::new(other).unwrap())),
        };
        let results = events.iter().map(result).collect();
        self.published.lock().unwrap().push(events);
        results
    }

    fn status(&self) -> BusStatus {
        BusStatus { kind: "test", attached_once: true, ..BusStatus::default() }
    }

    async fn close(&self, _deadline: tokio::time::Instant) {}
}

#[async_trait]
impl Replicas for TestBus {
    async fn ask(
        &self,
        replica: ReplicaId,
        question: Vec<u8>,
        _deadline: Duration,
    ) -> Result<Vec<u8>, AskError> {
        match &self.other {
            Some((other, sessions)) if *other == replica => {
                Ok(LocalAnswers(sessions.clone()).answer(question).await)
            }
            Some(_) => Err(AskError::Unreachable(replica)),
            None => Err(AskError::NoAnswer(replica)),
        }
    }
}

/// One session, and what was done to it.
pub struct TestSessions {
    pub id: SessionId,
    pub done: Mutex<Vec<SessionCommand>>,
}

impl TestSessions {
    fn new(replica: ReplicaId) -> Arc<Self> {
        Arc::new(Self { id: SessionIds::new(replica).next(), done: Mutex::default() })
    }
}

impl LocalSessions for TestSessions {
    fn command(&self, id: SessionId, command: &SessionCommand) -> bool {
        let here = id == self.id;
        if here {
            self.done.lock().unwrap().push(command.clone());
        }
        here
    }
}

pub struct TestGateway {
    pub address: SocketAddr,
    pub bus: Arc<TestBus>,
    pub local: Arc<TestSessions>,
    pub remote: Arc<TestSessions>,
    pub shutdown: Option<oneshot::Sender<()>>,
    pub server: JoinHandle<()>,
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl TestGateway {
    pub async fn start(token: Option<&str>) -> Self {
        let (replica, other) = (ReplicaId::random(), ReplicaId::random());
        let (local, remote) = (TestSessions::new(replica), TestSessions::new(other));
        let bus = Arc::new(TestBus { other: Some((other, remote.clone())), ..TestBus::default() });
        Self::serve(replica, local, remote, bus, token).await
    }

    async fn serve(
        replica: ReplicaId,
        local: Arc<TestSessions>,
        remote: Arc<TestSessions>,
        bus: Arc<TestBus>,
        token: Option<&str>,
    ) -> Self {
        let peers = Peers::new(replica, local.clone(), bus.clone());
        let api = GatewayApi {
            bus: bus.clone(),
            peers,
            max_event_size: MAX_EVENT_SIZE,
            metrics: Arc::new(Metrics::new(ErrorCode::NAMES)),
        };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let token = token.map(|token| token.parse().unwrap());
        let (shutdown, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            gateway_api::serve(listener, api, token, stopped).await.unwrap();
        });
        Self { address, bus, local, remote, shutdown: Some(shutdown), server }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub async fn client(&self) -> GatewayClient<Channel> {
        GatewayClient::new(self.channel().await).max_encoding_message_size(8 << 20)
    }

    pub async fn push(&self, event: PushEventRequest) -> Result<String, Status> {
        let response = self.client().await.push_event(event).await?;
        Ok(response.into_inner().event_id)
    }
}

pub fn event(exchange: &str) -> PushEventRequest {
    PushEventRequest {
        exchange: exchange.into(),
        routing_key: "1".into(),
        event: "Changed".into(),
        payload: r#"{"n": 1.0}"#.into(),
        event_id: None,
    }
}

#[track_caller]
fn assert_refused<T>(result: Result<T, Status>, code: Code, word: &str) {
    let status = result.err().expect("a refusal");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(word), "{word:?} is not in {:?}", status.message());
}

#[tokio::test]
async fn a_pushed_event_is_on_the_bus_as_it_was_written() {
    let gateway = TestGateway::start(None).await;
    let made = gateway.push(event("widgets")).await.unwrap();
    assert!(made.len() == 32 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
    let own = PushEventRequest { event_id: Some("mine".into()), ..event("widgets") };
    assert_eq!(gateway.push(own).await.unwrap(), "mine");

    let published = gateway.bus.published.lock().unwrap();
    let [first, second] = &published[..] else { panic!("{published:?}") };
    assert_eq!(first[0].topic.exchange.as_str(), "widgets");
    assert_eq!(first[0].topic.routing_key(), "1");
    assert_eq!(first[0].body.to_json(), br#"{"event":"Changed","payload":{"n": 1.0}}"#);
    assert_eq!((&*first[0].id, &*second[0].id), (made.as_str(), "mine"));
}

#[tokio::test]
async fn a_bad_event_is_refused_by_the_name_of_its_field() {
    let gateway = TestGateway::start(None).await;
    let good = || event("widgets");
    for (bad, field) in [
        (event("amq.topic"), "exchange"),
        (event(""), "exchange"),
        (PushEventRequest { routing_key: "k".repeat(256), ..good() }, "routing_key"),
        (PushEventRequest { routing_key: "a\0".into(), ..good() }, "routing_key"),
        (PushEventRequest { event: String::new(), ..good() }, "event"),
        (PushEventRequest { payload: "{".into(), ..good() }, "payload"),
        (PushEventRequest { payload: format!("\"{}\"", "x".repeat(1_000)), ..good() }, "1000"),
        (PushEventRequest { event_id: Some(String::new()), ..good() }, "event_id"),
        (PushEventRequest { event_id: Some("i".repeat(256)), ..good() }, "event_id"),
    ] {
        assert_refused(gateway.push(bad).await, Code::InvalidArgument, field);
    }
    assert!(gateway.bus.published.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_refusal_of_the_bus_has_its_status() {
    let gateway = TestGateway::start(None).await;
    for (exchange, code, word) in [
        ("elsewhere", Code::NotFound, "--exchange"),
        ("down", Code::Unavailable, "not published"),
        ("full", Code::ResourceExhausted, "later"),
        ("slow", Code::Unknown, "same event_id"),
    ] {
        assert_refused(gateway.push(event(exchange)).await, code, word);
    }
}

#[tokio::test]
async fn many_events_go_in_one_go_and_each_has_its_result() {
    let gateway = TestGateway::start(None).await;
    let mut client = gateway.client().await;
    let named = |exchange: &str, id: &str| PushEventRequest {
        event_id: Some(id.into()),
        ..event(exchange)
    };
    let events = vec![
        named("widgets", "a"),
        PushEventRequest { payload: "{".into(), ..named("widgets", "b") },
        named("down", "c"),
        named("widgets", "d"),
    ];
    let response = client.push_events(PushEventsRequest { events }).await.unwrap().into_inner();
    let results: Vec<_> = response
        .results
        .iter()
        .map(|result| {
            (result.event_id.as_str(), Code::from(result.code), result.message.is_empty())
        })
        .collect();
    let expected = [
        ("a", Code::Ok, true),
        ("b", Code::InvalidArgument, false),
        ("c", Code::Unavailable, false),
        ("d", Code::Ok, true),
    ];
    assert_eq!(results, expected);
    let published = gateway.bus.published.lock().unwrap();
    let ids: Vec<Vec<&str>> =
        published.iter().map(|events| events.iter().map(|event| &*event.id).collect()).collect();
    assert_eq!(ids, [["a", "c", "d"]]);
}

#[tokio::test]
async fn too_many_events_or_bytes_are_refused_as_a_whole() {
    let gateway = TestGateway::start(None).await;
    let mut client = gateway.client().await;
    let many = |count: usize, size: usize| {
        let payload = format!("\"{}\"", "x".repeat(size));
        let event = PushEventRequest { payload, ..event("widgets") };
        PushEventsRequest { events: vec![event; count] }
    };
    let results = client.push_events(many(1_000, 1)).await.unwrap().into_inner().results;
    assert!(results.len() == 1_000 && results.iter().all(|result| result.code == 0));
    for bad in [many(0, 0), many(1_001, 1), many(1_000, 4_200)] {
        assert_refused(client.push_events(bad).await, Code::InvalidArgument, "events");
    }
    // Far too large to be read at all.
    assert!(client.push_events(many(1_000, 6 << 10)).await.is_err());
}

/// With the largest `--max-event-size` there is.
#[tokio::test]
async fn an_event_of_4_mib_arrives_and_one_byte_more_is_refused_in_words() {
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--max-event-size=4MiB", "--max-outbox=16MiB"];
    let gateway = Gateway::with(&app, &flags).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "1").await;
    let mut api = gateway.api().await;
    let around = r#"{"event":"Changed","payload":""}"#.len();
    let payload = |size: usize| format!("\"{}\"", "x".repeat(size - around));
    let sized = |size| PushEventRequest { payload: payload(size), ..event("widgets") };
    let sent = |size| SendEventRequest {
        session_id: client.id.clone(),
        event: "Changed".into(),
        payload: payload(size),
    };
    const MOST: usize = 4 << 20;
    api.push_event(sized(MOST)).await.unwrap();
    api.send_event(sent(MOST)).await.unwrap();
    assert_refused(api.push_event(sized(MOST + 1)).await, Code::InvalidArgument, "4194304");
    assert_refused(api.send_event(sent(MOST + 1)).await, Code::InvalidArgument, "4194304");
    for _ in 0..2 {
        let received = client.event("Changed").await;
        assert_eq!(received["payload"].as_str().map(str::len), Some(MOST - around));
    }
}

#[tokio::test]
async fn a_session_is_reached_on_this_replica_and_on_others() {
    let gateway = TestGateway::start(None).await;
    let mut client = gateway.client().await;
    for sessions in [&gateway.local, &gateway.remote] {
        let session_id = sessions.id.to_string();
        let send = SendEventRequest {
            session_id: session_id.clone(),
            event: "Hello".into(),
            payload: r#"{"n":123456789012345678901234567890, "s":"\u00e9"}"#.into(),
        };
        client.send_event(send.clone()).await.unwrap();
        let disconnect =
            DisconnectSessionRequest { session_id, code: 4001, reason: "spät".into() };
        client.disconnect_session(disconnect).await.unwrap();

        let done = sessions.done.lock().unwrap();
        let [SessionCommand::Send(body), SessionCommand::Disconnect(reason)] = &done[..] else {
            panic!("{done:?}");
        };
        assert_eq!((&*body.name, body.payload.get()), ("Hello", send.payload.as_str()));
        assert_eq!((reason.code, &*reason.reason), (4001, "spät"));
    }
}

#[tokio::test]
async fn only_a_replicas_own_no_is_not_found_and_whatever_else_is_unavailable() {
    let gateway = TestGateway::start(None).await;
    let mut client = gateway.client().await;
    let send = |session_id: String| SendEventRequest {
        session_id,
        event: "Hello".into(),
        payload: String::new(),
    };
    // The next id of a replica that is there, and one of a replica that is not.
    for sessions in [&gateway.local, &gateway.remote] {
        let id = format!("{:016x}", u64::from_str_radix(&sessions.id.to_string(), 16).unwrap() ^ 1);
        assert_refused(client.send_event(send(id.clone())).await, Code::NotFound, &id);
    }
    let nowhere = SessionIds::new(ReplicaId::random()).next().to_string();
    let result = client.send_event(send(nowhere.clone())).await;
    assert_refused(result, Code::Unavailable, "cannot be reached");

    let replica = ReplicaId::random();
    let (local, remote) = (TestSessions::new(replica), TestSessions::new(ReplicaId::random()));
    let silent = Arc::new(TestBus::default());
    let gateway = TestGateway::serve(replica, local, remote, silent, None).await;
    let result = gateway.client().await.send_event(send(nowhere)).await;
    assert_refused(result, Code::Unavailable, "unknown");
}

#[tokio::test]
async fn a_bad_command_is_refused_by_the_name_of_its_field() {
    let gateway = TestGateway::start(None).await;
    let mut client = gateway.client().await;
    let session_id = gateway.local.id.to_string();
    let send = |session_id: &str, event: &str, payload: String| SendEventRequest {
        session_id: session_id.into(),
        event: event.into(),
        payload,
    };
    for (bad, field) in [
        (send("42", "Hello", String::new()), "session_id"),
        (send(&session_id, "", String::new()), "event"),
        (send(&session_id, "Hello", "nope".into()), "payload"),
        (send(&session_id, "Hello", format!("\"{}\"", "x".repeat(1_000))), "1000"),
    ] {
        assert_refused(client.send_event(bad).await, Code::InvalidArgument, field);
    }
    let disconnect = |code, reason: &str| DisconnectSessionRequest {
        session_id: session_id.clone(),
        code,
        reason: reason.into(),
    };
    for (bad, field) in
        [(disconnect(1001, ""), "code"), (disconnect(4000, &"é".repeat(62)), "reason")]
    {
        assert_refused(client.disconnect_session(bad).await, Code::InvalidArgument, field);
    }
    assert!(gateway.local.done.lock().unwrap().is_empty());
    client.disconnect_session(disconnect(0, "")).await.unwrap();
    match &gateway.local.done.lock().unwrap()[..] {
        [SessionCommand::Disconnect(reason)] => assert_eq!(reason.code, 4500),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_answered_and_does_nothing() {
    let sessions = TestSessions::new(ReplicaId::random());
    let id = sessions.id;
    let answers = LocalAnswers(sessions.clone());
    let ask = async |question: &str| {
        String::from_utf8(answers.answer(question.as_bytes().to_vec()).await).unwrap()
    };
    let send = |version: u32, payload: &str| {
        format!(
            r#"{{"version":{version},"session":"{id}","command":{{"send":{{"event":"E","payload":{payload}}}}}}}"#
        )
    };
    for question in [
        "",
        "null",
        "{\"version\":1}",
        &send(2, "{}"),
        &send(1, "{"),
        &format!(r#"{{"version":1,"session":"{id}","command":{{"explode":{{}}}}}}"#),
        r#"{"version":1,"session":"nobody","command":{"disconnect":{"code":4000,"reason":""}}}"#,
    ] {
        assert_eq!(ask(question).await, r#""not_understood""#, "{question}");
    }
    assert!(sessions.done.lock().unwrap().is_empty());
    assert_eq!(ask(&send(1, "{}")).await, r#""done""#);
}

fn bearing<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token.parse().unwrap());
    }
    request
}

async fn listed_services(channel: Channel, token: Option<&str>) -> Result<Vec<String>, Status> {
    let question = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let questions = bearing(futures_util::stream::iter([question]), token);
    let mut client = ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(questions).await?.into_inner();
    match answers.message().await?.and_then(|answer| answer.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_asked_for_by_everything_but_the_health_check() {
    let gateway = TestGateway::start(Some("s3cret")).await;
    let mut client = gateway.client().await;
    for wrong in [None, Some("Bearer s3cre"), Some("Bearer s3cretX"), Some("s3cret"), Some("")] {
        let result = client.push_event(bearing(event("widgets"), wrong)).await;
        assert_refused(result, Code::Unauthenticated, "--grpc-token");
        let result = listed_services(gateway.channel().await, wrong).await;
        assert_refused(result, Code::Unauthenticated, "--grpc-token");
    }
    assert!(gateway.bus.published.lock().unwrap().is_empty());
    let right = Some("Bearer s3cret");
    client.push_event(bearing(event("widgets"), right)).await.unwrap();
    let services = listed_services(gateway.channel().await, right).await.unwrap();
    assert!(services.iter().any(|name| name == "myxi.v1.Gateway"), "{services:?}");
    assert!(!services.iter().any(|name| name == "myxi.v1.ActionHandler"), "it is not served here");

    let mut health = HealthClient::new(gateway.channel().await);
    for service in ["", "myxi.v1.Gateway"] {
        let check = HealthCheckRequest { service: service.into() };
        let status = health.check(check).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
}

#[tokio::test]
async fn it_stops_when_told_though_a_caller_stays_connected() {
    let mut gateway = TestGateway::start(None).await;
    let mut client = gateway.client().await;
    client.push_event(event("widgets")).await.unwrap();
    gateway.shutdown.take().unwrap().send(()).unwrap();
    timeout(DEADLINE, &mut gateway.server).await.expect("it stops").unwrap();
    assert!(client.push_event(event("widgets")).await.is_err());
}
