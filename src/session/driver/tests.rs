//! The driver over a socket that is a pair of queues, with a clock that moves by itself
//! while everybody waits. What whole gateways do, the tests beside `src` show.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{DriverSettings, End, drive};
use crate::{
    application::{
        Action, ActionReply, Admission, Application, ApplicationError, CheckReason, ClientInfo,
        Decision, SessionSnapshot,
    },
    bus::Bindings,
    event::{Entry, Exchange, Position, Topic},
    hub::{Hub, Interest, outbox::Outbox},
    ids::{ReplicaId, SessionIds},
    metrics::Metrics,
    protocol::{Close, ErrorCode, Frame},
    ring::Ring,
    session::{
        Services, Session,
        socket::{Fault, Incoming, Outgoing, Socket},
    },
};

const PING_INTERVAL: Duration = Duration::from_secs(25);
const RECHECK_INTERVAL: Duration = Duration::from_secs(60);
const OUTBOX: usize = 4096;

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The test's end of the socket.
#[derive(Clone, Default)]
struct Wire {
    queues: Arc<Mutex<Queues>>,
    sent: Arc<Notify>,
}

#[derive(Default)]
struct Queues {
    incoming: VecDeque<Result<Incoming, Fault>>,
    outgoing: VecDeque<Outgoing>,
    /// Nothing can be written.
    full: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wire {
    fn say(&self, message: Incoming) {
        let mut queues = self.queues.lock().unwrap();
        queues.incoming.push_back(Ok(message));
        queues.reader.take().into_iter().for_each(Waker::wake);
    }

    fn act(&self, json: &str) {
        self.say(Incoming::Message(json.into()));
    }

    fn set_full(&self, full: bool) {
        let mut queues = self.queues.lock().unwrap();
        queues.full = full;
        queues.writer.take().into_iter().for_each(Waker::wake);
    }

    /// What it is sent next, and how long that took.
    async fn next(&self) -> (Outgoing, Duration) {
        let since = Instant::now();
        let next = async {
            loop {
                if let Some(message) = self.queues.lock().unwrap().outgoing.pop_front() {
                    return message;
                }
                self.sent.notified().await;
            }
        };
        (timeout(PATIENCE, next).await.expect("a message"), since.elapsed())
    }

    async fn text(&self) -> String {
        match self.next().await {
            (Outgoing::Message(text), _) => text.to_string(),
            (other, _) => panic!("{other:?}"),
        }
    }
}

impl Socket for Wire {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, Fault>>> {
        let mut queues = self.queues.lock().unwrap();
        queues.reader = Some(cx.waker().clone());
        queues.incoming.pop_front().map_or(Poll::Pending, |received| Poll::Ready(Some(received)))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut queues = self.queues.lock().unwrap();
        queues.writer = Some(cx.waker().clone());
        if queues.full { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn send(&mut self, message: Outgoing) -> Result<(), Fault> {
        self.queues.lock().unwrap().outgoing.push_back(message);
        self.sent.notify_one();
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.poll_ready(cx)
    }
}

/// Answers at once, or never.
#[derive(Default)]
struct App {
    hangs: AtomicBool,
    denies: AtomicBool,
    /// What its answers subscribe to.
    wishes: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl Application for App {
    async fn handle_action(
        &self,
        _: &SessionSnapshot,
        _: Action<'_>,
    ) -> Result<ActionReply, ApplicationError> {
        if self.hangs.load(Ordering::Relaxed) {
            return pending().await;
        }
        Ok(ActionReply { subscribe: self.wishes.lock().unwrap().clone(), ..ActionReply::default() })
    }

    async fn check_subscriptions(
        &self,
        _: &SessionSnapshot,
        topics: &[Topic],
        _: CheckReason,
    ) -> Result<Vec<Decision>, ApplicationError> {
        let denies = self.denies.load(Ordering::Relaxed);
        Ok(vec![if denies { Decision::Deny } else { Decision::Allow }; topics.len()])
    }

    async fn session_opened(&self, _: &SessionSnapshot) -> Result<Admission, ApplicationError> {
        pending().await
    }

    async fn session_closed(&self, _: &SessionSnapshot, _: &Close, _: Duration) {}
}

/// A session that is driven, and what is around it.
struct Driven {
    wire: Wire,
    app: Arc<App>,
    session: Arc<Session>,
    running: JoinHandle<End>,
}

impl Driven {
    /// Welcomed already.
    async fn start() -> Self {
        let (app, wire) = (Arc::<App>::default(), Wire::default());
        let exchange = Exchange::new("widgets").expect("a name");
        let slow = ["slow", "slower"].map(|name| Exchange::new(name).expect("a name"));
        let metrics = Arc::new(Metrics::new(ErrorCode::NAMES));
        let exchanges = || slow.iter().chain([&exchange]);
        let hub = Hub::new(Interest::new(exchanges().cloned()), OUTBOX, metrics.clone());
        let at = Position::end_of(Entry { offset: 0, hash: 0 });
        exchanges().for_each(|exchange| hub.attached(exchange, Some(at)));
        let bindings = Bindings::new(slow.clone());
        bindings.open_all();
        let ring = Ring::new([exchange], OUTBOX);
        let services = Services {
            hub: Arc::new(hub),
            ring: Arc::new(ring),
            bindings,
            patience: Duration::from_secs(1),
            application: app.clone(),
            max_subscriptions: 10,
            max_event_size: 1024,
            complaints: Default::default(),
            metrics,
        };
        let id = SessionIds::new(ReplicaId::random()).next();
        let client = Arc::new(ClientInfo {
            remote_address: "127.0.0.1".into(),
            path: "/".into(),
            query: "".into(),
            headers: [].into(),
            dialect: Default::default(),
        });
        let snapshot = SessionSnapshot { id, client, auth: None, data: Default::default() };
        let session = Session::new(Arc::new(services), Outbox::new(id, OUTBOX), snapshot);
        let settings = Arc::new(DriverSettings {
            ask_application_first: false,
            ping_interval: PING_INTERVAL,
            recheck_interval: RECHECK_INTERVAL,
            max_unread_actions: 2,
            max_unread_bytes: OUTBOX,
            jitter: || 1.0,
        });
        let (mut socket, driven) = (wire.clone(), session.clone());
        let running = tokio::spawn(async move { drive(&mut socket, driven, settings).await });
        let this = Self { wire, app, session, running };
        assert!(this.wire.text().await.starts_with(r#"{"event":"Welcome""#));
        this
    }

    async fn end(self) -> End {
        timeout(PATIENCE, self.running).await.expect("an end").expect("no panic")
    }
}

fn message(json: &str) -> Outgoing {
    Outgoing::Message(Frame::from(json))
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_pinged_twice_and_then_gone() {
    let driven = Driven::start().await;
    for _ in 0..2 {
        let (ping, took) = driven.wire.next().await;
        assert_eq!(ping, Outgoing::Ping);
        assert!(took.abs_diff(PING_INTERVAL) < Duration::from_secs(1), "{took:?}");
    }
    let End { close, by_client, .. } = driven.end().await;
    assert_eq!((close.code, &*close.reason), (Close::ABNORMAL, "pings went unanswered"));
    assert!(!by_client);
}

#[tokio::test(start_paused = true)]
async fn whatever_a_client_says_shows_that_it_is_there() {
    let driven = Driven::start().await;
    for _ in 0..10 {
        assert_eq!(driven.wire.next().await.0, Outgoing::Ping);
        driven.wire.say(Incoming::Pong);
    }
    assert!(!driven.running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_the_application_need_not_answer() {
    let driven = Driven::start().await;
    driven.app.hangs.store(true, Ordering::Relaxed);
    // One is asked about, two wait, and no more is read.
    (0..4).for_each(|tag| driven.wire.act(&format!(r#"{{"action":"Slow","tag":{tag}}}"#)));
    for _ in 0..10 {
        assert_eq!(driven.wire.next().await.0, Outgoing::Ping);
    }
    assert_eq!(driven.wire.queues.lock().unwrap().incoming.len(), 1);
    assert!(!driven.running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_behind_and_reads_nothing_is_a_slow_consumer() {
    let driven = Driven::start().await;
    driven.wire.set_full(true);
    driven.session.outbox().send("x".repeat(OUTBOX / 2).into());
    let since = Instant::now();
    let sealed = async {
        while driven.session.outbox().sealed().is_none() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(PATIENCE, sealed).await.expect("it is cut off");
    assert!(since.elapsed().abs_diff(3 * PING_INTERVAL) < Duration::from_secs(2));
    // It cannot be told within the time of a close.
    let End { close, .. } = driven.end().await;
    assert_eq!(close.code, Close::SLOW_CONSUMER);
}

#[tokio::test(start_paused = true)]
async fn actions_are_answered_one_after_another() {
    let driven = Driven::start().await;
    (0..5).for_each(|tag| driven.wire.act(&format!(r#"{{"action":"Any","tag":{tag}}}"#)));
    for tag in 0..5 {
        assert_eq!(driven.wire.text().await, format!(r#"{{"event":"Done","tag":{tag}}}"#));
    }
}

/// Of two exchanges where nobody binds anything.
#[tokio::test(start_paused = true)]
async fn what_the_application_adds_waits_for_all_exchanges_at_once() {
    let driven = Driven::start().await;
    let wishes = [("slow", "1"), ("widgets", "2"), ("slower", "3"), ("slow", "4"), ("none", "5")];
    let wishes = wishes.map(|(exchange, key)| (exchange.into(), key.into()));
    *driven.app.wishes.lock().unwrap() = wishes.to_vec();
    let since = Instant::now();
    driven.wire.act(r#"{"action":"Follow","tag":1}"#);
    for (told, exchange) in [
        ("ExchangeUnavailable", "slow"),
        ("Subscribed", "widgets"),
        ("ExchangeUnavailable", "slower"),
        ("ExchangeUnavailable", "slow"),
        ("InvalidExchangeName", "none"),
    ] {
        let text = driven.wire.text().await;
        let quoted = [told, exchange].map(|word| format!("\"{word}\""));
        assert!(quoted.iter().all(|word| text.contains(word)), "{text}");
    }
    assert!(since.elapsed().abs_diff(Duration::from_secs(5)) < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_checked_again_when_it_is_time() {
    let driven = Driven::start().await;
    driven.wire.act(r#"{"action":"Subscribe","payload":{"exchange":"widgets","routing_key":1}}"#);
    assert!(driven.wire.text().await.starts_with(r#"{"event":"Subscribed""#));
    driven.app.denies.store(true, Ordering::Relaxed);
    let since = Instant::now();
    let told = loop {
        match driven.wire.next().await.0 {
            Outgoing::Ping => driven.wire.say(Incoming::Pong),
            Outgoing::Message(told) => break told,
            close => panic!("{close:?}"),
        }
    };
    assert!(told.starts_with(r#"{"event":"Unsubscribed""#), "{told}");
    assert!(since.elapsed().abs_diff(RECHECK_INTERVAL) < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_close_is_answered_and_what_came_before_it_carried_out() {
    let driven = Driven::start().await;
    driven.wire.act(r#"{"action":"Any","tag":1}"#);
    let wanted = Close::new(4711, "enough");
    driven.wire.say(Incoming::Close(Some(wanted.clone())));
    let End { close, by_client, unfinished } = driven.end().await;
    assert_eq!(close, wanted);
    assert!(by_client && unfinished.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_violation_is_told_behind_what_was_queued() {
    let driven = Driven::start().await;
    let violation = Close::new(Close::PROTOCOL_ERROR, "no");
    driven.session.outbox().send("{}".into());
    driven.wire.queues.lock().unwrap().incoming.push_back(Err(Fault::Violation(violation.clone())));
    driven.wire.act("{}");
    assert_eq!(driven.wire.next().await.0, message("{}"));
    assert_eq!(driven.wire.next().await.0, Outgoing::Close(violation.clone()));
    let since = Instant::now();
    let End { close, by_client, .. } = driven.end().await;
    assert_eq!(close, violation);
    assert!(!by_client);
    // Nobody answered.
    assert!(since.elapsed().abs_diff(Duration::from_secs(5)) < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_drained_session_finishes_what_it_read_and_sends_its_client_elsewhere() {
    let driven = Driven::start().await;
    driven.wire.act(r#"{"action":"Any","tag":1}"#);
    assert_eq!(driven.wire.next().await.0, message(r#"{"event":"Done","tag":1}"#));
    driven.session.outbox().drain();
    assert!(driven.wire.text().await.starts_with(r#"{"event":"Reconnect""#));
    let (Outgoing::Close(close), _) = driven.wire.next().await else { panic!("no close") };
    assert_eq!(close.code, Close::SERVICE_RESTART);
    driven.wire.say(Incoming::Close(None));
    assert_eq!(driven.end().await.close.code, Close::SERVICE_RESTART);
}
