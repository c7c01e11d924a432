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
mod dice;
mod frames;
mod handshake;
mod healthy;
mod heard;
mod json;
mod keys;
mod pacing;
mod plan;
mod play;
mod verdict;

use std::{collections::HashSet, env, ops::Range, sync::Arc, time::Duration};

use tokio::{io::AsyncReadExt, net::TcpStream, sync::oneshot, task::JoinSet, time::sleep};

use self::{
    application::Books,
    attack::{Attacker, Outcome},
    dice::Dice,
    healthy::{CLIENTS, Healthy, Latencies, Time},
    plan::{Class, Expect, Plan, Request},
    play::play,
    verdict::{BYTES_OUT_MAX, CPU_MAX, amplified, by_class, cpu, report},
};
use crate::support::{
    DEADLINE, client::Client, gateway::Addresses, handler::TestHandler, process::Myxi,
    usage::Process, within,
};

const MAX_CONNECTIONS: usize = 1_000;
const MAX_PENDING_HANDSHAKES: usize = 200;

const FLAGS: [&str; 4] = [
    "--exchange=widgets",
    "--session-opened=required",
    "--max-connections=1000",
    "--max-pending-handshakes=200",
];

/// Short times, so that many sessions that wait them out fit into a run.
const TIMES_STRICT: [&str; 3] =
    ["--handshake-timeout=1s", "--ping-interval=1s", "--action-timeout=1s"];

/// Long enough that on a slow machine nobody runs out of them who does not wait them out.
const TIMES: [&str; 3] = ["--handshake-timeout=4s", "--ping-interval=2s", "--action-timeout=10s"];

/// How long it is quiet before, between and after the attacks: where the verdict is strict,
/// long enough that a p99 is more than a few events.
const QUIET: Duration = Duration::from_secs(1);
const QUIET_STRICT: Duration = Duration::from_secs(10);

/// What the last round may leave of memory beyond what those before it left: the allocator's
/// own waste, which goes up and down by some MB, not something of each session.
const MEMORY_GROWTH_MAX: i64 = 6 << 20;

/// Of what they measure in quiet times, where the verdict is strict.
const P99_RATIO_MAX: f64 = 1.1;

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
    let strict = setting("MYXI_HOSTILE_STRICT", 0) == 1;
    let times = if strict { TIMES_STRICT } else { TIMES };
    let mut myxi = Myxi::serve(&app, &[&FLAGS[..], &times].concat()).await;
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
    let quiet = if strict { QUIET_STRICT } else { QUIET };
    let draining = tokio::spawn(forget_calls(Arc::new(app)));

    let process = Process(myxi.pid());
    if strict {
        process.set_apart();
    }
    let healthy = Healthy::start(*myxi).await;
    let descriptors = process.descriptors();
    let mut outcome = Outcome::default();
    let mut memory = Vec::new();
    for numbers in rounds(sessions) {
        healthy.it_is(Time::Quiet);
        sleep(quiet).await;
        healthy.it_is(Time::Attack);
        let (begun, all_begun) = oneshot::channel();
        let attack = attacker.sessions(numbers, begun);
        let (round, ()) = tokio::join!(attack, async {
            let _ = all_begun.await;
            healthy.it_is(Time::Other);
        });
        outcome.costs.merge(round.costs);
        outcome.failures.extend(round.failures);
        // In this order: a session that has not ended yet has its descriptor.
        becomes("sessions without a farewell", CLIENTS, || books.open()).await;
        becomes("descriptors", descriptors, || process.descriptors()).await;
        memory.push(settled_memory(process).await);
    }
    healthy.it_is(Time::Quiet);
    sleep(quiet).await;
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
    let (last, before) = memory.split_last().expect("some rounds");
    let growth = last - before.iter().max().expect("some before the last");
    assert!(growth <= MEMORY_GROWTH_MAX, "{growth} bytes stayed: {memory:?}");
    assert!(
        amplified.is_empty(),
        "more than {BYTES_OUT_MAX} bytes out per byte in: {amplified:#?}"
    );
    assert!(dear.is_empty(), "more than {CPU_MAX} times an ordinary byte's CPU: {dear:#?}");
    if strict {
        assert!(ratio <= P99_RATIO_MAX, "healthy clients' p99: {p99:?}");
    }
}

/// The first ones warm the process up; the last must not grow it any more.
fn rounds(sessions: u64) -> Vec<Range<u64>> {
    let rounds = if sessions < 20_000 { 3 } else { 5 };
    let cut = |n: u64| sessions * n / rounds;
    (0..rounds).map(|n| cut(n)..cut(n + 1)).collect()
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

/// The least of some seconds: an allocator gives back what is free when it gets to it.
async fn settled_memory(process: Process) -> i64 {
    let mut least = process.memory();
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        least = least.min(process.memory());
    }
    least
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
    const ATTEMPTS: usize = 10;
    for attempt in 1.. {
        becomes("other sessions", 0, || books.open()).await;
        if one_more_than_all_is_refused(gateway).await {
            break;
        }
        assert!(attempt < ATTEMPTS, "not all places were held at once");
    }
    becomes("the last sessions", 0, || books.open()).await;

    for _ in 0..ATTEMPTS {
        if a_handshake_beside_the_silent(gateway).await {
            return;
        }
    }
    panic!("a place for a handshake was lost");
}

/// Whether all places were held at once: a busy machine may have let go of one of those who
/// hold them, and then one more says nothing.
async fn one_more_than_all_is_refused(gateway: Addresses) -> bool {
    let mut holders = JoinSet::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut client = Client::connect(gateway.clients).await;
        // By reading it answers pings.
        holders.spawn(async move { while let Some(Ok(_)) = client.message().await {} });
    }
    let one_more = Request::good(&mut Dice::new(0, 0)).bytes();
    let refused = Plan::connected().send(one_more).expect(Expect::Status(&[503]));
    let verdict = play(gateway.clients, refused).await.verdict;
    let all_held = holders.try_join_next().is_none();
    assert!(verdict == Ok(()) || !all_held, "{verdict:?}");
    all_held
}

/// Whether the last place is free: whoever finds none is served when the time of the silent
/// ones is over. On a busy machine that may be the case before they all are there.
async fn a_handshake_beside_the_silent(gateway: Addresses) -> bool {
    let mut silent = Vec::with_capacity(MAX_PENDING_HANDSHAKES);
    for _ in 1..MAX_PENDING_HANDSHAKES {
        silent.push(TcpStream::connect(gateway.clients).await.expect("a connection"));
    }
    let mut nothing = [0];
    let free = tokio::select! {
        biased;
        _ = silent[0].read(&mut nothing) => false,
        client = Client::connect(gateway.clients) => { client.close().await; true }
    };
    for stream in &mut silent {
        // Its end, or that it is over already.
        let _ = within(DEADLINE, "the end of the silent", stream.read(&mut nothing)).await;
    }
    free
}
