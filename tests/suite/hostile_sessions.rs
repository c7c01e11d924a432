//! Thousands of hostile sessions against the real process, from a seeded generator: each
//! is judged by what the gateway must do at the least, and together they must leave nothing
//! behind and be hardly noticed by the healthy clients beside them.
//!
//! A session is a class, a seed and a number; the classes are tables in the modules below.
//! `scripts/hostile` runs 100,000 of them against the release gateway and is strict about
//! cost and latency. Here, beside other tests and unoptimised, a slice of them runs.

mod application;
mod attack;
mod cost;
mod frames;
mod handshake;
mod healthy;
mod heard;
mod json;
mod keys;
mod pacing;
mod plan;
mod play;

use std::{
    collections::{BTreeMap, HashSet},
    env,
    ops::Range,
    sync::Arc,
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::TcpStream, sync::oneshot, time::sleep};

use self::{
    application::Books,
    attack::{Attacker, Outcome},
    cost::{Cost, Costs, Process},
    healthy::{CLIENTS, Healthy, Latencies, Time},
    plan::{Class, Dice, Expect, Plan, Request},
    play::play,
};
use crate::support::{
    DEADLINE, client::Client, gateway::Addresses, handler::TestHandler, process::Myxi, within,
};

const MAX_CONNECTIONS: usize = 1_000;
const MAX_PENDING_HANDSHAKES: usize = 200;

/// Short times, so that many sessions that wait them out fit into a run.
const FLAGS: [&str; 7] = [
    "--exchange=widgets",
    "--session-opened=required",
    "--handshake-timeout=1s",
    "--ping-interval=1s",
    "--action-timeout=1s",
    "--max-connections=1000",
    "--max-pending-handshakes=200",
];

/// How long it is quiet before, between and after the attacks.
const QUIET: Duration = Duration::from_secs(2);

/// What may stay of memory, beside what the first round left: the allocator's own waste,
/// not something of each session.
const MEMORY_GROWTH_MAX: i64 = 2 << 20;

/// In a slice, on a machine that has other things to do: no client may feel it.
const P99_MAX: Duration = Duration::from_millis(250);

fn classes() -> Vec<Class> {
    let tables = [
        handshake::classes(),
        frames::classes(),
        json::classes(),
        keys::classes(),
        pacing::classes(),
    ];
    tables.into_iter().flatten().collect()
}

/// From the environment, as `scripts/hostile` sets it.
fn setting(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    }
}

#[test]
fn there_are_three_hundred_classes_each_with_a_name_of_its_own() {
    let classes = classes();
    let names: HashSet<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names.len(), classes.len(), "a name is there twice");
    assert!(classes.len() >= 300, "{}", classes.len());
    println!("{} classes", classes.len());
}

#[tokio::test]
async fn hostile_sessions_get_what_they_deserve_and_leave_nothing_behind() {
    rlimit::increase_nofile_limit(u64::MAX).expect("descriptors");
    let app = TestHandler::start().await;
    let books = application::script(&app);
    let mut myxi = Myxi::serve(&app, &FLAGS).await;
    let attacker = Attacker {
        gateway: myxi.clients(),
        classes: Arc::new(classes()),
        seed: setting("MYXI_HOSTILE_SEED", 1),
        rate: setting("MYXI_HOSTILE_RATE", 200) as u32,
    };
    if let Ok(number) = env::var("MYXI_HOSTILE_AGAIN") {
        return again(&attacker, number.parse().expect("a number")).await;
    }
    let sessions = setting("MYXI_HOSTILE_SESSIONS", 5_000);
    let strict = setting("MYXI_HOSTILE_STRICT", 0) == 1;
    let draining = tokio::spawn(forget_calls(Arc::new(app)));

    let process = Process(myxi.pid());
    let healthy = Healthy::start(*myxi).await;
    let descriptors = process.descriptors();
    let mut outcome = Outcome::default();
    let mut memory = Vec::new();
    for numbers in rounds(sessions) {
        healthy.it_is(Time::Quiet);
        sleep(QUIET).await;
        healthy.it_is(Time::Attack);
        let (begun, all_begun) = oneshot::channel();
        let attack = attacker.sessions(numbers, begun);
        let (round, ()) = tokio::join!(attack, async {
            let _ = all_begun.await;
            healthy.it_is(Time::Other);
        });
        outcome.costs.merge(round.costs);
        outcome.failures.extend(round.failures);
        // One after another: each of these leaks would hide behind the one before.
        becomes("sessions without a farewell", CLIENTS, || books.open()).await;
        becomes("descriptors", descriptors, || process.descriptors()).await;
        memory.push(process.memory());
    }
    healthy.it_is(Time::Quiet);
    sleep(QUIET).await;
    let latencies = healthy.stop().await;

    report(&attacker, sessions, &outcome, &memory);
    let amplified = amplified(&outcome.costs);
    let p99 = (Latencies::p99(&latencies.quiet), Latencies::p99(&latencies.attack));
    let ratio = p99.1.as_secs_f64() / p99.0.as_secs_f64();
    println!("healthy clients' p99: quiet {:?}, attacked {:?}, ratio {ratio:.2}", p99.0, p99.1);
    all_places_are_free(*myxi, &books).await;
    let dear = if strict { cpu(&attacker, process, &books).await } else { Vec::new() };
    draining.abort();

    assert!(outcome.failures.is_empty(), "{}", by_class(&outcome.failures));
    assert_eq!(books.problems(), [""; 0]);
    assert!(myxi.is_running());
    let log = myxi.log();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    let growth = memory[memory.len() - 1] - memory[0];
    assert!(growth <= MEMORY_GROWTH_MAX, "{growth} bytes stayed: {memory:?}");
    assert!(
        amplified.is_empty(),
        "more than {BYTES_OUT_MAX} bytes out per byte in: {amplified:#?}"
    );
    assert!(p99.1 <= P99_MAX, "{p99:?}");
    assert!(dear.is_empty(), "more than {CPU_MAX} times an ordinary byte's CPU: {dear:#?}");
    if strict {
        assert!(ratio <= 1.1, "healthy clients' p99: {p99:?}");
    }
}

/// The first warms the process up; what comes after must not grow it any more.
fn rounds(sessions: u64) -> Vec<Range<u64>> {
    let warm_up = sessions.div_ceil(5);
    let rest = sessions - warm_up;
    let later = if rest < 20_000 { 1 } else { 4 };
    let cut = |n: u64| warm_up + rest * n / later;
    std::iter::once(0..warm_up).chain((0..later).map(|n| cut(n)..cut(n + 1))).collect()
}

/// One session alone, as it was.
async fn again(attacker: &Attacker, number: u64) {
    let outcome = attacker.sessions(number..number + 1, oneshot::channel().0).await;
    println!("{:#?}", outcome.costs.0);
    assert!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
}

/// The handler keeps every call for tests that look at them.
async fn forget_calls(app: Arc<TestHandler>) {
    loop {
        drop(app.seen().await);
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until what is counted is what it was.
async fn becomes(what: &str, expected: usize, count: impl Fn() -> usize) {
    let becoming = async {
        while count() != expected {
            sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(DEADLINE, becoming).await.is_err() {
        panic!("{what}: {} are left, {expected} should be", count());
    }
}

/// Every place for a connection and for a handshake can be taken again.
async fn all_places_are_free(gateway: Addresses, books: &Books) {
    becomes("healthy sessions", 0, || books.open()).await;
    let mut clients = Vec::with_capacity(MAX_CONNECTIONS);
    for _ in 0..MAX_CONNECTIONS {
        clients.push(Client::connect(gateway.clients).await);
    }
    let one_more = Request::good(&mut Dice::new(0, 0)).bytes();
    let refused = Plan::connected().send(one_more).expect(Expect::Status(&[503]));
    assert_eq!(play(gateway.clients, refused).await.verdict, Ok(()));
    drop(clients);
    becomes("the last sessions", 0, || books.open()).await;

    let mut silent = Vec::with_capacity(MAX_PENDING_HANDSHAKES);
    for _ in 1..MAX_PENDING_HANDSHAKES {
        silent.push(TcpStream::connect(gateway.clients).await.expect("a connection"));
    }
    let mut nothing = [0];
    tokio::select! {
        biased;
        _ = silent[0].read(&mut nothing) => panic!("a place for a handshake was lost"),
        client = Client::connect(gateway.clients) => client.close().await,
    }
    within(DEADLINE, "the end of the silent", silent[0].read(&mut nothing)).await.expect("an end");
}

const BYTES_OUT_MAX: f64 = 10.0;

/// Where the wire owes more than ten bytes for one, and why.
const AMPLIFYING: &[(&str, &str)] = &[
    ("keys/many/", "each key of a message is answered, with its tag"),
    ("pacing/answer/", "the application answers as much as it likes"),
    ("pacing/storm/big answers", "the application answers as much as it likes"),
    ("pacing/reads late/big answers", "the application answers as much as it likes"),
    ("pacing/never reads/", "the application answers as much as it likes"),
    ("frames/a hundred empty ", "an empty message is six bytes, its error is a hundred"),
    ("pacing/storm/nonsense", "one byte of nonsense is seven bytes, its error is a hundred"),
];

fn amplified(costs: &Costs) -> Vec<(&str, f64)> {
    let owed = |class: &str| AMPLIFYING.iter().any(|(prefix, _)| class.starts_with(prefix));
    let mut classes = costs.by(Cost::bytes_out_per_in);
    classes.retain(|(class, ratio)| *ratio > BYTES_OUT_MAX && !owed(class));
    classes
}

/// How many times the CPU of an ordinary session's byte a hostile one may cost.
const CPU_MAX: f64 = 10.0;

/// Each class alone, and what it costs of the gateway's CPU for a byte, as a multiple of an
/// ordinary session's. Answers those that cost too much.
async fn cpu(attacker: &Attacker, process: Process, books: &Books) -> Vec<(String, f64)> {
    const SESSIONS: u64 = 8;
    let measure = async |attacker: &Attacker, class: usize| {
        let before = process.cpu();
        let mut costs = attacker.of_class(class, SESSIONS).await.costs;
        becomes("sessions", 0, || books.open()).await;
        for cost in costs.0.values_mut() {
            cost.cpu = process.cpu() - before;
        }
        costs
    };
    let classes = Arc::new(vec![pacing::ordinary_session()]);
    let ordinary = measure(&Attacker { classes, ..attacker.clone() }, 0).await;
    let ordinary = ordinary.by(Cost::cpu_nanos_per_byte)[0].1;
    let mut costs = Costs::default();
    for class in 0..attacker.classes.len() {
        costs.merge(measure(attacker, class).await);
    }
    println!("most CPU per byte in, an ordinary session ({ordinary:.0} ns) being 1:");
    let dear = costs.by(|cost| cost.cpu_nanos_per_byte() / ordinary);
    for (class, ratio) in &dear[..10] {
        println!("  {ratio:7.1}  {class}");
    }
    let too_dear = dear.into_iter().filter(|(_, ratio)| *ratio > CPU_MAX);
    too_dear.map(|(class, ratio)| (class.to_owned(), ratio)).collect()
}

fn report(attacker: &Attacker, sessions: u64, outcome: &Outcome, memory: &[i64]) {
    let Attacker { classes, seed, rate, .. } = attacker;
    println!(
        "{sessions} sessions of {} classes, seed {seed}, {rate} begun per second, {} failed",
        classes.len(),
        outcome.failures.len(),
    );
    println!("PSS after each round: {memory:?}");
    let sum = |of: fn(&Cost) -> u64| outcome.costs.0.values().map(of).sum::<u64>();
    println!("{} bytes in, {} bytes out", sum(|cost| cost.bytes_in), sum(|cost| cost.bytes_out));
    println!("most bytes out per byte in:");
    for (class, ratio) in outcome.costs.by(Cost::bytes_out_per_in).into_iter().take(10) {
        println!("  {ratio:7.1}  {class}");
    }
}

/// A few of each class.
fn by_class(failures: &[String]) -> String {
    const SHOWN: usize = 2;
    let mut classes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for failure in failures {
        let class = failure.split(": ").next().unwrap_or_default();
        classes.entry(class).or_default().push(failure);
    }
    let shown = |(class, failures): (&&str, &Vec<&str>)| {
        let some = failures[..failures.len().min(SHOWN)].join("\n");
        format!("{} of {class}\n{some}\n", failures.len())
    };
    classes.iter().map(shown).collect()
}
