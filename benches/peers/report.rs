//! What was measured, as tables: the middle of all rounds, the lowest and the highest, and
//! the gateway's ratio to each peer, round by round.

use std::collections::BTreeMap;

use crate::args::Row;

pub const GATEWAY: &str = "myxi";

/// A figure of a row, and what it should reach.
pub struct Column {
    name: &'static str,
    digits: usize,
    goal: Goal,
}

#[derive(Clone, Copy)]
enum Goal {
    /// None: it is only shown.
    Shown,
    AtLeast(f64),
    AtMost(f64),
    /// Of the best peer's.
    TimesBestAtLeast(f64),
    TimesBestAtMost(f64),
}

use Goal::{AtLeast, AtMost, Shown, TimesBestAtLeast, TimesBestAtMost};

const fn column(name: &'static str, digits: usize, goal: Goal) -> Column {
    Column { name, digits, goal }
}

const LOAD: Column = column("load side, µs", 2, Shown);

const fn rates(times: f64, cpu: f64) -> [Column; 3] {
    [
        column("deliveries/s", 0, TimesBestAtLeast(times)),
        column("server CPU each, µs", 2, TimesBestAtMost(cpu)),
        LOAD,
    ]
}

/// Title and columns.
fn layout(row: Row) -> (&'static str, Vec<Column>) {
    match row {
        Row::FanOut => ("500 subscribers of one key, 8 events outstanding", rates(4.0, 0.4).into()),
        Row::OneOutstanding => ("The same, 1 outstanding", rates(1.0, 1.0).into()),
        Row::Paced => (
            "The same, 100 events a second",
            vec![
                column("p50, ms", 2, TimesBestAtMost(1.0)),
                column("p99, ms", 2, TimesBestAtMost(1.0)),
                column("server CPU each, µs", 2, TimesBestAtMost(1.0)),
                LOAD,
            ],
        ),
        Row::Many => ("5,000 subscribers of one key, 8 outstanding", rates(4.0, 0.4).into()),
        Row::Keys => (
            "5,000 clients with a key each, events to random keys, through RabbitMQ",
            vec![
                column("events/s", 0, TimesBestAtLeast(0.95)),
                column("broker CPU each, µs", 1, Shown),
                column("gateway CPU each, µs", 1, Shown),
            ],
        ),
        Row::Unwanted => (
            "An event that no local client wants",
            vec![column("gateway CPU, µs", 2, AtMost(4.0)), column("events/s", 0, Shown)],
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
                column("calls/s", 0, TimesBestAtLeast(0.9)),
                column("gateway CPU each, µs", 1, AtMost(27.0)),
                column("handler CPU each, µs", 1, Shown),
                column("load side, µs", 1, Shown),
            ],
        ),
        Row::OneAction => (
            "One action at a time",
            vec![column("p50, µs", 0, Shown), column("added at p50, µs", 0, AtMost(60.0))],
        ),
        Row::Threads => (
            "500 subscribers of one key, 8 outstanding, on all processors",
            vec![column("deliveries/s", 0, Shown), column("server CPU each, µs", 2, Shown), LOAD],
        ),
    }
}

/// One figure in each round; none where a server has no such figure.
type Samples = Vec<Option<f64>>;

#[derive(Default)]
pub struct Report {
    /// By row: each server with its figures by column, in the order they came.
    rows: BTreeMap<Row, Vec<(String, Vec<Samples>)>>,
    failures: Vec<String>,
}

impl Report {
    pub fn record<const COLUMNS: usize>(
        &mut self,
        row: Row,
        server: &str,
        figures: [Option<f64>; COLUMNS],
    ) {
        eprintln!("  {row:?}, {server}: {figures:.2?}");
        let servers = self.rows.entry(row).or_default();
        let position = servers.iter().position(|(name, _)| name == server);
        let position = position.unwrap_or_else(|| {
            servers.push((server.to_owned(), vec![Vec::new(); COLUMNS]));
            servers.len() - 1
        });
        for (samples, figure) in servers[position].1.iter_mut().zip(figures) {
            samples.push(figure);
        }
    }

    pub fn failed(&mut self, what: &str, error: &anyhow::Error) {
        let failure = format!("{what}: {error:#}");
        eprintln!("  {failure}");
        if !self.failures.contains(&failure) {
            self.failures.push(failure);
        }
    }

    pub fn print(&self) {
        for (row, servers) in &self.rows {
            let (title, columns) = layout(*row);
            let names: Vec<_> = columns.iter().map(|column| column.name).collect();
            println!("\n### {title}\n");
            println!("| | {} |", names.join(" | "));
            println!("|---|{}", "---|".repeat(columns.len()));
            let ours = servers.iter().find(|(name, _)| name == GATEWAY).map(|(_, all)| all);
            let is_ours = |name: &str| name == GATEWAY;
            let in_order = servers.iter().filter(|(name, _)| is_ours(name));
            let in_order = in_order.chain(servers.iter().filter(|(name, _)| !is_ours(name)));
            for (name, all) in in_order {
                let ours = ours.filter(|_| name != GATEWAY);
                let cells = columns.iter().enumerate().map(|(n, column)| {
                    let figure = spread(&all[n], column.digits);
                    match ours.map(|ours| ratios(&ours[n], &all[n])) {
                        Some(ratios) if column.compares() && !ratios.is_empty() => {
                            format!("{figure}; ×{}", spread(&ratios, 2))
                        }
                        _ => figure,
                    }
                });
                println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
            }
            if let Some(ours) = ours {
                let verdicts = columns.iter().enumerate().map(|(n, column)| {
                    let peers = servers.iter().filter(|(name, _)| name != GATEWAY);
                    let peers = peers.map(|(name, all)| (name.as_str(), &all[n]));
                    verdict(column, &ours[n], peers.collect())
                });
                println!("| **target** | {} |", verdicts.collect::<Vec<_>>().join(" | "));
            }
        }
        for failure in &self.failures {
            println!("\n{failure}");
        }
    }
}

impl Column {
    fn compares(&self) -> bool {
        matches!(self.goal, TimesBestAtLeast(_) | TimesBestAtMost(_))
    }
}

fn verdict(column: &Column, ours: &Samples, peers: Vec<(&str, &Samples)>) -> String {
    let Some(own) = middle(ours) else { return "–".into() };
    let said = |reached: bool| if reached { "reached" } else { "**short**" };
    let best = |higher: bool| {
        let measured = peers.into_iter().filter_map(|(name, all)| Some((middle(all)?, name, all)));
        let order = |figure: f64| if higher { figure } else { -figure };
        measured.max_by(|a, b| order(a.0).total_cmp(&order(b.0)))
    };
    let against = |sign: &str, times: f64, best: Option<(f64, &str, &Samples)>| {
        let Some((_, name, all)) = best else { return "no peer".into() };
        let ratios = ratios(ours, all);
        let ratio = middle(&ratios).unwrap_or_default();
        let reached = if sign == "≥" { ratio >= times } else { ratio <= times };
        format!("{sign} {times} × {name}: {} {}", spread(&ratios, 2), said(reached))
    };
    match column.goal {
        Shown => "–".into(),
        AtLeast(goal) => format!("≥ {goal}: {}", said(own >= goal)),
        AtMost(goal) => format!("≤ {goal}: {}", said(own <= goal)),
        TimesBestAtLeast(times) => against("≥", times, best(true)),
        TimesBestAtMost(times) => against("≤", times, best(false)),
    }
}

/// Ours to theirs in each round that has both.
fn ratios(ours: &Samples, theirs: &Samples) -> Samples {
    let both = ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some(((*ours)?, (*theirs)?)));
    both.map(|(ours, theirs)| Some(ours / theirs)).collect()
}

fn sorted(samples: &Samples) -> Vec<f64> {
    let mut sorted: Vec<f64> = samples.iter().copied().flatten().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The median.
fn middle(samples: &Samples) -> Option<f64> {
    let sorted = sorted(samples);
    let (low, high) =
        (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

/// The median, and in brackets from the lowest to the highest.
fn spread(samples: &Samples, digits: usize) -> String {
    let sorted = sorted(samples);
    let number = |figure: f64| thousands(format!("{figure:.digits$}"));
    match (middle(samples), sorted.as_slice()) {
        (Some(middle), [lowest, .., highest]) => {
            format!("{} ({}–{})", number(middle), number(*lowest), number(*highest))
        }
        (Some(middle), _) => number(middle),
        (None, _) => "–".into(),
    }
}

fn thousands(number: String) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.char_indices() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}
