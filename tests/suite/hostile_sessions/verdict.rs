//! What a run comes to: the dearest classes, those that are too dear, the failures.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    application::Books,
    attack::{Attacker, Outcome},
    becomes,
    cost::{Cost, Costs},
    pacing::ordinary_session,
};
use crate::support::usage::Process;

/// What the gateway may answer to one byte.
pub const BYTES_OUT_MAX: f64 = 10.0;

/// Where the wire owes more than ten bytes for one, and why.
const AMPLIFYING: &[(&str, &str)] = &[
    ("keys/many/", "each key of a message is answered, with its tag; a list is as long as it is"),
    ("pacing/storm/big answers", "the application answers as much as it likes"),
    ("pacing/reads late/big answers", "the application answers as much as it likes"),
    ("pacing/never reads/until it is given up", "the application answers as much as it likes"),
    ("frames/a hundred empty ", "an empty message is six bytes, its error is a hundred"),
    ("pacing/storm/nonsense", "one byte of nonsense is seven bytes, its error is a hundred"),
];

pub fn amplified(costs: &Costs) -> Vec<(&str, f64)> {
    let owed = |class: &str| AMPLIFYING.iter().any(|(prefix, _)| class.starts_with(prefix));
    let mut classes = costs.by(Cost::bytes_out_per_in);
    classes.retain(|(class, ratio)| *ratio > BYTES_OUT_MAX && !owed(class));
    classes
}

/// How many times the CPU of an ordinary session's byte a hostile one may cost.
pub const CPU_MAX: f64 = 10.0;

/// Each class alone, and what it costs of the gateway's CPU for a byte, as a multiple of an
/// ordinary session's. Answers those that cost too much.
pub async fn cpu(attacker: &Attacker, process: Process, books: &Books) -> Vec<(String, f64)> {
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
    let classes = Arc::new(vec![ordinary_session()]);
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
    println!("most CPU per session, in milliseconds:");
    let per_session = |cost: &Cost| cost.cpu.as_secs_f64() * 1e3 / cost.sessions as f64;
    for (class, millis) in &costs.by(per_session)[..10] {
        println!("  {millis:7.1}  {class}");
    }
    let too_dear = dear.into_iter().filter(|(_, ratio)| *ratio > CPU_MAX);
    too_dear.map(|(class, ratio)| (class.to_owned(), ratio)).collect()
}

pub fn report(attacker: &Attacker, sessions: u64, outcome: &Outcome, memory: &[i64]) {
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
    let ratios = outcome.costs.by(Cost::bytes_out_per_in);
    let shown = ratios.iter().filter(|(_, ratio)| *ratio > BYTES_OUT_MAX).count().max(10);
    for (class, ratio) in &ratios[..shown.min(ratios.len())] {
        println!("  {ratio:7.1}  {class}");
    }
}

/// A few of each class.
pub fn by_class(failures: &[String]) -> String {
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
