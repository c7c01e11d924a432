//! Bursts: more at once than an outbox holds. Whoever reads gets all of it, in order.

use std::{net::SocketAddr, thread};

use tokio::{runtime, sync::oneshot, task::JoinSet};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    DEADLINE,
    client::Client,
    fleet::Fleet,
    gateway::{Addresses, Gateway},
    handler::{
        TestHandler,
        proto::{PushEventRequest, PushEventsRequest},
    },
    rabbitmq::RabbitMq,
    within,
};

const READERS: usize = 8;

/// One call's worth of events: so many, of so many bytes.
#[derive(Clone, Copy)]
struct Burst {
    events: usize,
    bytes: usize,
}

const LARGE: Burst = Burst { events: 16, bytes: 250_000 };
const SMALL: Burst = Burst { events: 1_000, bytes: 4_000 };

impl Burst {
    async fn push(self, gateway: &Addresses, exchange: &str) {
        let blob = "x".repeat(self.bytes);
        let event = |n| PushEventRequest {
            exchange: exchange.into(),
            routing_key: "burst".into(),
            event: "E".into(),
            payload: format!("\"{n} {}\"", &blob[..self.bytes - 10]),
            event_id: None,
        };
        let events = (0..self.events).map(event).collect();
        let pushed = gateway.api().await.push_events(PushEventsRequest { events }).await;
        let results = pushed.expect("pushed").into_inner().results;
        assert!(results.iter().all(|result| result.code == 0), "{results:?}");
    }
}

/// Clients that do nothing but read, on a thread of their own.
struct Readers {
    read: oneshot::Receiver<Vec<Result<(), String>>>,
}

impl Readers {
    async fn start(gateway: SocketAddr, exchange: String, bursts: Vec<Burst>) -> Self {
        let (subscribed, ready) = oneshot::channel();
        let (tell, read) = oneshot::channel();
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let mut clients = Vec::new();
                for _ in 0..READERS {
                    let mut client = Client::connect(gateway).await;
                    client.subscribe(&exchange, "burst").await;
                    clients.push(client);
                }
                let _ = subscribed.send(());
                let mut reading = JoinSet::new();
                for client in clients {
                    reading.spawn(read_all(client, bursts.clone()));
                }
                let _ = tell.send(reading.join_all().await);
            });
        });
        within(DEADLINE, "readers", ready).await.expect("subscribed");
        Self { read }
    }

    async fn have_everything(self) {
        let read = within(3 * DEADLINE, "all that was pushed", self.read).await.expect("read");
        let failed: Vec<_> = read.into_iter().filter_map(Result::err).collect();
        assert!(failed.is_empty(), "{} of {READERS}: {failed:#?}", failed.len());
    }
}

/// Compares no more than the beginning of each, so that it reads as fast as it can.
async fn read_all(mut client: Client, bursts: Vec<Burst>) -> Result<(), String> {
    for (number, burst) in bursts.into_iter().enumerate() {
        for n in 0..burst.events {
            match client.message().await {
                Some(Ok(Message::Text(text))) => {
                    let expected = format!(r#"{{"event":"E","payload":"{n} "#);
                    if !text.starts_with(&expected) {
                        return Err(format!("burst {number}: {n} awaited, got {:.60}", text));
                    }
                }
                other => return Err(format!("burst {number}: {n} awaited, got {other:?}")),
            }
        }
    }
    client.quiet().await.then_some(()).ok_or_else(|| "more than was pushed".into())
}

async fn bursts_to(gateway: &Addresses, exchange: &str, burst: Burst) {
    const TIMES: usize = 3;
    let readers = Readers::start(gateway.clients(), exchange.to_owned(), vec![burst; TIMES]).await;
    for _ in 0..TIMES {
        burst.push(gateway, exchange).await;
    }
    readers.have_everything().await;
}

async fn in_memory(burst: Burst, workers: &str) {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", workers]).await;
    bursts_to(&gateway, "widgets", burst).await;
}

async fn through_rabbitmq(burst: Burst, workers: &str) {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    fleet.add(broker, &[workers]).await;
    bursts_to(&fleet[0], &fleet.exchange, burst).await;
}

#[tokio::test]
async fn large_events_in_memory() {
    in_memory(LARGE, "--worker-threads=1").await;
}

#[tokio::test]
async fn large_events_in_memory_on_several_threads() {
    in_memory(LARGE, "--worker-threads=3").await;
}

#[tokio::test]
async fn small_events_in_memory() {
    in_memory(SMALL, "--worker-threads=1").await;
}

#[tokio::test]
async fn small_events_in_memory_on_several_threads() {
    in_memory(SMALL, "--worker-threads=3").await;
}

#[tokio::test]
async fn large_events_through_rabbitmq() {
    through_rabbitmq(LARGE, "--worker-threads=1").await;
}

#[tokio::test]
async fn large_events_through_rabbitmq_on_several_threads() {
    through_rabbitmq(LARGE, "--worker-threads=3").await;
}

#[tokio::test]
async fn small_events_through_rabbitmq() {
    through_rabbitmq(SMALL, "--worker-threads=1").await;
}

#[tokio::test]
async fn small_events_through_rabbitmq_on_several_threads() {
    through_rabbitmq(SMALL, "--worker-threads=3").await;
}
