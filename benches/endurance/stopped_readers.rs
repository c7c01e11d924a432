//! Readers that stopped, beside healthy ones, all subscribed to one key. The healthy must
//! not notice; the gateway's memory must stay inside what its limits add up to, and not grow
//! from round to round; those who do not read must be cut off.
//!
//! "Stopped" means that a socket takes nothing any more, so before a round with stopped
//! readers their sockets are filled through a key of their own: while the system still
//! buffers for them they are no different from others.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};
use myxi::proto::{PushEventRequest, gateway_client::GatewayClient};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::transport::Channel;

use crate::{
    Processors,
    application::Handler,
    args,
    client::{self, Client, Counts},
    load::{Application, Clients, Gateway, Pace, Unit, event, myxi_script, usage, within},
    verdict::Verdicts,
};

const KEY: &str = "stream";
const FILLING: &str = "filling";

/// Of an event of the stream. So large that stopped readers are cut off within a round.
const EVENT: usize = 8 * 1024;
const EVENTS_PER_SECOND: u32 = 10;
const EVENTS: u64 = 150;
const FILLING_EVENT: usize = 64 * 1024;

/// The defaults of `--max-outbox` and what the transport and a session hold beside it
/// (`src/hub/outbox.rs`, `src/edge/websocket.rs`): a buffer of frames that could not be written, one
/// of which may go past its end, and the connection itself.
const OUTBOX: u64 = 1024 * 1024;
const WRITE_BUFFER: u64 = 16 * 1024;
const CONNECTION: u64 = 8 * 1024;

const SLOW_CONSUMER: u16 = 3008;
const AT_ONCE: usize = 128;
const DEADLINE: Duration = Duration::from_secs(60);

/// A close waits 5 s for a client that may read again, and another one for its last words.
const CUT_DEADLINE: Duration = Duration::from_secs(20);

const P99_RATIO: f64 = 1.10;
const MEMORY_RATIO: f64 = 1.05;

pub async fn run(
    args: &args::Stopped,
    processors: &Processors,
    verdicts: &mut Verdicts,
) -> anyhow::Result<()> {
    println!("\n{} stopped readers beside {} healthy ones", args.stopped, args.healthy);
    let handler = Handler::default();
    let application = Application::start_with(handler.clone(), &processors.load).await?;
    let flags = ["--worker-threads=1", "--session-opened=required"];
    let gateway = Gateway::start(&application.url(), &flags, &processors.server).await?;
    let test = Test {
        args,
        api: gateway.api().await?,
        handler,
        healthy: healthy(args, &gateway).await?,
        gateway,
    };

    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut used, mut left) = (0, 0.0);
    for round in 1..=args.rounds {
        let alone = test.stream().await?;
        println!("  {round}. alone: {alone}");
        without.push(alone.p99);
        let beside = test.with_stopped(round).await?;
        with.push(beside.stream.p99);
        used = used.max(beside.used);
        left = beside.left;
    }
    let cut = test.handler.closed_with(SLOW_CONSUMER);
    verdicts.judge(
        "stopped readers are cut off as such (3008)",
        (args.rounds * args.stopped).to_string(),
        format!("{cut}; all ends: {}", test.handler.ends()),
        cut == (args.rounds * args.stopped) as u64,
    );
    let ratio = median(&with).as_secs_f64() / median(&without).as_secs_f64();
    verdicts.judge(
        "healthy p99 beside stopped readers",
        format!("≤ {P99_RATIO}×"),
        format!("{ratio:.3}× (with {}, without {})", spread(&with), spread(&without)),
        ratio <= P99_RATIO,
    );
    let budget = args.stopped as u64 * (OUTBOX + WRITE_BUFFER + EVENT as u64 + CONNECTION) / 1024;
    verdicts.judge(
        "memory that stopped readers take",
        format!("≤ {} (limits × readers)", mib(budget)),
        format!("{}; events that many wait for are held once", mib(used)),
        used <= budget,
    );
    // The allocator keeps what the first round took; it must do for all that follow.
    if args.rounds > 1 {
        verdicts.judge(
            "memory after the last round's are gone",
            format!("≤ {MEMORY_RATIO}× of before they came"),
            format!("{left:.3}×"),
            left <= MEMORY_RATIO,
        );
    }
    Ok(())
}

async fn healthy(args: &args::Stopped, gateway: &Gateway) -> anyhow::Result<Clients> {
    let clients = Clients::new(Unit::Frame, Pace::Sparing)?;
    let address = gateway.addresses.clients;
    let script = myxi_script(address, KEY);
    let opening = clients.open(address, args.healthy, AT_ONCE, |_| script.clone());
    within(DEADLINE, "the healthy clients subscribe", opening).await?;
    Ok(clients)
}

struct Test<'a> {
    args: &'a args::Stopped,
    gateway: Gateway,
    api: GatewayClient<Channel>,
    handler: Handler,
    healthy: Clients,
}

/// What healthy clients saw of a stream of events.
struct Stream {
    p50: Duration,
    p99: Duration,
    max: Duration,
    /// The most memory, in KiB.
    memory: u64,
}

struct Beside {
    stream: Stream,
    /// KiB.
    used: u64,
    left: f64,
}

impl Test<'_> {
    async fn with_stopped(&self, round: usize) -> anyhow::Result<Beside> {
        let before = self.memory();
        let stopped = within(DEADLINE, "readers subscribe and stop", self.stopped()).await?;
        let held = within(DEADLINE, "their sockets are full", self.fill()).await?;
        let stream = self.stream().await?;
        let used = stream.memory.saturating_sub(before);
        println!(
            "  {round}. beside them: {stream}; the system holds {} for them",
            mib(held / 1024)
        );
        let cut = async {
            while self.handler.closed() < (round * self.args.stopped) as u64 {
                sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        within(CUT_DEADLINE, "they are cut off", cut).await?;
        drop(stopped);
        // The last sockets close a moment after the application was told.
        sleep(Duration::from_secs(2)).await;
        let after = self.memory();
        println!(
            "     memory: before {}, most {}, after {}",
            mib(before),
            mib(stream.memory),
            mib(after)
        );
        self.healthy.none_lost()?;
        Ok(Beside { stream, used, left: after as f64 / before as f64 })
    }

    async fn stopped(&self) -> anyhow::Result<Vec<Client>> {
        let counts = Rc::new(Counts::default());
        let server = self.gateway.addresses.clients;
        let open = |number| {
            let counts = counts.clone();
            async move {
                let mut client = Client::connect(server, number, counts).await?;
                client.authenticate().await?;
                client.subscribe(&[FILLING.into(), KEY.into()]).await?;
                anyhow::Ok(client)
            }
        };
        stream::iter(0..self.args.stopped).map(open).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Until the system takes next to nothing more. Answers what it holds, in bytes.
    async fn fill(&self) -> anyhow::Result<u64> {
        let mut held = 0;
        loop {
            self.push(FILLING, FILLING_EVENT).await?;
            let now = self.settled().await?;
            if now < held + (self.args.stopped * FILLING_EVENT / 20) as u64 {
                return Ok(now);
            }
            held = now;
        }
    }

    /// What the sockets of stopped readers hold, once that stays as it is.
    async fn settled(&self) -> anyhow::Result<u64> {
        let mut held = self.held()?;
        loop {
            sleep(Duration::from_millis(50)).await;
            let now = self.held()?;
            if now == held {
                return Ok(now);
            }
            held = now;
        }
    }

    fn held(&self) -> anyhow::Result<u64> {
        let port = self.gateway.addresses.clients.port();
        let table = fs::read_to_string("/proc/net/tcp")?;
        Ok(table.lines().skip(1).filter_map(|line| waiting(line, port)).sum())
    }

    /// A paced stream of events that all healthy clients receive.
    async fn stream(&self) -> anyhow::Result<Stream> {
        let mut ticks = interval(Duration::from_secs(1) / EVENTS_PER_SECOND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut memory, mut all) = (0, self.healthy.received());
        self.healthy.take_latencies();
        for number in 0..EVENTS {
            let due = ticks.tick().await.into_std();
            // The timer's own lateness is nobody's. An event that held up the next is.
            let late = due.elapsed() > Duration::from_millis(2);
            self.healthy.published(if late { due } else { Instant::now() });
            self.push(KEY, EVENT).await?;
            all += self.healthy.len() as u64;
            within(DEADLINE, "all receive an event", self.healthy.have_received(all)).await?;
            if number % 5 == 0 {
                memory = memory.max(self.memory());
            }
        }
        let latencies = self.healthy.latencies();
        ensure!(latencies.len() as u64 == EVENTS * self.healthy.len() as u64, "a latency for each");
        let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
        Ok(Stream { p50: quantile(0.5), p99: quantile(0.99), max: quantile(1.0), memory })
    }

    async fn push(&self, key: &str, size: usize) -> anyhow::Result<()> {
        let payload = format!("{{\"x\":\"{}\"}}", "x".repeat(size - 8));
        self.api.clone().push_event(PushEventRequest { payload, ..event(key) }).await?;
        Ok(())
    }

    fn memory(&self) -> u64 {
        usage::memory(self.gateway.process.id())
    }
}

/// Of a line of /proc/net/tcp: the bytes that wait in a socket between this port and one of
/// our clients, on either side.
fn waiting(line: &str, gateway: u16) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote) = (end(fields.next()?)?, end(fields.next()?)?);
    let (unsent, unread) = fields.nth(1)?.split_once(':')?;
    let ours = |address: Ipv4Addr| address.octets().starts_with(&client::SOURCE);
    let bytes = if local.port() == gateway && ours(*remote.ip()) {
        unsent
    } else if remote.port() == gateway && ours(*local.ip()) {
        unread
    } else {
        return None;
    };
    u64::from_str_radix(bytes, 16).ok()
}

/// An address and a port in hexadecimal digits, the address as it lies in memory.
fn end(text: &str) -> Option<SocketAddrV4> {
    let (address, port) = text.split_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
    Some(SocketAddrV4::new(address.into(), u16::from_str_radix(port, 16).ok()?))
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

fn spread(times: &[Duration]) -> String {
    let (min, max) = (times.iter().min(), times.iter().max());
    format!("{:.1?}–{:.1?}", min.copied().unwrap_or_default(), max.copied().unwrap_or_default())
}

fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.1?}, p99 {:.1?}, max {:.1?}", self.p50, self.p99, self.max)
    }
}
