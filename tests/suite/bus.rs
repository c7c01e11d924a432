//! The promises of the bus, held to by all homes, and what only RabbitMQ can go through.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{FutureExt, future::join_all};
use myxi::internals::{
    bus::{
        Answers, AskError, Bindings, BusListener, BusStatus, EventBus, Hold, LogEntry,
        PublishError, Replicas, SkipReason,
        memory::MemoryBus,
        rabbitmq::{ExchangeConfig, ExchangeKind, RabbitMqBus, RabbitMqConfig},
    },
    event::{Entry, Event, EventBody, Exchange, InvalidEvent, OutgoingEvent, Position, Topic},
    ids::ReplicaId,
};
use tokio::{
    sync::{Mutex, Notify, OwnedRwLockWriteGuard, RwLock, mpsc},
    time::sleep,
};

use crate::support::{
    DEADLINE,
    program::Program,
    rabbitmq::{LEGACY, RabbitMq},
    stream_protocol::{NO_AMQP, amqp_message},
    unique, within,
};

pub const MAX_EVENT_SIZE: usize = 256 * 1024;

/// Between two looks at something that tells nobody when it changes.
const POLL: Duration = Duration::from_millis(20);

/// Less than a publish waits for its confirm: what takes less has not waited for one.
const CONFIRM: Duration = Duration::from_millis(4_800);

/// Those that are held of exchanges without a log.
const KEYS: [&str; 7] = ["k", "x", "y", "z", "1", "", "ünï # * 🙂"];

/// A replica as far as its bus knows one: the bus, and what it told.
pub struct Replica {
    pub bus: Arc<dyn EventBus>,
    pub bindings: Arc<Bindings>,
    /// Its exchanges without a log,
    direct: Vec<Exchange>,
    /// and what is held of them.
    held: Mutex<Vec<Hold>>,
    listening: Arc<RwLock<()>>,
    pub others: Arc<dyn Replicas>,
    pub id: ReplicaId,
    notices: Mutex<mpsc::UnboundedReceiver<Notice>>,
}

/// What a bus told.
#[derive(Debug)]
pub enum Notice {
    Attached(Exchange),
    Event(Event),
    Gap(Exchange),
}

/// Listens for as long as nobody holds it up.
struct Recorder(mpsc::UnboundedSender<Notice>, Arc<RwLock<()>>);

#[async_trait]
impl BusListener for Recorder {
    async fn attached(&self, exchange: &Exchange, _: Option<Entry>) {
        let _ = self.0.send(Notice::Attached(exchange.clone()));
    }

    async fn entry(&self, exchange: &Exchange, entry: LogEntry<'_>) -> Vec<InvalidEvent> {
        let mut invalid = Vec::new();
        for event in entry.events {
            match event.read(exchange) {
                Ok(event) => drop(self.0.send(Notice::Event(event))),
                Err(error) => invalid.push(error),
            }
        }
        invalid
    }

    async fn event(&self, event: Event) {
        drop(self.1.read().await);
        let _ = self.0.send(Notice::Event(event));
    }

    async fn gap(&self, exchange: &Exchange, _: Option<Position>) {
        let _ = self.0.send(Notice::Gap(exchange.clone()));
    }
}

/// What these replicas answer.
struct Echo;

#[async_trait]
impl Answers for Echo {
    async fn answer(&self, question: Vec<u8>) -> Vec<u8> {
        if question == b"never" {
            std::future::pending::<()>().await;
        }
        [b"re: ".as_slice(), &question].concat()
    }
}

impl Replica {
    pub fn memory(exchanges: &[&str]) -> Self {
        Self::start(Vec::new(), Arc::default(), |_, _, listener| {
            MemoryBus::start(exchanges.iter().map(|name| exchange(name)).collect(), listener)
        })
    }

    pub fn rabbitmq(urls: &[&str], exchanges: &[&str]) -> Self {
        Self::with(urls, exchanges, MAX_EVENT_SIZE)
    }

    pub fn with(urls: &[&str], exchanges: &[&str], max_event_size: usize) -> Self {
        Self::configured(urls, configs(exchanges), max_event_size)
    }

    /// Of exchanges without a log.
    pub fn direct(urls: &[&str], exchanges: &[&str]) -> Self {
        let mut exchanges = configs(exchanges);
        exchanges.iter_mut().for_each(|exchange| exchange.kind = ExchangeKind::Direct);
        Self::configured(urls, exchanges, MAX_EVENT_SIZE)
    }

    pub fn configured(
        urls: &[&str],
        exchanges: Vec<ExchangeConfig>,
        max_event_size: usize,
    ) -> Self {
        let bindings = exchanges.iter().filter(|exchange| exchange.kind.has_bindings());
        let bindings = Bindings::new(bindings.map(|exchange| exchange.name.clone()));
        let direct = exchanges.iter().filter(|exchange| !exchange.kind.has_log());
        let direct = direct.map(|exchange| exchange.name.clone()).collect();
        Self::start(direct, bindings, |replica, bindings, listener| {
            let urls = urls.iter().map(|url| url.parse().expect("a broker's address")).collect();
            let config = RabbitMqConfig { urls, exchanges, bindings, replica, max_event_size };
            RabbitMqBus::start(config, listener, Arc::new(Echo))
        })
    }

    fn start<B: EventBus + Replicas + 'static>(
        direct: Vec<Exchange>,
        bindings: Arc<Bindings>,
        start: impl FnOnce(ReplicaId, Arc<Bindings>, Arc<dyn BusListener>) -> Arc<B>,
    ) -> Self {
        let (sender, notices) = mpsc::unbounded_channel();
        let id = ReplicaId::random();
        let listening = Arc::<RwLock<()>>::default();
        let bus = start(id, bindings.clone(), Arc::new(Recorder(sender, listening.clone())));
        let (held, notices) = (Mutex::default(), Mutex::new(notices));
        Self { bus: bus.clone(), bindings, direct, held, listening, others: bus, id, notices }
    }

    pub async fn attached(self, exchanges: usize) -> Self {
        for _ in 0..exchanges {
            match self.notice().await {
                Notice::Attached(_) => {}
                other => panic!("{other:?} before it was attached"),
            }
        }
        for exchange in &self.direct {
            let keys = topics(exchange.as_str(), &KEYS);
            let held = self.bindings.hold(&keys).await.expect("bound");
            self.held.lock().await.extend(held);
        }
        self
    }

    /// Until this is dropped, what comes of exchanges without a log is not listened to.
    pub async fn slow(&self) -> OwnedRwLockWriteGuard<()> {
        self.listening.clone().write_owned().await
    }

    pub async fn notice(&self) -> Notice {
        let mut notices = self.notices.lock().await;
        let notice = tokio::time::timeout(DEADLINE, notices.recv()).await;
        let Ok(Some(notice)) = notice else {
            panic!("the bus tells nothing; its status: {:?}", self.bus.status())
        };
        notice
    }

    pub async fn event(&self) -> Event {
        match self.notice().await {
            Notice::Event(event) => event,
            other => panic!("{other:?} instead of an event"),
        }
    }

    /// The names of the next events.
    pub async fn names(&self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.event().await.body.name.to_string());
        }
        names
    }

    /// The names of the events before the one of this name.
    pub async fn names_until(&self, last: &str) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let event = self.event().await;
            if *event.body.name == *last {
                return names;
            }
            names.push(event.body.name.to_string());
        }
    }

    pub async fn publish(&self, event: OutgoingEvent) -> Result<(), PublishError> {
        self.bus.publish(vec![event]).await.remove(0)
    }

    pub async fn publish_until_ok(&self, event: impl Fn() -> OutgoingEvent) {
        let published = async {
            while self.publish(event()).await.is_err() {
                sleep(POLL).await;
            }
        };
        within(DEADLINE, "an event is published", published).await;
    }

    pub async fn status_becomes(&self, what: &str, expected: impl Fn(&BusStatus) -> bool) {
        let becomes = async {
            while !expected(&self.bus.status()) {
                sleep(POLL).await;
            }
        };
        if tokio::time::timeout(DEADLINE, becomes).await.is_err() {
            panic!("the bus does not become {what}: {:?}", self.bus.status());
        }
    }
}

fn configs(exchanges: &[&str]) -> Vec<ExchangeConfig> {
    exchanges.iter().map(|name| ExchangeConfig::new(exchange(name))).collect()
}

pub fn exchange(name: &str) -> Exchange {
    Exchange::new(name).expect("an exchange name")
}

pub fn topics(exchange_name: &str, keys: &[&str]) -> Vec<Topic> {
    let topic = |key: &&str| Topic::new(exchange(exchange_name), key).expect("a topic");
    keys.iter().map(topic).collect()
}

pub fn event(exchange_name: &str, routing_key: &str, name: &str) -> OutgoingEvent {
    let topic = Topic::new(exchange(exchange_name), routing_key).expect("a topic");
    let body = EventBody::new(name, r#"{"n":123456789012345678901234567890}"#).expect("a body");
    OutgoingEvent::new(topic, body, &unique("event"), MAX_EVENT_SIZE).expect("an event")
}

pub fn all_ok(results: &[Result<(), PublishError>]) {
    let failed = results.iter().enumerate().find(|(_, result)| result.is_err());
    assert_eq!(failed, None, "of {}", results.len());
}

/// Each promise, once for each bus.
macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                let names = [super::unique("a"), super::unique("b")];
                let names = [names[0].as_str(), names[1].as_str()];
                super::$promise(super::Replica::memory(&names), names).await;
            })*
        }

        mod rabbitmq {
            $(#[tokio::test]
            async fn $promise() {
                let names = [super::unique("a"), super::unique("b")];
                let names = [names[0].as_str(), names[1].as_str()];
                let url = super::RabbitMq::shared().await.url();
                super::$promise(super::Replica::rabbitmq(&[&url], &names), names).await;
            })*
        }

        mod direct {
            $(#[tokio::test]
            async fn $promise() {
                let names = [super::unique(super::LEGACY), super::unique(super::LEGACY)];
                let names = [names[0].as_str(), names[1].as_str()];
                let url = super::RabbitMq::shared().await.legacy_url();
                super::$promise(super::Replica::direct(&[&url], &names), names).await;
            })*
        }
    };
}

promises!(
    what_is_published_is_delivered_once_and_in_order,
    a_thousand_events_at_once_keep_their_order,
    publishers_beside_each_other_each_keep_their_order,
    exchanges_and_keys_are_told_apart,
    a_payload_stays_the_text_it_was,
    the_biggest_event_is_delivered,
    an_unknown_exchange_is_told_and_harms_nothing_else,
    a_healthy_bus_says_so,
    asking_a_replica_that_is_not_there_is_told,
    closing_waits_for_what_is_under_way,
);

async fn what_is_published_is_delivered_once_and_in_order(replica: Replica, [a, _]: [&str; 2]) {
    let replica = replica.attached(2).await;
    for name in ["one", "two", "three"] {
        assert_eq!(replica.publish(event(a, "k", name)).await, Ok(()));
    }
    assert_eq!(replica.names(3).await, ["one", "two", "three"]);
}

async fn a_thousand_events_at_once_keep_their_order(replica: Replica, [a, _]: [&str; 2]) {
    let replica = replica.attached(2).await;
    let names: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    let events = names.iter().map(|name| event(a, "k", name)).collect();
    all_ok(&replica.bus.publish(events).await);

    let mut last = None;
    for name in names {
        let event = replica.event().await;
        assert_eq!(*event.body.name, *name);
        // Without a log there are none.
        let position = event.position;
        assert!(position.is_none() || position > last, "{position:?} after {last:?}");
        last = position;
    }
}

async fn publishers_beside_each_other_each_keep_their_order(replica: Replica, [a, _]: [&str; 2]) {
    let replica = replica.attached(2).await;
    let publisher = async |key: &str| {
        for n in 0..100 {
            assert_eq!(replica.publish(event(a, key, &n.to_string())).await, Ok(()));
        }
    };
    tokio::join!(publisher("x"), publisher("y"), publisher("z"));

    let mut delivered: HashMap<String, Vec<String>> = HashMap::new();
    for _ in 0..300 {
        let event = replica.event().await;
        let key = event.topic.routing_key().to_owned();
        delivered.entry(key).or_default().push(event.body.name.to_string());
    }
    let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for key in ["x", "y", "z"] {
        assert_eq!(delivered[key], expected, "{key}");
    }
}

async fn exchanges_and_keys_are_told_apart(replica: Replica, [a, b]: [&str; 2]) {
    let replica = replica.attached(2).await;
    let topics = [(a, "1"), (b, "1"), (a, ""), (b, "ünï # * 🙂")];
    for (exchange, key) in topics {
        // One after another: two exchanges have no order between them.
        assert_eq!(replica.publish(event(exchange, key, "e")).await, Ok(()));
        let event = replica.event().await;
        assert_eq!((event.topic.exchange.as_str(), event.topic.routing_key()), (exchange, key));
    }
}

async fn a_payload_stays_the_text_it_was(replica: Replica, [a, _]: [&str; 2]) {
    let replica = replica.attached(2).await;
    let payload = r#"{"n":123456789012345678901234567890,"x":1.10,  "é":"\u0000\ud83d\ude42"}"#;
    let body = EventBody::new("e", payload).expect("a body");
    let topic = Topic::new(exchange(a), "k").expect("a topic");
    let event = OutgoingEvent::new(topic, body, "id", MAX_EVENT_SIZE).expect("an event");
    assert_eq!(replica.publish(event).await, Ok(()));
    assert_eq!(replica.event().await.body.payload.get(), payload);
}

async fn the_biggest_event_is_delivered(replica: Replica, [a, _]: [&str; 2]) {
    let replica = replica.attached(2).await;
    let envelope = r#"{"event":"e","payload":""}"#.len();
    let payload = format!("\"{}\"", "x".repeat(MAX_EVENT_SIZE - envelope));
    let body = EventBody::new("e", &payload).expect("a body");
    let topic = Topic::new(exchange(a), "k").expect("a topic");
    let event = OutgoingEvent::new(topic, body, "id", MAX_EVENT_SIZE).expect("an event");
    assert_eq!(replica.publish(event).await, Ok(()));
    assert_eq!(replica.event().await.body.payload.get(), payload);
}

async fn an_unknown_exchange_is_told_and_harms_nothing_else(replica: Replica, [a, _]: [&str; 2]) {
    let replica = replica.attached(2).await;
    let events = vec![event(a, "k", "one"), event("other", "k", "?"), event(a, "k", "two")];
    let unknown = PublishError::UnknownExchange(exchange("other"));
    assert_eq!(replica.bus.publish(events).await, [Ok(()), Err(unknown), Ok(())]);
    assert_eq!(replica.names(2).await, ["one", "two"]);
}

async fn a_healthy_bus_says_so(replica: Replica, _: [&str; 2]) {
    let replica = replica.attached(2).await;
    replica.status_becomes("healthy", |s| s.attached_once && s.problems.is_empty()).await;
}

async fn asking_a_replica_that_is_not_there_is_told(replica: Replica, _: [&str; 2]) {
    let replica = replica.attached(2).await;
    replica.status_becomes("healthy", |s| s.problems.is_empty()).await;
    let nobody = ReplicaId::random();
    let answer = replica.others.ask(nobody, b"?".to_vec(), DEADLINE).await;
    // A broker cannot tell one that is not there from one that is cut off.
    let told = match replica.bus.status().kind {
        "memory" => AskError::NoSuchReplica(nobody),
        _ => AskError::Unreachable(nobody),
    };
    assert_eq!(answer, Err(told));
}

async fn closing_waits_for_what_is_under_way(replica: Replica, [a, _]: [&str; 2]) {
    let replica = replica.attached(2).await;
    let events = (0..500).map(|n| event(a, "k", &n.to_string())).collect();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let (results, ()) = tokio::join!(replica.bus.publish(events), replica.bus.close(deadline));
    all_ok(&results);
    let refused = replica.publish(event(a, "k", "?")).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
}

mod on_rabbitmq {
    use super::*;

    #[tokio::test]
    async fn every_replica_gets_every_event_and_no_markers() {
        let (url, name) = (RabbitMq::shared().await.url(), unique("a"));
        let first = Replica::rabbitmq(&[&url], &[&name]).attached(1).await;
        assert_eq!(first.publish(event(&name, "k", "one")).await, Ok(()));
        // Attaching puts a marker into the log, between the two events.
        let second = Replica::rabbitmq(&[&url], &[&name]).attached(1).await;
        assert_eq!(second.publish(event(&name, "k", "two")).await, Ok(()));

        assert_eq!(first.names(2).await, ["one", "two"]);
        assert_eq!(second.names(1).await, ["two"]);
    }

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_passed_over() {
        let (url, name) = (RabbitMq::shared().await.url(), unique("a"));
        // Nobody listens on these ports.
        let urls = ["amqp://127.0.0.1:1", "amqp://127.0.0.1:2", &url];
        let replica = Replica::rabbitmq(&urls, &[&name]).attached(1).await;
        assert_eq!(replica.publish(event(&name, "k", "one")).await, Ok(()));
        assert_eq!(replica.names(1).await, ["one"]);
    }

    #[tokio::test]
    async fn what_other_programs_publish_is_delivered_and_nonsense_is_skipped() {
        let (broker, name) = (RabbitMq::shared().await, unique("a"));
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;
        let program = Program::connect(broker).await;

        let too_big = format!(r#"{{"event":"e","payload":"{}"}}"#, "x".repeat(MAX_EVENT_SIZE));
        let nonsense: [&[u8]; 8] = [
            b"",
            b"not JSON",
            b"{}",
            b"[]",
            br#"{"event":""}"#,
            br#"{"event":7,"payload":{}}"#,
            b"{\"event\":\"\xff\"}",
            too_big.as_bytes(),
        ];
        for body in nonsense {
            program.publish(&name, "k", body).await;
        }
        program.publish(&name, "control\u{7}", br#"{"event":"e"}"#).await;
        program.publish(&name, "1234", br#"{"event":"Changed","payload":[1, 2]}"#).await;
        program.publish(&name, "", br#"{"event":"Bare"}"#).await;

        let event = replica.event().await;
        assert_eq!((event.topic.routing_key(), &*event.body.name), ("1234", "Changed"));
        assert_eq!(event.body.payload.get(), "[1, 2]");
        let event = replica.event().await;
        assert_eq!((event.topic.routing_key(), event.body.payload.get()), ("", "{}"));
    }

    #[tokio::test]
    async fn routing_keys_that_cannot_be_read_are_stepped_over() {
        let (broker, name) = (RabbitMq::shared().await, unique("a"));
        let (url, beside) = (broker.url(), unique("b"));
        let replica = Replica::rabbitmq(&[&url], &[&name, &beside]).attached(2).await;

        let messages: [(&[u8], &[u8]); 5] = [
            (b"k", br#"{"event":"before"}"#),
            (b"\xff\xfe", b"1"),
            (b"\xff\xfd", b"2"),
            (b"k", br#"{"event":"behind"}"#),
            (b"\xc8", b"3"),
        ];
        broker.publish_bytes(&format!("myxi.in.{name}"), &messages).await;
        assert_eq!(replica.names(2).await, ["before", "behind"]);

        // The last one stood at the end of the log; and the other exchange has lost nothing.
        for (exchange, event_name) in [(&name, "last"), (&beside, "beside")] {
            replica.publish_until_ok(|| event(exchange, "k", event_name)).await;
            assert_eq!(replica.names(1).await, [event_name]);
        }
    }

    /// What the broker itself cannot read, in one log.
    #[tokio::test]
    async fn entries_that_are_no_amqp_are_stepped_over_and_disturb_no_other_exchange() {
        let (broker, name) = (RabbitMq::shared().await, unique("a"));
        let (url, beside) = (broker.url(), unique("b"));
        let replica = Replica::rabbitmq(&[&url], &[&name, &beside]).attached(2).await;
        let connection = reading_connection(broker, &replica, &beside).await;
        let log = format!("myxi.log.{name}");
        let published = async |name: &str, event_name: &str| {
            assert_eq!(replica.publish(event(name, "k", event_name)).await, Ok(()));
        };

        published(&name, "one").await;
        broker.write_raw(&log, &[NO_AMQP]).await;
        published(&name, "two").await;
        broker.write_compressed(&log, 3).await;
        for _ in 0..20 {
            broker.write_raw(&log, &[NO_AMQP]).await;
        }
        published(&name, "three").await;
        published(&beside, "beside").await;
        let mut told = Vec::new();
        for _ in 0..5 {
            told.push(match replica.notice().await {
                Notice::Event(event) => event.body.name.to_string(),
                Notice::Gap(_) => "a gap".into(),
                Notice::Attached(exchange) => panic!("{exchange} is attached again"),
            });
        }
        told.retain(|one| one != "beside");
        // Of several next to each other all but the last may have been events; the batch takes
        // three offsets.
        assert_eq!(told, ["one", "two", "a gap", "three"]);
        assert_eq!(replica.bus.status().skipped[SkipReason::Unreadable], 24);
        assert!(connection.is_some());
        assert_eq!(reading_connection(broker, &replica, &beside).await, connection);
    }

    /// An event in one chunk with what the broker cannot read is lost to every reader.
    #[tokio::test]
    async fn an_event_that_nobody_can_be_given_any_more_is_told_as_a_gap() {
        let (broker, name) = (RabbitMq::shared().await, unique("a"));
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;
        let [lost, behind] = ["lost", "behind"]
            .map(|name| amqp_message("k", format!(r#"{{"event":"{name}"}}"#).as_bytes()));
        assert_eq!(replica.publish(event(&name, "k", "before")).await, Ok(()));
        broker.write_raw(&format!("myxi.log.{name}"), &[&lost, NO_AMQP, &behind]).await;

        assert_eq!(replica.names(1).await, ["before"]);
        assert!(matches!(replica.notice().await, Notice::Gap(_)));
        assert_eq!(replica.names(1).await, ["behind"]);
    }

    /// Consumers of the stream's own protocol store their offsets in it.
    #[tokio::test]
    async fn offsets_without_entries_are_no_gap() {
        let (broker, name) = (RabbitMq::shared().await, unique("a"));
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;
        for round in ["one", "two", "three"] {
            for stored in 0..4 {
                broker.store_offset(&format!("myxi.log.{name}"), "another", stored).await;
            }
            assert_eq!(replica.publish(event(&name, "k", round)).await, Ok(()));
        }
        assert_eq!(replica.names(3).await, ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn a_log_that_was_deleted_is_made_again_and_the_gap_is_told() {
        let (broker, name) = (RabbitMq::shared().await, unique("a"));
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;
        assert_eq!(replica.publish(event(&name, "k", "one")).await, Ok(()));
        assert_eq!(replica.names(1).await, ["one"]);

        let program = Program::connect(broker).await;
        program.delete_log(&name).await;
        match replica.notice().await {
            Notice::Gap(of) => assert_eq!(of.as_str(), name),
            other => panic!("{other:?} instead of a gap"),
        }
        replica.publish_until_ok(|| event(&name, "k", "two")).await;
        assert_eq!(replica.names(1).await, ["two"]);
    }

    #[tokio::test]
    async fn an_exchange_that_was_deleted_is_made_again() {
        let (broker, name) = (RabbitMq::shared().await, unique("a"));
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;
        let program = Program::connect(broker).await;
        program.delete_input(&name).await;
        replica.publish_until_ok(|| event(&name, "k", "one")).await;
        assert_eq!(replica.names(1).await, ["one"]);
    }

    #[tokio::test]
    async fn what_leads_to_no_log_is_not_called_published() {
        let (broker, name) = (RabbitMq::shared().await, unique("a"));
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;
        let program = Program::connect(broker).await;
        program.unbind(&name).await;
        let events = (0..10).map(|n| event(&name, "k", &n.to_string())).collect();
        for result in replica.bus.publish(events).await {
            assert!(matches!(result, Err(PublishError::Unavailable(_))), "{result:?}");
        }
        replica.publish_until_ok(|| event(&name, "k", "bound again")).await;
        assert_eq!(replica.names(1).await, ["bound again"]);
    }

    #[tokio::test]
    async fn what_exists_with_other_settings_is_taken_as_it_is() {
        let (broker, name) = (RabbitMq::shared().await, unique("a"));
        let program = Program::connect(broker).await;
        program.declare_log(&name, "60s").await;
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;
        assert_eq!(replica.publish(event(&name, "k", "one")).await, Ok(()));
        assert_eq!(replica.names(1).await, ["one"]);
        // Declared as before: the broker would refuse if it were another one now.
        program.declare_log(&name, "60s").await;
    }

    #[tokio::test]
    async fn an_exchange_that_cannot_be_read_does_not_interrupt_the_others() {
        let broker = RabbitMq::shared().await;
        let (url, program) = (broker.url(), Program::connect(broker).await);
        let broken = [(); 2].map(|()| unique("broken"));
        for broken in &broken {
            program.declare_queue_for_log(broken).await;
        }
        let becomes_broken = async |replica: &Replica, exchange: &str| {
            let problem = format!("exchange {exchange}, reading: ");
            let only = |s: &BusStatus| s.problems.len() == 1 && s.problems[0].contains(&problem);
            replica
                .status_becomes("broken", |s| only(s) && s.problems[0].contains("PRECOND"))
                .await;
        };
        let healthy = unique("a");
        let one_node = Replica::rabbitmq(&[&url], &[&broken[0], &healthy]).attached(1).await;
        let two_nodes = Replica::rabbitmq(&[&url, &url], &[&broken[1], &healthy]).attached(1).await;
        let mut before = Vec::new();
        for (replica, broken) in [&one_node, &two_nodes].into_iter().zip(&broken) {
            becomes_broken(replica, broken).await;
            before.push(reading_connection(broker, replica, &healthy).await);
        }

        // What cannot be read is looked for on another node after a while; the others stay.
        let first = reading_connection(broker, &two_nodes, &broken[1]).await.expect("a connection");
        let changed = async {
            let now = async || reading_connection(broker, &two_nodes, &broken[1]).await;
            while now().await.is_none_or(|now| now == first) {
                sleep(25 * POLL).await;
            }
        };
        within(3 * DEADLINE, "another node is tried", changed).await;

        for (replica, before) in [&one_node, &two_nodes].into_iter().zip(before) {
            assert!(before.is_some());
            assert_eq!(reading_connection(broker, replica, &healthy).await, before);
        }
        assert_eq!(one_node.publish(event(&healthy, "k", "still")).await, Ok(()));
        for replica in [&one_node, &two_nodes] {
            // Neither a gap nor another attach comes first.
            assert_eq!(replica.names(1).await, ["still"]);
        }
    }

    /// As the broker knows it.
    async fn reading_connection(
        broker: &RabbitMq,
        replica: &Replica,
        exchange: &str,
    ) -> Option<String> {
        let name = format!("myxi {} reading {exchange}", replica.id);
        broker.connections(&name).await.pop()
    }

    #[tokio::test]
    async fn questions_are_answered_by_the_replica_that_was_asked() {
        let url = RabbitMq::shared().await.url();
        let [asking, other, closed] = [(); 3].map(|()| Replica::rabbitmq(&[&url], &[]));
        for replica in [&asking, &other, &closed] {
            replica.status_becomes("healthy", |s| s.problems.is_empty()).await;
        }
        let ask = |replica: &Replica, question: &[u8], deadline| {
            asking.others.ask(replica.id, question.to_vec(), deadline)
        };

        let asked = (0..100u8).map(|n| ask(&other, &[n], DEADLINE).map(move |answer| (n, answer)));
        for (n, answer) in join_all(asked).await {
            assert_eq!(answer, Ok(vec![b'r', b'e', b':', b' ', n]));
        }

        let silence = ask(&other, b"never", Duration::from_millis(300));
        let silence = within(DEADLINE, "the end of a wait", silence).await;
        assert_eq!(silence, Err(AskError::NoAnswer(other.id)));

        closed.bus.close(tokio::time::Instant::now() + DEADLINE).await;
        let gone = ask(&closed, b"?", DEADLINE).await;
        assert_eq!(gone, Err(AskError::Unreachable(closed.id)));
    }

    #[tokio::test]
    async fn questions_to_replicas_that_are_gone_do_not_harm_the_others() {
        let url = RabbitMq::shared().await.url();
        let [asking, other] = [(); 2].map(|()| Replica::rabbitmq(&[&url], &[]));
        for replica in [&asking, &other] {
            replica.status_becomes("healthy", |s| s.problems.is_empty()).await;
        }
        let ask = |n: u16| {
            let replica = if n.is_multiple_of(2) { other.id } else { ReplicaId::random() };
            let asked = asking.others.ask(replica, n.to_be_bytes().to_vec(), DEADLINE);
            asked.map(move |answer| (n, replica, answer))
        };
        for _ in 0..5 {
            for (n, replica, answer) in join_all((0..200).map(ask)).await {
                let expected = match n % 2 {
                    0 => Ok([b"re: ".as_slice(), &n.to_be_bytes()].concat()),
                    _ => Err(AskError::Unreachable(replica)),
                };
                assert_eq!(answer, expected, "question {n}");
            }
        }
        assert_eq!(asking.bus.status().problems, [""; 0]);
    }

    #[tokio::test]
    async fn a_question_that_cannot_be_read_costs_the_queue_and_nothing_else() {
        let (broker, name) = (RabbitMq::shared().await, unique("a"));
        let url = broker.url();
        let [asking, other] = [(); 2].map(|()| Replica::rabbitmq(&[&url], &[&name]));
        let (asking, other) = (asking.attached(1).await, other.attached(1).await);
        for replica in [&asking, &other] {
            replica.status_becomes("healthy", |s| s.problems.is_empty()).await;
        }
        let reading = reading_connection(broker, &other, &name).await.expect("a connection");

        // A content type that is not UTF-8.
        let poison = (other.id.to_string(), b"\x80\0\x01\xff", b"?");
        broker.publish_raw("myxi.replicas", &[(poison.0.as_bytes(), poison.1, poison.2)]).await;
        let once_more = |s: &BusStatus| s.reconnects == 1 && s.problems.is_empty();
        other.status_becomes("connected again", once_more).await;

        let answer = asking.others.ask(other.id, b"?".to_vec(), DEADLINE).await;
        assert_eq!(answer, Ok(b"re: ?".to_vec()));
        assert_eq!(reading_connection(broker, &other, &name).await, Some(reading));
        assert_eq!(asking.publish(event(&name, "k", "still")).await, Ok(()));
        // No gap comes first.
        assert_eq!(other.names(1).await, ["still"]);
    }

    /// More than a message holds, so that each call has batches under way.
    const IN_BATCHES: usize = 600;

    #[tokio::test]
    async fn what_was_confirmed_survives_a_broker_that_is_killed() {
        let mut broker = RabbitMq::exclusive().await;
        go_on_through(&mut broker, 1, async |broker| broker.kill().await).await;
    }

    #[tokio::test]
    async fn what_was_confirmed_survives_a_broker_that_is_stopped() {
        let mut broker = RabbitMq::exclusive().await;
        go_on_through(&mut broker, 1, async |broker| broker.stop().await).await;
    }

    #[tokio::test]
    async fn batches_that_were_confirmed_survive_a_broker_that_is_killed() {
        let mut broker = RabbitMq::exclusive().await;
        go_on_through(&mut broker, IN_BATCHES, async |broker| broker.kill().await).await;
    }

    #[tokio::test]
    async fn batches_that_were_confirmed_survive_a_broker_that_is_stopped() {
        let mut broker = RabbitMq::exclusive().await;
        go_on_through(&mut broker, IN_BATCHES, async |broker| broker.stop().await).await;
    }

    /// Publishes all the time, so many at once, while the broker ends and comes back. What
    /// another replica reads must be all that was confirmed, in order, once, and without a gap.
    async fn go_on_through(
        broker: &mut RabbitMq,
        at_once: usize,
        end: impl AsyncFnOnce(&mut RabbitMq),
    ) {
        let (url, name) = (broker.url(), unique("a"));
        let publishing = Replica::rabbitmq(&[&url], &[&name]).attached(1).await;
        let reading = Replica::rabbitmq(&[&url], &[&name]).attached(1).await;

        let (back, all_published) = (AtomicBool::new(false), Notify::new());
        let publish = async {
            let mut confirmed = Vec::new();
            for first in (0..).step_by(at_once) {
                if back.load(Ordering::Relaxed) {
                    break;
                }
                let numbers = first..first + at_once;
                let events = numbers.clone().map(|n| event(&name, "k", &n.to_string())).collect();
                let results = publishing.bus.publish(events).await;
                // So as not to spin while nobody is there, and not to flood who reads.
                if at_once > 1 || results[0].is_err() {
                    sleep(Duration::from_millis(5)).await;
                }
                confirmed.extend(numbers.zip(results).filter_map(|(n, one)| one.ok().map(|()| n)));
            }
            all_published.notify_one();
            confirmed
        };
        let interrupt = async {
            let before = reading.names(100).await;
            end(broker).await;
            broker.restart().await;
            let began = Instant::now();
            back.store(true, Ordering::Relaxed);
            // What is pushed alone does not wait behind all of what is pushed together.
            all_published.notified().await;
            publishing.publish_until_ok(|| event(&name, "k", "last")).await;
            let after = reading.names_until("last").await;
            // Some seconds, ten times over for a machine that has other things to do.
            assert!(began.elapsed() < Duration::from_secs(45), "took {:?}", began.elapsed());
            [before, after].concat()
        };
        let (confirmed, read) = tokio::join!(publish, interrupt);

        let read: Vec<usize> = read.iter().map(|name| name.parse().expect("a number")).collect();
        assert!(read.is_sorted_by(|a, b| a < b), "out of order, or twice: {read:?}");
        let lost: Vec<_> = confirmed.iter().filter(|n| read.binary_search(n).is_err()).collect();
        assert!(lost.is_empty(), "confirmed, and never read: {lost:?}");
    }

    #[tokio::test]
    async fn a_broker_that_comes_later_is_found() {
        let mut broker = RabbitMq::exclusive().await;
        broker.stop().await;
        let name = unique("a");
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]);
        replica.status_becomes("down", |s| s.problems.iter().any(|p| p.contains("refused"))).await;
        assert!(!replica.bus.status().attached_once);
        let began = Instant::now();
        let refused = replica.publish(event(&name, "k", "?")).await;
        assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
        let unasked = replica.others.ask(ReplicaId::random(), b"?".to_vec(), DEADLINE).await;
        assert!(matches!(unasked, Err(AskError::Unavailable(_))), "{unasked:?}");
        assert!(began.elapsed() < CONFIRM, "took {:?}", began.elapsed());

        broker.restart().await;
        let replica = replica.attached(1).await;
        replica.status_becomes("healthy", |s| s.attached_once && s.problems.is_empty()).await;
        assert_eq!(replica.publish(event(&name, "k", "one")).await, Ok(()));
        assert_eq!(replica.names(1).await, ["one"]);
    }

    #[tokio::test]
    async fn a_frozen_broker_costs_bounded_time_and_memory() {
        let mut broker = RabbitMq::exclusive().await;
        let name = unique("a");
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;

        // So that there is a channel which the broker has taken something on.
        assert_eq!(replica.publish(event(&name, "k", "first")).await, Ok(()));
        assert_eq!(replica.names(1).await, ["first"]);

        broker.freeze();
        let began = Instant::now();
        // If each thousand waited for its confirms in turn, it were 15 s.
        let events = (0..2500).map(|n| event(&name, "k", &n.to_string())).collect();
        let results = replica.bus.publish(events).await;
        assert!(began.elapsed() < Duration::from_secs(14), "took {:?}", began.elapsed());
        let unconfirmed = results.iter().take_while(|r| **r == Err(PublishError::Unconfirmed));
        let (unconfirmed, refused) = results.split_at(unconfirmed.count());
        // Four messages.
        assert_eq!(unconfirmed.len(), 1024);
        assert!(refused.iter().all(|r| matches!(r, Err(PublishError::Overloaded(_)))));

        broker.thaw();
        replica.publish_until_ok(|| event(&name, "k", "last")).await;
        // What was unconfirmed may be there or not, but in order and once.
        let read = replica.names_until("last").await;
        let read: Vec<u32> = read.iter().map(|name| name.parse().expect("a number")).collect();
        assert!(read.is_sorted_by(|a, b| a < b) && read.len() <= 1024, "{read:?}");
    }

    #[tokio::test]
    async fn a_frozen_broker_holds_up_no_close_beyond_its_deadline() {
        let mut broker = RabbitMq::exclusive().await;
        let name = unique("a");
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;

        broker.freeze();
        let began = Instant::now();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
        let (published, ()) = tokio::join!(replica.publish(event(&name, "k", "?")), async {
            replica.bus.close(deadline).await;
            assert!(began.elapsed() < CONFIRM, "took {:?}", began.elapsed());
        });
        assert_eq!(published, Err(PublishError::Unconfirmed));
    }

    #[tokio::test]
    async fn a_broker_that_holds_publishers_back_is_not_queued_for() {
        let mut broker = RabbitMq::exclusive().await;
        let name = unique("a");
        let replica = Replica::rabbitmq(&[&broker.url()], &[&name]).attached(1).await;

        broker.block_publishers().await;
        let mut written = Vec::new();
        let refused = async {
            for n in 0.. {
                match replica.publish(event(&name, "k", &n.to_string())).await {
                    Err(PublishError::Overloaded(_)) => return,
                    // The alarm is not everywhere yet, or is told in answer to this one.
                    Ok(()) | Err(PublishError::Unconfirmed) => written.push(n.to_string()),
                    Err(e) => panic!("{e}"),
                }
            }
        };
        within(DEADLINE, "publishers are refused", refused).await;
        let began = Instant::now();
        let again = replica.publish(event(&name, "k", "?")).await;
        assert!(matches!(again, Err(PublishError::Overloaded(_))), "{again:?}");
        assert!(began.elapsed() < CONFIRM, "took {:?}", began.elapsed());
        let problems = replica.bus.status().problems;
        assert!(problems.iter().any(|p| p.contains("holds publishers back")), "{problems:?}");

        broker.unblock_publishers().await;
        replica.publish_until_ok(|| event(&name, "k", "last")).await;
        assert_eq!(replica.names_until("last").await, written);
    }
}
