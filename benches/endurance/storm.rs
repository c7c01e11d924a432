//! Everybody reconnects at once: after the gateway was killed and started again where it
//! was, and after it was told to stop while another one was there. All must be back
//! (connected, authenticated, subscribed) soon, and the application must not be asked more
//! at once than it is willing to be.
//!
//! The clients are as unkind as clients can be: no jitter, no backoff, a new attempt the
//! moment the last one failed. Only what the gateway asks of them ("later") is respected.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::{
    sync::Notify,
    task::{JoinSet, yield_now},
    time::sleep,
};

use crate::{
    Processors,
    application::Handler,
    args,
    client::{Client, Counts, Gone},
    load::{Application, Gateway, event, within},
    verdict::Verdicts,
};

const TARGET: Duration = Duration::from_secs(5);

/// After which it is no use waiting.
const GIVE_UP: Duration = Duration::from_secs(60);

/// What the application needs for each call, as one that asks its database.
const THINKS: Duration = Duration::from_millis(10);

/// What everybody is subscribed to, beside keys of their own.
const EVERYBODY: &str = "everybody";

pub async fn run(
    args: &args::Storm,
    processors: &Processors,
    verdicts: &mut Verdicts,
) -> anyhow::Result<()> {
    println!("\n{} clients reconnect at once", args.clients);
    let handler = Handler::that_thinks(THINKS);
    let application = Application::start_with(handler.clone(), &processors.load).await?;
    let bound = format!("--max-in-flight={}", args.max_in_flight);
    // Nothing is spread out: the drain sends everybody off at once.
    let flags = [bound.as_str(), "--drain-time=0s"];
    let url = application.url();
    let start = || Gateway::start(&url, &flags, &processors.server);

    let mut gateway = start().await?;
    let crowd = Crowd::gather(args.clients, gateway.addresses.clients);
    let first = crowd.all_back(Instant::now(), "the first time").await?;
    println!("  the first time: {first}");
    crowd.all_hear(&gateway).await?;

    let (mut killed, mut drained) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        crowd.expect_all();
        let (began, address) = (Instant::now(), gateway.addresses.clients);
        drop(gateway);
        gateway = Gateway::start_at(address, &url, &flags, &processors.server).await?;
        let listening = began.elapsed();
        let back = crowd.all_back(began, "after a kill").await?;
        println!("  {round}. killed, listening again after {listening:.2?}: {back}");
        crowd.all_hear(&gateway).await?;
        killed.push(back.times);

        let other = start().await?;
        crowd.expect_all();
        crowd.server.set(other.addresses.clients);
        let began = Instant::now();
        signal(&gateway, "-TERM")?;
        let back = crowd.all_back(began, "after a drain").await?;
        let ended = within(GIVE_UP, "the drained gateway ends", end(gateway)).await?;
        println!("  {round}. drained, ended {ended:.2?} later: {back}");
        gateway = other;
        crowd.all_hear(&gateway).await?;
        drained.push(back.times);
    }
    for (what, rounds) in [("a kill", killed), ("a drain", drained)] {
        let last: Vec<_> = rounds.iter().filter_map(|times| times.last().copied()).collect();
        let worst = last.iter().max().copied().unwrap_or_default();
        let each: Vec<_> = last.iter().map(|time| format!("{time:.2?}")).collect();
        let what = format!("{} clients are back after {what}", args.clients);
        verdicts.judge(&what, format!("≤ {TARGET:?}"), each.join(", "), worst <= TARGET);
    }
    let (most, bound) = (handler.max_in_flight(), args.max_in_flight);
    verdicts.judge(
        "calls to the application at once, of one replica",
        format!("≤ {bound}"),
        most.to_string(),
        most <= bound,
    );
    Ok(())
}

fn signal(gateway: &Gateway, signal: &str) -> anyhow::Result<()> {
    let process = gateway.process.id().to_string();
    let status = Command::new("kill").args([signal, &process]).status().context("kill")?;
    ensure!(status.success(), "kill {signal}: {status}");
    Ok(())
}

/// Waits until it has ended by itself; that must be a success.
async fn end(mut gateway: Gateway) -> anyhow::Result<Duration> {
    let began = Instant::now();
    loop {
        if let Some(status) = gateway.process.child().try_wait()? {
            ensure!(status.success(), "the drained gateway: {status}");
            return Ok(began.elapsed());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Clients that always come back.
struct Crowd {
    size: usize,
    shared: Rc<Shared>,
    _clients: JoinSet<()>,
}

struct Shared {
    /// Where to go.
    server: Cell<SocketAddr>,
    /// When each became subscribed.
    back: RefCell<Vec<Instant>>,
    /// Why attempts failed, and how often.
    failed: RefCell<BTreeMap<String, usize>>,
    counts: Rc<Counts>,
    moved: Notify,
}

impl std::ops::Deref for Crowd {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Crowd {
    fn gather(size: usize, server: SocketAddr) -> Self {
        let shared = Rc::new(Shared {
            server: Cell::new(server),
            back: RefCell::default(),
            failed: RefCell::default(),
            counts: Rc::default(),
            moved: Notify::new(),
        });
        let mut clients = JoinSet::new();
        for number in 0..size {
            clients.spawn_local(live(number, shared.clone()));
        }
        Self { size, shared, _clients: clients }
    }

    fn expect_all(&self) {
        self.back.borrow_mut().clear();
        self.failed.borrow_mut().clear();
        self.counts.busy.set(0);
    }

    async fn all_back(&self, since: Instant, when: &str) -> anyhow::Result<Back> {
        let all = async {
            loop {
                let moved = self.moved.notified();
                if self.back.borrow().len() == self.size {
                    return Ok(());
                }
                moved.await;
            }
        };
        let done = within(GIVE_UP, &format!("all clients are back {when}"), all).await;
        done.with_context(|| format!("{} of {}", self.back.borrow().len(), self.size))?;
        let mut times: Vec<_> =
            self.back.borrow().iter().map(|back| back.duration_since(since)).collect();
        times.sort_unstable();
        Ok(Back { times, failed: self.failed.take(), busy: self.counts.busy.get() })
    }

    /// One event reaches everybody once.
    async fn all_hear(&self, gateway: &Gateway) -> anyhow::Result<()> {
        let before = self.counts.pushed.get();
        gateway.api().await?.push_event(event(EVERYBODY)).await?;
        let heard = || self.counts.pushed.get() - before;
        let all = async {
            while heard() < self.size as u64 {
                sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        within(GIVE_UP, "everybody hears of an event", all).await
    }
}

async fn live(number: usize, shared: Rc<Shared>) {
    loop {
        let mut client = match enter(number, &shared).await {
            Ok(client) => client,
            Err(gone) => {
                *shared.failed.borrow_mut().entry(gone.to_string()).or_default() += 1;
                yield_now().await;
                continue;
            }
        };
        shared.back.borrow_mut().push(Instant::now());
        shared.moved.notify_waiters();
        while client.next().await.is_ok() {}
    }
}

async fn enter(number: usize, shared: &Shared) -> Result<Client, Gone> {
    let mut client = Client::connect(shared.server.get(), number, shared.counts.clone()).await?;
    client.authenticate().await?;
    let keys = [EVERYBODY.into(), format!("group-{}", number % 50), format!("own-{number}")];
    client.subscribe(&keys).await?;
    Ok(client)
}

/// How they came back.
struct Back {
    /// Sorted.
    times: Vec<Duration>,
    failed: BTreeMap<String, usize>,
    busy: u64,
}

impl std::fmt::Display for Back {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let after = |share: f64| self.times[((self.times.len() - 1) as f64 * share) as usize];
        for share in [0.5, 0.9, 0.99, 1.0] {
            write!(f, "{:.0} % after {:.2?}, ", share * 100.0, after(share))?;
        }
        write!(f, "told \"later\" {} times", self.busy)?;
        self.failed.iter().try_for_each(|(why, times)| write!(f, ", {times} × {why}"))
    }
}
