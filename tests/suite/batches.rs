//! Batches: several events in one entry of a log. What stands in them is delivered as if each
//! event were an entry by itself. Here other programs write them.

mod hub;

use futures_util::future::join_all;
use myxi::internals::{
    bus::SkipReason::{self, InvalidRoutingKey, NoBatch, NoEvent, TooBig},
    event::{Event, Position},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::json;

use crate::{
    admin::Console,
    bus::Replica,
    support::{
        batch::{self, BatchedEvent},
        client::Client,
        fleet::Fleet,
        metrics::Scrape,
        process::Myxi,
        program::Program,
        rabbitmq::RabbitMq,
        unique,
    },
};

impl Program {
    pub async fn publish_batch(&self, exchange: &str, events: Vec<BatchedEvent>) {
        self.publish_batched(exchange, &batch::body(events)).await;
    }

    async fn publish_batched(&self, exchange: &str, body: &[u8]) {
        self.publish_with(exchange, "", body, batch::properties()).await;
    }
}

/// What is to be written, however it is cut.
#[derive(Debug, Clone)]
enum Item {
    Event { key: String, name: String, payload: String },
    NoJson,
    NoName,
    BadKey,
    TooBig,
}

/// In bytes: little, so that a batch can hold what is too big.
const MAX_EVENT_SIZE: usize = 1_000;

impl Item {
    fn random(number: usize, rng: &mut SmallRng) -> Self {
        match rng.random_range(0..30) {
            0 => Self::NoJson,
            1 => Self::NoName,
            2 => Self::BadKey,
            3 => Self::TooBig,
            kind => Self::Event {
                key: ["", "1", "1234", "ünï # * 🙂", "k"][kind % 5].into(),
                name: format!("Event {number} \"\u{1}é\""),
                payload: [r#"{"n": 123456789012345678901234567890}"#, "7", "null", r#""\u0000""#]
                    [kind % 4]
                    .into(),
            },
        }
    }

    /// As an entry by itself: its routing key and its body.
    fn single(&self) -> (&str, String) {
        match self {
            Self::Event { key, name, payload } => {
                (key, format!(r#"{{"event":{},"payload":{payload}}}"#, json!(name)))
            }
            Self::NoJson => ("1", r#"{"event":"E","payload":nothing}"#.into()),
            Self::NoName => ("1", r#"{"event":"","payload":{}}"#.into()),
            Self::BadKey => ("bell\u{7}", r#"{"event":"E"}"#.into()),
            Self::TooBig => {
                ("1", format!(r#"{{"event":"E","payload":"{}"}}"#, "x".repeat(MAX_EVENT_SIZE)))
            }
        }
    }

    fn batched(&self, rng: &mut SmallRng) -> BatchedEvent {
        let mut nonsense = |some: [BatchedEvent; 2]| some[rng.random_range(0..2)].clone();
        match self {
            Self::Event { key, name, payload } => BatchedEvent::new(key, name, payload),
            Self::NoJson => nonsense([
                BatchedEvent::new("1", "E", "nothing"),
                BatchedEvent { payload: b"\"\xff\"".into(), ..BatchedEvent::new("1", "E", "") },
            ]),
            Self::NoName => nonsense([
                BatchedEvent::new("1", "", "{}"),
                BatchedEvent { event: b"\xff".into(), ..BatchedEvent::new("1", "", "") },
            ]),
            Self::BadKey => nonsense([
                BatchedEvent::new("bell\u{7}", "E", "{}"),
                BatchedEvent { routing_key: b"\xff".into(), ..BatchedEvent::new("", "E", "{}") },
            ]),
            Self::TooBig => nonsense([
                BatchedEvent::new("1", "E", &format!("\"{}\"", "x".repeat(MAX_EVENT_SIZE))),
                // Its name alone is escaped beyond the bound.
                BatchedEvent::new("1", &"\u{1}".repeat(255), "{}"),
            ]),
        }
    }

    fn is_poison(&self) -> bool {
        !matches!(self, Self::Event { .. })
    }
}

/// Writes the items as entries, one or many in each, with entries between that are nothing.
/// Returns how many of these there were.
async fn write(program: &Program, exchange: &str, items: &[Item], rng: &mut SmallRng) -> u64 {
    let longest = [1, 4, 40, 256][rng.random_range(0..4)];
    let (mut rest, mut no_batches) = (items, 0);
    while !rest.is_empty() {
        let (some, others) = rest.split_at(rng.random_range(1..=longest).min(rest.len()));
        rest = others;
        match some {
            [one] if rng.random() => {
                let (key, body) = one.single();
                program.publish(exchange, key, body.as_bytes()).await;
            }
            _ => {
                let events = some.iter().map(|item| item.batched(rng)).collect();
                program.publish_batch(exchange, events).await;
            }
        }
        if rng.random_ratio(1, 8) {
            program.publish_batched(exchange, b"\x0a\x05none").await;
            no_batches += 1;
        }
        if rng.random_ratio(1, 8) {
            program.publish_batch(exchange, Vec::new()).await;
        }
    }
    no_batches
}

/// What was delivered of the items, up to the event `Last`.
async fn delivered(replica: &Replica) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = replica.event().await;
        if *event.body.name == *"Last" {
            return events;
        }
        events.push(event);
    }
}

#[tokio::test]
async fn any_cutting_of_a_sequence_is_delivered_alike() {
    const CUTTINGS: usize = 16;
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let start =
        async || Replica::with(&[&broker.url()], &[&name], MAX_EVENT_SIZE).attached(1).await;
    let replicas = [start().await, start().await];
    let program = Program::connect(broker).await;
    let mut rng = SmallRng::seed_from_u64(12);
    let items: Vec<_> = (0..600).map(|number| Item::random(number, &mut rng)).collect();
    let poison = items.iter().filter(|item| item.is_poison()).count() as u64;
    assert!(poison > 20, "{poison}");

    let mut no_batches = 0;
    for cutting in 1..=CUTTINGS as u64 {
        no_batches += write(&program, &name, &items, &mut rng).await;
        program.publish(&name, "1", br#"{"event":"Last"}"#).await;

        let [events, elsewhere] = [delivered(&replicas[0]).await, delivered(&replicas[1]).await];
        let mut expected = items.iter().filter_map(|item| match item {
            Item::Event { key, name, payload } => Some((&**key, &**name, &**payload)),
            _ => None,
        });
        for event in &events {
            let Event { topic, body, .. } = event;
            let found = (topic.routing_key(), &*body.name, body.payload.get());
            assert_eq!(Some(found), expected.next(), "cutting {cutting}");
        }
        assert_eq!(expected.next(), None, "cutting {cutting}");

        let positions =
            |events: &[Event]| -> Vec<_> { events.iter().map(|event| event.position).collect() };
        let positions = [positions(&events), positions(&elsewhere)];
        assert!(positions[0].is_sorted_by(|a, b| a < b), "{:?}", positions[0]);
        assert_eq!(positions[0], positions[1]);
        for replica in &replicas {
            let skipped = replica.bus.status().skipped;
            let of = |reason: &[SkipReason]| reason.iter().map(|one| skipped[*one]).sum::<u64>();
            let events = of(&[TooBig, InvalidRoutingKey, NoEvent]);
            assert_eq!((events, of(&[NoBatch])), (cutting * poison, no_batches), "{skipped:?}");
        }
    }
}

#[tokio::test]
async fn a_position_is_the_entry_and_the_place_in_it() {
    let (broker, name) = (RabbitMq::shared().await, unique("a"));
    let replica = Replica::with(&[&broker.url()], &[&name], MAX_EVENT_SIZE).attached(1).await;
    let program = Program::connect(broker).await;
    let events = ["one", "two", "", "four"].map(|name| BatchedEvent::new("k", name, ""));
    program.publish_batch(&name, events.into()).await;
    program.publish(&name, "k", br#"{"event":"single"}"#).await;

    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(replica.event().await);
    }
    let found: Vec<_> = events.iter().map(|e| (&*e.body.name, e.position.expect("one"))).collect();
    let batch = found[0].1.entry();
    let single = found[3].1.entry();
    assert_eq!(single.offset, batch.offset + 1);
    // What is nothing has its place, too.
    let expected = [
        ("one", Position::behind(batch, 0)),
        ("two", Position::behind(batch, 1)),
        ("four", Position::behind(batch, 3)),
        ("single", Position::behind(single, 0)),
    ];
    assert_eq!(found, expected);
    assert_eq!(events[0].body.payload.get(), "{}");
}

/// A numbered event of one of so many keys.
fn numbered(number: usize, keys: usize) -> BatchedEvent {
    BatchedEvent::new(&format!("key {}", number % keys), "Event", &number.to_string())
}

#[tokio::test]
async fn every_client_receives_its_part_of_every_batch_in_order() {
    const KEYS: usize = 7;
    const EVENTS: usize = 2_000;
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    fleet.add(broker, &["--worker-threads=3"]).await;
    let program = Program::connect(broker).await;
    let mut rng = SmallRng::seed_from_u64(0);
    let mut clients = Vec::new();
    for _ in 0..12 {
        let keys: Vec<_> = (0..KEYS).filter(|_| rng.random()).collect();
        let mut client = fleet[0].client().await;
        for key in &keys {
            client.subscribe(&fleet.exchange, &format!("key {key}")).await;
        }
        client.subscribe(&fleet.exchange, "last").await;
        clients.push((client, keys));
    }

    let mut number = 0;
    while number < EVENTS {
        let several = rng.random_range(1..=255);
        let mut events: Vec<_> = (number..number + several).map(|n| numbered(n, KEYS)).collect();
        events.insert(several / 2, BatchedEvent::new("nobody's", "Event", "0"));
        number += several;
        program.publish_batch(&fleet.exchange, events).await;
        // Whoever pushes through a gateway meanwhile stands in the same order.
        let key = format!("key {}", number % KEYS);
        fleet[0].push(&fleet.exchange, &key, "Event", json!(number)).await;
        number += 1;
    }
    fleet[0].push(&fleet.exchange, "last", "Last", json!(null)).await;

    let received = clients.into_iter().map(async |(mut client, keys)| {
        let expected: Vec<_> = (0..number).filter(|n| keys.contains(&(n % KEYS))).collect();
        assert_eq!(numbers(&mut client).await, expected);
        expected.len() as f64
    });
    let received: f64 = join_all(received).await.iter().sum();
    let delivered = Scrape::of(&fleet[0]).await.value("myxi_deliveries_total");
    assert_eq!(delivered, received + 12.0);
}

/// What the events up to `Last` carry.
async fn numbers(client: &mut Client) -> Vec<usize> {
    let mut numbers = Vec::new();
    loop {
        let message = client.next().await;
        match message["event"].as_str() {
            Some("Event") => numbers.push(message["payload"].as_u64().expect("a number") as usize),
            Some("Last") => return numbers,
            _ => panic!("{message}"),
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_event_is_counted_and_costs_no_other_of_its_batch() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    fleet.add(broker, &["--max-event-size=1KiB"]).await;
    let mut client = fleet[0].client().await;
    client.subscribe(&fleet.exchange, "k").await;
    let program = Program::connect(broker).await;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a time").as_micros() as u64;
    let event = |key: &str, name: &str, payload: &str| BatchedEvent::new(key, name, payload);
    let large = format!("\"{}\"", "x".repeat(1_024));
    program
        .publish_batch(
            &fleet.exchange,
            vec![
                event("k", "First", "1"),
                event("k", "E", "no JSON"),
                event("bell\u{7}", "E", "{}"),
                event("k", "E", &large),
                event("elsewhere", "E", &large),
                event("k", "", "{}"),
                event("elsewhere", "E", "{}"),
                // Nobody reads it: that it is nothing is not seen.
                event("elsewhere", "E", "no JSON"),
                BatchedEvent { pushed_at_us: now, ..event("k", "Second", "") },
            ],
        )
        .await;
    let mq = json!({"e": fleet.exchange, "rk": "k"});
    for (name, payload) in [("First", json!(1)), ("Second", json!({}))] {
        assert_eq!(client.next().await, json!({"event": name, "payload": payload, "mq": mq}));
    }
    let scrape = Scrape::of(&fleet[0]).await;
    scrape.shows([
        (r#"myxi_events_skipped_total{reason="no_event"}"#, 2),
        (r#"myxi_events_skipped_total{reason="too_big"}"#, 2),
        (r#"myxi_events_skipped_total{reason="invalid_routing_key"}"#, 1),
        (r#"myxi_events_skipped_total{reason="no_batch"}"#, 0),
        ("myxi_events_received_total", 4),
        ("myxi_deliveries_total", 2),
        ("myxi_publish_to_write_seconds_count", 1),
        ("myxi_bus_gaps_total", 0),
    ]);
}

#[tokio::test]
async fn what_is_no_batch_is_one_entry_that_is_skipped() {
    const EVENTS_MAX: usize = 256;
    const BYTES_MAX: usize = 64 * 1024;
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    let mut client = fleet[0].subscribers(1, &fleet.exchange, "k").await.remove(0);
    let program = Program::connect(broker).await;
    let many = |events| batch::body(vec![BatchedEvent::new("k", "Many", ""); events]);
    let whole = many(2);
    let of_size = |size: usize| {
        let with = |length| batch::body(vec![BatchedEvent::new("k", "Large", &text(length))]);
        let rest = size - with(size / 2).len();
        with(size / 2 + rest)
    };
    let (largest, too_large) = (of_size(BYTES_MAX), of_size(BYTES_MAX + 1));
    assert_eq!([largest.len(), too_large.len()], [BYTES_MAX, BYTES_MAX + 1]);
    let no_batches: [&[u8]; 9] = [
        b"no batch",
        b"{\"event\":\"E\"}",
        &whole[..whole.len() - 1],
        // A number where an event is to be, and where a text is to be; a group; a field 0; a
        // number that does not end, and one of 65 bits.
        b"\x08\x01",
        b"\x0a\x02\x08\x01",
        b"\x0b\x0c",
        b"\x02\x00",
        b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        &too_large,
    ];
    for body in no_batches {
        program.publish_batched(&fleet.exchange, body).await;
    }
    program.publish_batched(&fleet.exchange, &many(EVENTS_MAX + 1)).await;
    program.publish_batched(&fleet.exchange, b"").await;
    // Fields of a newer build are passed over: a number, eight bytes, four, a text.
    let newer = b"\x38\x05\x41\0\0\0\0\0\0\0\0\x4d\0\0\0\0\x52\x01x";
    let newer = [b"\x0a\x1b\x0a\x01k\x1a\x03New".as_slice(), newer, newer].concat();
    program.publish_batched(&fleet.exchange, &newer).await;
    program.publish_batched(&fleet.exchange, &many(EVENTS_MAX)).await;
    program.publish_batched(&fleet.exchange, &largest).await;

    assert_eq!(client.next().await["event"], "New");
    for _ in 0..EVENTS_MAX {
        assert_eq!(client.next().await["event"], "Many");
    }
    assert_eq!(client.next().await["event"], "Large");
    let no_batch = r#"myxi_events_skipped_total{reason="no_batch"}"#;
    Scrape::of(&fleet[0]).await.shows([(no_batch, 10), ("myxi_events_received_total", 258)]);
}

fn text(length: usize) -> String {
    format!("\"{}\"", "x".repeat(length - 2))
}

#[tokio::test]
async fn whoever_watches_sees_each_event_of_a_batch() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    let console = Console::of(&fleet[0]);
    let program = Program::connect(broker).await;
    let mut client = fleet[0].subscribers(1, &fleet.exchange, "1").await.remove(0);
    console.read("/api/events").await;
    let events = (0..20).map(|n| BatchedEvent::new(&(n % 2).to_string(), "E", &n.to_string()));
    program.publish_batch(&fleet.exchange, events.collect()).await;
    let tail = console.awaits("/api/events", |tail| tail["next"] == 20).await;
    for (n, event) in tail["events"].as_array().expect("events").iter().enumerate() {
        let shown = ["routing_key", "payload", "subscribers"].map(|member| &event[member]);
        let expected = [json!((n % 2).to_string()), json!(n.to_string()), json!(n % 2)];
        assert_eq!(shown, expected.each_ref(), "{event}");
    }
    for n in 0..10 {
        assert_eq!(client.event("E").await["payload"], 2 * n + 1);
    }
}

/// The entry is what is found again, whole.
#[tokio::test]
async fn a_reader_that_begins_anew_amid_batches_misses_and_repeats_nothing() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    let mut client = fleet[0].subscribers(1, &fleet.exchange, "key 0").await.remove(0);
    let program = Program::connect(broker).await;
    let publishing = async {
        let mut number = 0;
        for turn in 0..5 {
            let mut publish = async |several| {
                let events = (number..number + several).map(|n| numbered(n, 1)).collect();
                program.publish_batch(&fleet.exchange, events).await;
                number += several;
            };
            publish(3).await;
            publish(1).await;
            publish(200).await;
            let readers = broker.connections(&format!("reading {}", fleet.exchange)).await;
            for reader in readers {
                broker.ctl(&["close_connection", &reader, "by the test"]).await;
            }
            publish(100).await;
            publish(1).await;
            let again = (turn + 1) as f64;
            Scrape::until(&fleet[0], "myxi_bus_reconnects_total", |made| made >= again).await;
        }
        program.publish(&fleet.exchange, "key 0", br#"{"event":"Last"}"#).await;
        number
    };
    let (number, numbers) = tokio::join!(publishing, numbers(&mut client));
    assert_eq!(numbers, (0..number).collect::<Vec<_>>());
}

/// All sessions share their runtime with the reader here.
#[tokio::test]
async fn a_log_that_is_caught_up_with_leaves_sessions_their_turn() {
    const BATCHES: usize = 1_000;
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 0).await;
    let flags = fleet.flags(broker);
    let flags = [&flags[0], &flags[1], "--worker-threads=1"];
    let replica = Myxi::serve(&fleet.app, &flags).await;
    let mut client = replica.subscribers(1, &fleet.exchange, "last").await.remove(0);
    let program = Program::connect(broker).await;
    replica.signal("STOP");
    let unwanted = batch::body(vec![BatchedEvent::new("unwanted", "E", "1"); 256]);
    join_all((0..BATCHES).map(|_| program.publish_batched(&fleet.exchange, &unwanted))).await;
    program.publish(&fleet.exchange, "last", br#"{"event":"Last"}"#).await;
    replica.signal("CONT");

    let mut answered = 0;
    loop {
        client.send(json!({"action": "Ping"})).await;
        match client.next().await["event"].as_str() {
            Some("Pong") => answered += 1,
            Some("Last") => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(answered > BATCHES / 4, "{answered} answers while {BATCHES} batches were read");
}

/// What one thread's clients do not want any more, another's may.
#[tokio::test]
async fn who_is_left_on_another_thread_still_receives() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    fleet.add(broker, &["--worker-threads=3"]).await;
    let mut clients = fleet[0].subscribers(6, &fleet.exchange, "k").await;
    let key = json!({"exchange": fleet.exchange, "routing_key": "k"});
    for left in (1..=6).rev() {
        fleet[0].push(&fleet.exchange, "k", "Event", json!(left)).await;
        for client in &mut clients {
            assert_eq!(client.event("Event").await["payload"], left);
        }
        // The eldest and the youngest in turn, by one way and the other.
        if left % 2 == 0 {
            clients.remove(0).close().await;
        } else if let Some(mut youngest) = clients.pop() {
            youngest.request("Unsubscribe", key.clone()).await;
        }
    }
    let mut client = fleet[0].subscribers(1, &fleet.exchange, "k").await.remove(0);
    fleet[0].push(&fleet.exchange, "k", "Event", json!(0)).await;
    client.event("Event").await;
}
