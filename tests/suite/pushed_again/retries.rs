//! Over real sockets: whoever does not know whether an event was taken pushes it again, and each
//! client has it once, on every replica, whatever became of the replica's way to the log.

use serde_json::json;
use tonic::Code;

use super::single;
use crate::{
    admin::Console,
    log::push_with_bulk,
    support::{
        client::Client,
        fleet::Fleet,
        gateway::{Addresses, Gateway, push_request},
        handler::{
            TestHandler,
            proto::{PushEventRequest, PushEventsRequest},
        },
        metrics::Scrape,
        process::Myxi,
        program::Program,
        proxy::Proxy,
        rabbitmq::RabbitMq,
    },
};

const DUPLICATES: &str = "myxi_events_duplicate_total";

fn numbered(exchange: &str, number: u32) -> PushEventRequest {
    let event_id = Some(format!("event {number}"));
    PushEventRequest { event_id, ..push_request(exchange, "k", "Event", &json!(number)) }
}

async fn push(gateway: &Addresses, event: PushEventRequest) -> Code {
    let pushed = gateway.api().await.push_event(event).await;
    pushed.map_or_else(|status| status.code(), |_| Code::Ok)
}

async fn push_all(gateway: &Addresses, events: Vec<PushEventRequest>) -> Vec<Code> {
    let pushed = gateway.api().await.push_events(PushEventsRequest { events }).await;
    let results = pushed.expect("results").into_inner().results;
    results.into_iter().map(|result| result.code.into()).collect()
}

async fn push_last(gateway: &Addresses, exchange: &str) {
    gateway.push(exchange, "k", "Last", json!(null)).await;
}

/// The numbers that come before `Last`.
async fn numbers(client: &mut Client) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        let message = client.next().await;
        match message["event"].as_str() {
            Some("Event") => numbers.push(message["payload"].as_u64().expect("a number")),
            Some("Last") => return numbers,
            _ => panic!("{message}"),
        }
    }
}

/// A replica whose confirms can get lost, another, and a client of each.
struct Lossy {
    fleet: Fleet,
    proxy: Proxy,
    clients: Vec<Client>,
}

impl Lossy {
    async fn start() -> Self {
        let broker = RabbitMq::shared().await;
        let mut fleet = Fleet::start(broker, 1).await;
        let proxy = Proxy::to(broker.port()).await;
        let through = format!("--rabbitmq-url=amqp://myxi:myxi@127.0.0.1:{}/%2f", proxy.port());
        let exchange = format!("--exchange={}", fleet.exchange);
        fleet.replicas.insert(0, Gateway::with(&fleet.app, &[&through, &exchange]).await);
        let mut clients = Vec::new();
        for replica in &fleet.replicas {
            clients.extend(replica.subscribers(1, &fleet.exchange, "k").await);
        }
        Self { fleet, proxy, clients }
    }

    /// Each client has the events before it, once.
    async fn each_has(&mut self, expected: &[u64]) {
        push_last(&self.fleet[1], &self.fleet.exchange).await;
        for client in &mut self.clients {
            assert_eq!(numbers(client).await, expected);
        }
    }
}

#[tokio::test]
async fn an_event_pushed_again_after_unknown_reaches_each_client_once() {
    let mut lossy = Lossy::start().await;
    let Lossy { fleet, proxy, .. } = &lossy;
    let event = |number| numbered(&fleet.exchange, number);
    assert_eq!(push(&fleet[0], event(0)).await, Code::Ok);
    proxy.confirm_nothing();
    assert_eq!(push(&fleet[0], event(1)).await, Code::Unknown);
    assert_eq!(push(&fleet[1], event(1)).await, Code::Ok);
    proxy.mend();
    Scrape::until(&fleet[0], "myxi_bus_reconnects_total", |made| made >= 1.0).await;
    fleet[0].ready().await;
    assert_eq!(push(&fleet[0], event(1)).await, Code::Ok);
    for replica in &fleet.replicas {
        Scrape::until(replica, DUPLICATES, |duplicates| duplicates == 2.0).await;
    }
    lossy.each_has(&[0, 1]).await;
}

/// However they are cut into messages the second time.
#[tokio::test]
async fn a_call_pushed_again_after_unknown_reaches_each_client_once() {
    let mut lossy = Lossy::start().await;
    let Lossy { fleet, proxy, .. } = &lossy;
    let events = |numbers: std::ops::Range<u32>| {
        numbers.map(|number| numbered(&fleet.exchange, number)).collect::<Vec<_>>()
    };
    let last = events(400..401).remove(0);
    assert_eq!(push(&fleet[0], last.clone()).await, Code::Ok);
    proxy.confirm_nothing();
    let unknown = push_all(&fleet[0], events(0..300)).await;
    assert_eq!(unknown, [Code::Unknown; 300]);
    // With some that were not pushed before.
    for part in [events(0..1), events(1..290), events(290..310)] {
        let pushed = push_all(&fleet[1], part).await;
        assert!(pushed.iter().all(|code| *code == Code::Ok), "{pushed:?}");
    }
    let expected: Vec<_> = [400].into_iter().chain(0..310).collect();
    lossy.each_has(&expected).await;
}

#[tokio::test]
async fn without_a_broker_it_is_delivered_once_too() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.subscribers(1, "widgets", "k").await.remove(0);
    for number in [1, 1, 2] {
        assert_eq!(push(&gateway, numbered("widgets", number)).await, Code::Ok);
    }
    let call = [2, 3, 3, 1].map(|number| numbered("widgets", number));
    assert_eq!(push_all(&gateway, call.into()).await, [Code::Ok; 4]);
    // By hand, under the id of another, and under one of its own twice.
    for (number, id) in [(4, "event 3"), (5, "by hand"), (6, "by hand")] {
        let event = json!({
            "exchange": "widgets", "routing_key": "k", "event": "Event", "payload": number,
            "event_id": id,
        });
        assert_eq!(Console::of(&gateway).push(&event.to_string()).await.status, 200);
    }
    // With ids that are drawn, the same is another.
    for _ in 0..2 {
        gateway.push("widgets", "k", "Event", json!(7)).await;
    }
    push_last(&gateway, "widgets").await;
    assert_eq!(numbers(&mut client).await, [1, 2, 3, 5, 7, 7]);
    Scrape::of(&gateway).await.shows([(DUPLICATES, 6), ("myxi_events_received_total", 13)]);
}

/// It is the log that decides, not who was there when the event came first.
#[tokio::test]
async fn who_subscribes_between_two_pushes_gets_the_second_from_no_replica() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 2).await;
    let program = Program::connect(broker).await;
    let mut early = fleet[0].subscribers(1, &fleet.exchange, "k").await.remove(0);
    let call = |numbers: [u32; 3]| numbers.map(|number| numbered(&fleet.exchange, number)).into();
    assert_eq!(push(&fleet[0], numbered(&fleet.exchange, 0)).await, Code::Ok);
    assert_eq!(push_all(&fleet[0], call([1, 2, 3])).await, [Code::Ok; 3]);
    // Nobody on the second replica wants it, and there, too, it is seen that this is nothing.
    let marked = single("event 4", Some(lapin::types::AMQPValue::Boolean(true)));
    program.publish_with(&fleet.exchange, "k", b"no JSON", marked).await;
    Scrape::until(&fleet[1], "myxi_events_received_total", |events| events == 4.0).await;

    let mut late = fleet[1].subscribers(1, &fleet.exchange, "k").await.remove(0);
    assert_eq!(push(&fleet[1], numbered(&fleet.exchange, 2)).await, Code::Ok);
    assert_eq!(push_all(&fleet[0], call([0, 1, 4])).await, [Code::Ok; 3]);
    push_last(&fleet[0], &fleet.exchange).await;
    assert_eq!(numbers(&mut early).await, [0, 1, 2, 3, 4]);
    assert_eq!(numbers(&mut late).await, [4]);
    for replica in &fleet.replicas {
        let skipped = r#"myxi_events_skipped_total{reason="no_event"}"#;
        Scrape::of(replica).await.shows([(DUPLICATES, 3), (skipped, 1)]);
    }
}

#[tokio::test]
async fn a_reader_that_goes_on_where_it_was_knows_the_ids_before() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    let mut client = fleet[0].subscribers(1, &fleet.exchange, "k").await.remove(0);
    assert_eq!(push(&fleet[0], numbered(&fleet.exchange, 1)).await, Code::Ok);
    client.event("Event").await;
    for reader in broker.connections(&format!("reading {}", fleet.exchange)).await {
        broker.ctl(&["close_connection", &reader, "by the test"]).await;
    }
    Scrape::until(&fleet[0], "myxi_bus_reconnects_total", |made| made >= 1.0).await;
    fleet[0].ready().await;
    for number in [1, 2] {
        assert_eq!(push(&fleet[0], numbered(&fleet.exchange, number)).await, Code::Ok);
    }
    push_last(&fleet[0], &fleet.exchange).await;
    assert_eq!(numbers(&mut client).await, [2]);
}

#[tokio::test]
async fn ids_of_a_log_withhold_nothing_from_one_that_was_made_anew() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    let mut client = fleet[0].subscribers(1, &fleet.exchange, "k").await.remove(0);
    assert_eq!(push(&fleet[0], numbered(&fleet.exchange, 1)).await, Code::Ok);
    client.event("Event").await;
    Program::connect(broker).await.delete_log(&fleet.exchange).await;
    client.event("Gap").await;
    for number in [1, 1] {
        assert_eq!(push(&fleet[0], numbered(&fleet.exchange, number)).await, Code::Ok);
    }
    push_last(&fleet[0], &fleet.exchange).await;
    assert_eq!(numbers(&mut client).await, [1]);
}

/// What stood between is not known, nor whether it is the same log.
#[tokio::test]
async fn a_reader_whose_log_was_cut_withholds_nothing_by_what_was_before() {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    let name = fleet.exchange.clone();
    fleet.exchange = format!("{name};max-bytes=1MB;segment-bytes=500KB");
    fleet.add(broker, &[]).await;
    let flags = fleet.flags(broker);
    let stopped = Myxi::serve(&fleet.app, &[&flags[0], &flags[1]]).await;
    let mut client = stopped.subscribers(1, &name, "k").await.remove(0);
    let mut elsewhere = fleet[0].subscribers(1, &name, "k").await.remove(0);
    assert_eq!(push(&fleet[0], numbered(&name, 1)).await, Code::Ok);
    client.event("Event").await;
    stopped.signal("STOP");
    // More than the sockets between hold, by far more than the log.
    push_with_bulk(&fleet[0], &name, 0..400).await;
    stopped.signal("CONT");
    client.event("Gap").await;
    for number in [1, 1, 2] {
        assert_eq!(push(&fleet[0], numbered(&name, number)).await, Code::Ok);
    }
    push_last(&fleet[0], &name).await;
    assert_eq!(numbers(&mut client).await, [1, 2]);
    assert_eq!(numbers(&mut elsewhere).await, [1, 2]);
}
