//! A steady mixed load for long: clients that stay, clients that come and leave in every
//! way there is, actions, errors, large messages and events of all kinds, through a real
//! RabbitMQ where one is installed. Memory must not grow, every action must be answered,
//! every event must arrive, and at the end nothing must be left behind.

mod churn;
mod publishers;
mod residents;
mod samples;

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rand::{SeedableRng, rngs::SmallRng};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::sleep,
};

use self::samples::{Sample, Samples};
use crate::{
    Processors,
    application::Handler,
    args,
    client::{Client, Counts},
    load::{Application, Gateway, RabbitMq, event, within},
    verdict::{Outcome, Verdicts},
};

const CHURNERS: usize = 20;

/// Residents share keys in so many groups.
const GROUPS: usize = 10;
const EVERYBODY: &str = "everybody";

/// Enough samples for a slope, and few enough that taking them costs nothing.
const SAMPLES: u32 = 360;
const SAMPLE_INTERVAL_MIN: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);

/// For everything that is expected to happen soon.
const DEADLINE: Duration = Duration::from_secs(60);

/// Percent an hour.
const SLOPE_MAX: f64 = 1.0;

/// A shorter run is for everything else: an allocator takes minutes to have met every
/// mixture of sizes.
const SLOPE_TIME_MIN: Duration = Duration::from_secs(20 * 60);

pub async fn run(
    args: &args::Soak,
    processors: &Processors,
    verdicts: &mut Verdicts,
) -> anyhow::Result<()> {
    let handler = Handler::default();
    let application = Application::start_with(handler.clone(), &processors.load).await?;
    let broker = broker(args, processors).await?;
    // What the application breaks on purpose is warned about every second.
    let mut flags = vec!["--session-opened=required", "--log=error,myxi::server=info"];
    let url = broker.as_ref().map(|broker| format!("--rabbitmq-url={}", broker.url()));
    flags.extend(url.as_deref());
    let gateway = Gateway::start(&application.url(), &flags, &processors.server).await?;
    let bus = if broker.is_some() { "RabbitMQ" } else { "the memory bus" };
    println!("\na soak of {} minutes, {} residents, {bus}", args.minutes, args.residents);

    let world = World::new(args.residents, gateway.addresses.clients);
    within(DEADLINE, "the first client", one_client(&gateway)).await?;
    within(DEADLINE, "the first client leaves", all_left(&handler)).await?;
    let start = Sample::of(&gateway, &handler);

    let (stop, stopped) = watch::channel(false);
    let mut residents = JoinSet::new();
    for number in 0..args.residents {
        residents.spawn_local(residents::live(world.clone(), number, stopped.clone()));
    }
    within(DEADLINE, "the residents subscribe", world.all_resident()).await?;
    let (stop_others, others_stopped) = watch::channel(false);
    let mut others = JoinSet::new();
    for number in 0..CHURNERS {
        others.spawn_local(churn::live(world.clone(), number, others_stopped.clone()));
    }
    let api = gateway.api().await?;
    for publish in publishers::all(&api) {
        others.spawn_local(publishers::until_stopped(
            world.clone(),
            publish,
            others_stopped.clone(),
        ));
    }

    let time = Duration::from_secs_f64(args.minutes * 60.0);
    let samples = watch_over(&world, &gateway, &handler, time).await?;

    stop_others.send_replace(true);
    let ending = async {
        while others.join_next().await.transpose()?.is_some() {}
        anyhow::Ok(())
    };
    within(DEADLINE, "publishers and churners end", ending).await?;
    let arrived = within(DEADLINE, "all events arrive", world.all_arrived()).await;
    stop.send_replace(true);
    let ending = async {
        while residents.join_next().await.transpose()?.is_some() {}
        anyhow::Ok(())
    };
    within(DEADLINE, "the residents leave", ending).await?;
    let left = within(DEADLINE, "the application is told of every end", all_left(&handler)).await;
    drop(api);
    sleep(Duration::from_secs(2)).await;
    let end = Sample::of(&gateway, &handler);

    println!("  all sessions ended: {}", handler.ends());
    let trouble = world.trouble.borrow();
    let told = trouble.first().map_or_else(String::new, |first| format!(", the first: {first}"));
    let reached = format!("{}{told}", trouble.len());
    verdicts.judge("answers and connections other than expected", "0", reached, trouble.is_empty());
    let (expected, received) = (world.expected.get(), world.counts.pushed.get());
    let reached = format!("{received} of {expected}");
    verdicts.judge(
        "events that reached residents",
        "all",
        reached,
        arrived.is_ok() && expected == received,
    );
    judge_slope(&samples, time, verdicts);
    let reached = format!("{} of {}", handler.closed(), handler.opened());
    verdicts.judge("sessions that the application saw end", "all", reached, left.is_ok());
    let back = end.descriptors <= start.descriptors && end.threads <= start.threads;
    verdicts.judge(
        "descriptors and threads at the end",
        format!("as at the start: {} and {}", start.descriptors, start.threads),
        format!("{} and {}", end.descriptors, end.threads),
        back,
    );
    Ok(())
}

/// None where it is not installed or not wanted.
async fn broker(args: &args::Soak, processors: &Processors) -> anyhow::Result<Option<RabbitMq>> {
    if args.memory_bus || !RabbitMq::is_installed() {
        return Ok(None);
    }
    RabbitMq::start("", &processors.load).await.map(Some)
}

/// Everything is used once: what is made when it is first needed is there at the start.
async fn one_client(gateway: &Gateway) -> anyhow::Result<()> {
    let address = gateway.addresses.clients;
    let mut client = Client::connect(address, 0, Rc::default()).await?;
    client.authenticate().await?;
    client.subscribe(&[EVERYBODY.into()]).await?;
    gateway.api().await?.push_event(event(EVERYBODY)).await?;
    while client.next().await?.mq.is_none() {}
    Ok(client.close().await?)
}

async fn all_left(handler: &Handler) -> anyhow::Result<()> {
    while handler.closed() != handler.opened() {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn watch_over(
    world: &World,
    gateway: &Gateway,
    handler: &Handler,
    time: Duration,
) -> anyhow::Result<Samples> {
    let began = Instant::now();
    let interval = (time / SAMPLES).max(SAMPLE_INTERVAL_MIN);
    let (mut samples, mut told) = (Samples::default(), began);
    while began.elapsed() < time {
        sleep(interval).await;
        let sample = Sample::of(gateway, handler);
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            let (minutes, of) = (began.elapsed().as_secs_f64() / 60.0, time.as_secs_f64() / 60.0);
            println!("  {minutes:.1} of {of:.1} minutes: {sample}; {world}");
        }
        samples.add(began.elapsed(), sample);
        if world.trouble.borrow().len() > TROUBLE_MAX {
            bail!("too much went wrong: {:?}", world.trouble.borrow().first());
        }
    }
    Ok(samples)
}

fn judge_slope(samples: &Samples, time: Duration, verdicts: &mut Verdicts) {
    let slope = samples.slope();
    let long_enough = time >= SLOPE_TIME_MIN;
    let reached = format!(
        "{:+.2} % ± {:.2} % (two standard errors) of {:.1} MiB{}",
        slope.percent,
        2.0 * slope.error,
        slope.mean_mib,
        if long_enough { "" } else { ", in a run too short to tell growth from warming up" },
    );
    let outcome = if slope.percent + 2.0 * slope.error < SLOPE_MAX {
        Outcome::Ok
    } else if long_enough && slope.percent - 2.0 * slope.error > SLOPE_MAX {
        Outcome::Short
    } else {
        Outcome::Inconclusive
    };
    verdicts.judge("growth of memory in an hour", format!("< {SLOPE_MAX} %"), reached, outcome);
}

/// Past this many surprises there is no use in going on.
const TROUBLE_MAX: usize = 1_000;

/// What all tasks of the load share.
struct World {
    server: SocketAddr,
    /// Of residents, where they are.
    sessions: RefCell<Vec<Option<String>>>,
    settled: Notify,
    /// What residents received and should have.
    counts: Rc<Counts>,
    expected: Cell<u64>,
    actions: Cell<u64>,
    churned: Cell<u64>,
    /// Whatever was not as it should be.
    trouble: RefCell<Vec<String>>,
}

impl World {
    fn new(residents: usize, server: SocketAddr) -> Rc<Self> {
        Rc::new(Self {
            server,
            sessions: RefCell::new(vec![None; residents]),
            settled: Notify::new(),
            counts: Rc::default(),
            expected: Cell::new(0),
            actions: Cell::new(0),
            churned: Cell::new(0),
            trouble: RefCell::default(),
        })
    }

    /// Every run says and does the same.
    fn dice(stream: usize) -> SmallRng {
        SmallRng::seed_from_u64(stream as u64)
    }

    fn residents(&self) -> usize {
        self.sessions.borrow().len()
    }

    fn group(number: usize) -> String {
        format!("group-{}", number % GROUPS)
    }

    fn own(number: usize) -> String {
        format!("own-{number}")
    }

    async fn all_resident(&self) -> anyhow::Result<()> {
        loop {
            let settled = self.settled.notified();
            if let Some(first) = self.trouble.borrow().first() {
                bail!("{first}");
            }
            if self.sessions.borrow().iter().all(Option::is_some) {
                return Ok(());
            }
            settled.await;
        }
    }

    async fn all_arrived(&self) -> anyhow::Result<()> {
        while self.counts.pushed.get() < self.expected.get() {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn expect(&self, events: usize) {
        self.expected.set(self.expected.get() + events as u64);
    }

    fn trouble(&self, who: &str, what: impl std::fmt::Display) {
        self.trouble.borrow_mut().push(format!("{who}: {what}"));
        self.settled.notify_waiters();
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (events, actions) = (self.counts.pushed.get(), self.actions.get());
        let (churned, trouble) = (self.churned.get(), self.trouble.borrow().len());
        write!(f, "{events} events received, {actions} actions, {churned} came and left, ")?;
        write!(f, "{trouble} surprises")
    }
}

/// How a task that was told to stop finds out.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// An error is a surprise.
fn note<T>(world: &World, who: &str, outcome: anyhow::Result<T>) -> Option<T> {
    outcome.inspect_err(|error| world.trouble(who, format!("{error:#}"))).ok()
}

/// Awaits with the deadline of everything here.
async fn soon<T, E>(what: &str, future: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    Result<T, E>: Context<T, E>,
{
    let done = tokio::time::timeout(DEADLINE, future).await;
    done.with_context(|| format!("{what}: not within {DEADLINE:?}"))?.context(what.to_owned())
}
