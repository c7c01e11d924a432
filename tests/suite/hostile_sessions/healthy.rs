//! The clients beside the attack: subscribed, served at a steady pace, and measured in
//! quiet times and under attack. They live on a thread of their own, so that the attacker's
//! work delays what they measure as little as may be.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{task::JoinSet, time::interval};

use crate::support::{client::Client, gateway::Addresses};

pub const CLIENTS: usize = 20;

/// Between two events.
const PACE: Duration = Duration::from_millis(10);

const TOPIC: (&str, &str) = ("widgets", "healthy");

/// What happens while an event is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Time {
    Quiet,
    Attack,
    /// Before, between and after: not measured.
    Other,
    Over,
}

pub struct Healthy {
    time: Arc<AtomicU8>,
    thread: JoinHandle<Latencies>,
}

/// From the push of an event to its arrival at a client.
#[derive(Debug, Default)]
pub struct Latencies {
    pub quiet: Vec<Duration>,
    pub attack: Vec<Duration>,
}

impl Latencies {
    pub fn p99(latencies: &[Duration]) -> Duration {
        let mut sorted = latencies.to_vec();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 99 / 100).copied().expect("something was measured")
    }
}

impl Healthy {
    /// Comes back once all are subscribed.
    pub async fn start(gateway: Addresses) -> Self {
        let time = Arc::new(AtomicU8::new(Time::Other as u8));
        let clock = time.clone();
        let (subscribed, ready) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let clients = gateway.subscribers(CLIENTS, TOPIC.0, TOPIC.1).await;
                let _ = subscribed.send(());
                run(gateway, clients, &clock).await
            })
        });
        ready.await.expect("subscribed");
        Self { time, thread }
    }

    pub fn it_is(&self, time: Time) {
        self.time.store(time as u8, Ordering::Relaxed);
    }

    /// The last event has come to everyone, and so have all before it, in order.
    pub async fn stop(self) -> Latencies {
        self.it_is(Time::Over);
        let joining = tokio::task::spawn_blocking(|| self.thread.join());
        joining.await.expect("awaited").expect("every client got every event")
    }
}

type Sent = Arc<Mutex<Vec<(Instant, u8)>>>;

async fn run(gateway: Addresses, clients: Vec<Client>, time: &AtomicU8) -> Latencies {
    let sent = Sent::default();
    let mut listening: JoinSet<Latencies> =
        clients.into_iter().map(|client| listen(client, sent.clone())).collect();
    let mut pace = interval(PACE);
    loop {
        pace.tick().await;
        let now = time.load(Ordering::Relaxed);
        let number = {
            let mut sent = sent.lock().unwrap();
            sent.push((Instant::now(), now));
            sent.len() - 1
        };
        let last = now == Time::Over as u8;
        gateway.push(TOPIC.0, TOPIC.1, "Tick", json!({"number": number, "last": last})).await;
        if last {
            break;
        }
    }
    let mut all = Latencies::default();
    while let Some(one) = listening.join_next().await {
        let one = one.expect("a client that got everything");
        all.quiet.extend(one.quiet);
        all.attack.extend(one.attack);
    }
    all
}

async fn listen(mut client: Client, sent: Sent) -> Latencies {
    let mut latencies = Latencies::default();
    for number in 0.. {
        let tick = client.next().await;
        assert_eq!(tick["payload"]["number"], number, "each event once and in order: {tick}");
        let (at, time) = sent.lock().unwrap()[number];
        if time == Time::Quiet as u8 {
            latencies.quiet.push(at.elapsed());
        } else if time == Time::Attack as u8 {
            latencies.attack.push(at.elapsed());
        }
        if tick["payload"]["last"] == true {
            break;
        }
    }
    client.close().await;
    latencies
}
