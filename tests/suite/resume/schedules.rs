//! Clients, replicas and a log in orders that are drawn: entries are written, read, queued for
//! hubs that lag, and delivered; clients read, stop to read, drop, and come back to any replica.
//! Each must hear each event of its keys once and in order, or be told.
//!
//! Everything is the gateway's own but for sockets, the application and the bus, whose steps the
//! test takes. A schedule is a seed: what fails can be looked at again.

mod client;
mod replica;
mod rules;

use std::sync::{Arc, Mutex};

use myxi::internals::event::Entry;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use self::{client::Client, replica::Replica};

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const REPLICAS: usize = 2;

/// In bytes: replays come in parts, and clients that do not read are cut off.
const OUTBOX: usize = 64 * 1024;
const PAYLOAD_MAX: usize = 3_000;

/// What a schedule may bring.
#[derive(Clone, Copy)]
struct Weather {
    steps: usize,
    /// What rings hold, in bytes: the least that they may turns over in a long schedule.
    ring: usize,
    /// Replicas miss entries.
    gaps: bool,
    /// Readings of the log break off, wherever they are.
    breaks: bool,
    /// Where there are few, much is read that nobody wants.
    clients: usize,
}

/// An entry of the log, with the keys and numbers of its events.
#[derive(Clone)]
struct Item {
    entry: Entry,
    events: Vec<(&'static str, u64, usize)>,
}

/// What all replicas read. Each key has numbers of its own, from 1.
#[derive(Default)]
struct Log {
    items: Vec<Item>,
    numbers: [u64; KEYS.len()],
    /// Says where, if they do.
    breaks: Option<SmallRng>,
}

impl Log {
    fn write(&mut self, rng: &mut SmallRng, events: usize) {
        let events = (0..events).map(|_| {
            let key = rng.random_range(0..KEYS.len());
            self.numbers[key] += 1;
            (KEYS[key], self.numbers[key], rng.random_range(0..PAYLOAD_MAX))
        });
        let events = events.collect();
        self.append(rng.random(), events, rng.random_range(1..=2));
    }

    fn append(&mut self, hash: u64, events: Vec<(&'static str, u64, usize)>, step: u64) {
        let offset = self.items.last().map_or(0, |last| last.entry.offset + step);
        self.items.push(Item { entry: Entry { offset, hash }, events });
    }

    fn last(&self, key: &str) -> u64 {
        self.numbers[KEYS.iter().position(|one| *one == key).expect("a key")]
    }
}

struct World {
    rng: SmallRng,
    log: Arc<Mutex<Log>>,
    replicas: Vec<Replica>,
    clients: Vec<Client>,
    weather: Weather,
}

impl World {
    fn new(seed: u64, weather: Weather) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let log = Arc::<Mutex<Log>>::default();
        log.lock().unwrap().append(rng.random(), Vec::new(), 1);
        log.lock().unwrap().breaks = weather.breaks.then(|| SmallRng::seed_from_u64(seed));
        let replicas = (0..REPLICAS).map(|_| Replica::new(&log, weather.ring)).collect();
        let keys = |rng: &mut SmallRng| {
            KEYS.into_iter().filter(|key| *key == "a" || rng.random()).collect::<Vec<_>>()
        };
        let clients = (0..weather.clients).map(|_| Client::new(keys(&mut rng))).collect();
        Self { rng, log, replicas, clients, weather }
    }

    async fn run(mut self) {
        for _ in 0..self.weather.steps {
            self.step().await;
            // Where the log is read apart.
            tokio::task::yield_now().await;
        }
        self.finish().await;
    }

    async fn step(&mut self) {
        let (replica, client) =
            (self.rng.random_range(0..REPLICAS), self.rng.random_range(0..self.weather.clients));
        let (replica, client) = (&mut self.replicas[replica], &mut self.clients[client]);
        match self.rng.random_range(0..100) {
            0..16 => {
                let events = self.rng.random_range(0..5);
                self.log.lock().unwrap().write(&mut self.rng, events);
            }
            16..55 => replica.read(),
            55..70 => replica.deliver().await,
            70..82 => client.poll().await,
            82..92 => client.hear(self.rng.random_range(0..20)),
            92..94 => client.ping(),
            94..96 => client.drop_connection(),
            96..98 => client.connect(replica),
            98 => tokio::time::advance(std::time::Duration::from_millis(5)).await,
            _ if self.weather.gaps && self.rng.random_ratio(1, 4) => replica.miss(&mut self.rng),
            _ => {}
        }
    }

    /// Everybody comes back, everything is read, and nothing is missing.
    async fn finish(mut self) {
        for client in &mut self.clients {
            client.connect(&self.replicas[0]);
        }
        // A bound, not a measure: a replay comes in so many parts at most.
        for _ in 0..10_000 {
            for replica in &mut self.replicas {
                replica.read();
                replica.deliver().await;
            }
            for client in &mut self.clients {
                client.poll().await;
                client.hear(usize::MAX);
                client.connect(&self.replicas[0]);
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let read = self.replicas.iter().all(Replica::is_idle);
            if read && self.clients.iter().all(Client::is_idle) {
                break;
            }
            tokio::time::advance(std::time::Duration::from_millis(5)).await;
        }
        let log = self.log.lock().unwrap();
        for client in &mut self.clients {
            client.hear(usize::MAX);
            client.rules.judge_end(|key| log.last(key), !self.weather.gaps);
        }
    }
}

async fn play(seeds: std::ops::Range<u64>, weather: Weather) {
    for seed in seeds {
        rules::note_seed(seed);
        World::new(seed, weather).run().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_missed_doubled_or_out_of_order_in_any_order_of_things() {
    play(0..500, Weather { steps: 400, ring: 64 << 20, gaps: false, breaks: false, clients: 4 })
        .await;
}

#[tokio::test(start_paused = true)]
async fn where_hardly_anybody_is_there_nobody_goes_back() {
    play(
        40_000..40_500,
        Weather { steps: 400, ring: 64 << 20, gaps: false, breaks: false, clients: 1 },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_replicas_miss_entries_clients_are_told() {
    play(
        10_000..10_500,
        Weather { steps: 400, ring: 64 << 20, gaps: true, breaks: false, clients: 4 },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_rings_turn_over_clients_are_told() {
    play(20_000..20_010, Weather { steps: 10_000, ring: 0, gaps: true, breaks: false, clients: 4 })
        .await;
}

/// What no ring has any more is read from the log.
#[tokio::test(start_paused = true)]
async fn where_rings_turn_over_the_log_has_it_all() {
    play(
        30_000..30_020,
        Weather { steps: 10_000, ring: 0, gaps: false, breaks: false, clients: 4 },
    )
    .await;
}

/// As often as the broker falls, also where a reading has just begun.
#[tokio::test(start_paused = true)]
async fn where_readings_break_off_the_log_has_it_all() {
    let weather = Weather { steps: 10_000, ring: 0, gaps: false, breaks: true, clients: 4 };
    play(50_000..50_010, weather).await;
}
