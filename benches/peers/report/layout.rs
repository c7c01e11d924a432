//! Title and columns of each row, and what the gateway's figures should reach.

use super::{BARE, BEFORE, FLOOR, STRAIGHT, WITHOUT_BATCHES};
use crate::args::Row;

/// A figure of a row.
pub struct Column {
    pub name: &'static str,
    pub digits: usize,
    pub goal: Goal,
    /// The gateway's ratio to each peer is shown, too.
    pub compares: bool,
}

/// What it should reach.
#[derive(Clone, Copy)]
pub enum Goal {
    /// Nothing: it is only shown.
    Shown,
    AtLeast(f64),
    AtMost(f64),
    /// So many times a peer's.
    TimesAtLeast(f64, Whose),
    TimesAtMost(f64, Whose),
}

#[derive(Clone, Copy)]
pub enum Whose {
    /// The best peer's.
    Best,
    /// That of the first of these that was measured.
    Of(&'static [&'static str]),
    /// What one write for so many events would cost the floor.
    FloorOver(f64),
}

use Goal::{AtLeast, AtMost, Shown, TimesAtLeast, TimesAtMost};
use Whose::{Best, FloorOver, Of};

impl Whose {
    /// The gateway before it gathered events.
    const TODAY: Self = Of(&[BEFORE, WITHOUT_BATCHES]);

    const BARE: Self = Of(&[BARE]);

    /// Who may be meant; none: everybody.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Best => &[],
            Of(names) => names,
            FloorOver(_) => &[FLOOR],
        }
    }
}

const fn column(name: &'static str, digits: usize, goal: Goal) -> Column {
    Column { name, digits, goal, compares: !matches!(goal, Shown) }
}

impl Column {
    /// A ratio would say nothing.
    const fn alone(self) -> Self {
        Self { compares: false, ..self }
    }

    /// A ratio says something, though there is nothing to be reached.
    const fn beside(self) -> Self {
        Self { compares: true, ..self }
    }
}

const LOAD: Column = column("load side, µs", 2, Shown);
const BROKER_CPU: Column = column("broker CPU each, µs", 1, Shown);
const GATEWAY_CPU: Column = column("gateway CPU each, µs", 1, Shown);

const fn rates(deliveries: Goal, cpu: Goal) -> [Column; 3] {
    [column("deliveries/s", 0, deliveries), column("server CPU each, µs", 2, cpu), LOAD]
}

const AS_TODAY: Goal = TimesAtMost(1.05, Whose::TODAY);

pub fn layout(row: Row) -> (&'static str, Vec<Column>) {
    match row {
        Row::FanOut => (
            "500 subscribers of one key, 8 events outstanding",
            rates(TimesAtLeast(4.0, Best), TimesAtMost(1.3, FloorOver(8.0))).into(),
        ),
        Row::OneOutstanding => (
            "The same, 1 outstanding",
            rates(TimesAtLeast(1.0, Best), TimesAtMost(1.0, Best)).into(),
        ),
        Row::Paced => (
            "The same, 100 events a second",
            vec![
                column("p50, ms", 2, TimesAtMost(1.0, Best)),
                column("p99, ms", 2, TimesAtMost(1.0, Best)),
                column("server CPU each, µs", 2, TimesAtMost(1.0, Best)),
                LOAD,
            ],
        ),
        Row::Many => (
            "5,000 subscribers of one key, 8 outstanding",
            rates(TimesAtLeast(4.0, Best), TimesAtMost(0.4, Best)).into(),
        ),
        Row::Keys => (
            "Through RabbitMQ: 250 events a call, 4 calls under way, 5,000 clients with a key each",
            vec![
                column("events/s", 0, TimesAtLeast(5.0, Whose::BARE)),
                column("broker CPU each, µs", 2, TimesAtMost(0.1, Whose::BARE)),
                GATEWAY_CPU,
                LOAD,
            ],
        ),
        Row::Callers => (
            "Through RabbitMQ: one event a call, 64 callers",
            vec![
                column("events/s", 0, TimesAtLeast(2.0, Whose::TODAY)),
                BROKER_CPU,
                GATEWAY_CPU,
                column("a call's p50, ms", 2, Shown),
                LOAD,
            ],
        ),
        Row::OnePush => {
            ("Through RabbitMQ: one event at a time, from the push to the socket", latencies())
        }
        Row::PacedPushes => (
            "Through RabbitMQ: 1,000 events a second, one a call, from the push to the socket",
            latencies(),
        ),
        Row::Unwanted => (
            "Through RabbitMQ: an event of another replica that no local client wants",
            vec![
                column("reader's CPU, µs", 2, AtMost(0.5)),
                BROKER_CPU,
                column("events/s", 0, Shown),
            ],
        ),
        Row::ThreeReplicas => (
            "Through RabbitMQ: 250 events a call, 4 calls under way at each of three replicas, \
             which read all",
            vec![
                column("events/s", 0, TimesAtLeast(5.0, Whose::TODAY)),
                column("broker CPU each, µs", 2, TimesAtMost(0.1, Whose::TODAY)),
                column("CPU of all gateways each, µs", 1, Shown),
                LOAD,
            ],
        ),
        Row::Fleet => (
            "Through RabbitMQ: 2,000 events a second, which all replicas of a fleet read",
            vec![
                column("p50, ms", 2, Shown),
                column("p99, ms", 2, Shown),
                column("lag grows by, events/s", 1, AtMost(20.0)).alone(),
                BROKER_CPU,
                column("broker, % of a processor", 0, Shown),
                column("CPU of one gateway each, µs", 1, Shown),
            ],
        ),
        Row::Missed => {
            ("A client comes back that missed 1,000 events, which are in memory", missed().into())
        }
        Row::MissedByMany => ("1,000 such clients at once", missed().into()),
        Row::Deep => (
            "Through RabbitMQ: a client comes back that missed 100,000 events, which are in the log",
            vec![
                column("s", 2, Shown),
                column("events/s", 0, Shown).beside(),
                BROKER_CPU.beside(),
                GATEWAY_CPU,
                LOAD,
            ],
        ),
        Row::KilledReplica => (
            "Through RabbitMQ: 10,000 clients of a replica that was killed come back to another",
            vec![
                column("all complete, s", 2, Shown).beside(),
                column("gateway CPU a client, µs", 0, Shown).beside(),
                column("events never received", 0, AtMost(0.0)).alone(),
                column("received again", 0, AtMost(0.0)).alone(),
            ],
        ),
        Row::RingMemory => (
            "Through RabbitMQ: memory of what is kept for clients that come back",
            vec![
                column("empty, MiB", 1, Shown),
                column("an event, bytes", 0, Shown),
                column("a byte of it, bytes", 2, Shown),
                column("full, MiB", 1, Shown),
                column("and replayed, MiB", 1, Shown),
            ],
        ),
        Row::Idle => (
            "5,000 idle connections, authenticated and subscribed",
            vec![
                column("KiB each", 1, AtMost(6.0)),
                column("after a message of 60 kB each way", 1, AtMost(8.0)),
            ],
        ),
        Row::Connect => (
            "5,000 clients connect, authenticate and subscribe",
            vec![
                column("clients/s", 0, AtLeast(4_000.0)),
                column("server CPU each, µs", 0, Shown),
                column("handler CPU each, µs", 0, Shown),
            ],
        ),
        Row::Actions => (
            "Actions of 50 sessions, one outstanding each, through a Rust handler",
            vec![
                column("calls/s", 0, TimesAtLeast(0.9, Of(&[STRAIGHT]))),
                column("server CPU each, µs", 1, AtMost(15.0)),
                column("handler CPU each, µs", 1, Shown),
                column("load side, µs", 1, Shown),
            ],
        ),
        Row::OneAction => (
            "One action at a time",
            vec![column("p50, µs", 0, Shown), column("added at p50, µs", 0, AtMost(60.0)).alone()],
        ),
        Row::Threads => (
            "500 subscribers of one key, 8 outstanding, on all processors",
            rates(Shown, Shown).into(),
        ),
    }
}

const fn missed() -> [Column; 3] {
    [
        column("all complete, ms", 2, Shown).beside(),
        column("events/s", 0, Shown).beside(),
        column("server CPU each, µs", 2, Shown).beside(),
    ]
}

fn latencies() -> Vec<Column> {
    vec![column("p50, ms", 2, AS_TODAY), column("p99, ms", 2, AS_TODAY), BROKER_CPU, GATEWAY_CPU]
}
