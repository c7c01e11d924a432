//! The books: who is subscribed to what, and what each client is due. Whatever happens, in
//! whatever order, hub and sessions agree with each other and with a simple model, and
//! nothing is left behind.

mod app;
mod model;
mod op;
mod promises;
mod sockets;
mod world;

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rand::{SeedableRng, rngs::SmallRng};

use self::{op::Op, world::World};
use crate::support::{DEADLINE, within};

/// For more, set this variable: MYXI_BOOKS=1000000.
const SEQUENCES: u64 = 2_000;
const MORE: &str = "MYXI_BOOKS";

const OPS: usize = 120;

/// Over sockets.
const ROUNDS: u64 = 4;

#[test]
fn any_interleaving_keeps_the_books_true() {
    let sequences = env::var(MORE).map_or(SEQUENCES, |more| more.parse().expect("a number"));
    for seed in 0..sequences {
        let mut rng = SmallRng::seed_from_u64(seed);
        let ops: Vec<_> = (0..OPS).map(|_| op::random(&mut rng)).collect();
        if let Err(problem) = run(&ops) {
            let (ops, problem) = shortened(ops, problem);
            panic!("seed {seed}, made short: {ops:#?}\n{problem}");
        }
    }
}

#[tokio::test]
async fn promises_are_kept_over_sockets() {
    for seed in 0..ROUNDS {
        within(DEADLINE, &format!("seed {seed}"), sockets::round(seed)).await;
    }
}

fn run(ops: &[Op]) -> Result<(), String> {
    let ran = catch_unwind(AssertUnwindSafe(|| World::new().run(ops)));
    match ran {
        Ok(ran) => ran.map_err(|problem| format!("{problem:#}")),
        Err(_) => Err("a panic, see above".into()),
    }
}

/// Leaves out what the failure does not need, in ever smaller pieces.
fn shortened(mut ops: Vec<Op>, mut problem: String) -> (Vec<Op>, String) {
    let mut piece = ops.len();
    while piece > 0 {
        let mut at = 0;
        while at < ops.len() {
            let rest = [&ops[..at], &ops[ops.len().min(at + piece)..]].concat();
            match run(&rest) {
                Err(other) => (ops, problem) = (rest, other),
                Ok(()) => at += piece,
            }
        }
        piece /= 2;
    }
    (ops, problem)
}
