//! What the gateway bears for long, or from many at once: `cargo bench --bench endurance`.
//!
//! ```sh
//! cargo bench --bench endurance                          # all, with a short soak
//! cargo bench --bench endurance -- stopped               # stopped readers beside healthy ones
//! cargo bench --bench endurance -- storm                 # everybody reconnects at once
//! cargo bench --bench endurance -- soak --minutes 30     # a mixed load for long
//! cargo bench --bench endurance -- torture               # 60 faults of everything around it
//! cargo bench --bench endurance -- direct                # keys that are bindings
//! ```
//!
//! The release gateway is a process on processors of its own where there are two; clients
//! and application share another. Each target is judged in a line of its own, and the exit
//! code is not zero when one of them was missed.

// A program of its own: nobody reaches anything in it.
#![allow(unreachable_pub)]

#[path = "../load/mod.rs"]
mod load;
/// What the tests have: a broker that can be disturbed.
#[path = "../../tests/suite/support/mod.rs"]
#[allow(dead_code)]
mod support;

mod application;
mod args;
mod client;
mod direct;
mod soak;
mod stopped_readers;
mod storm;
mod torture;
mod verdict;

use clap::Parser;

use self::{
    args::{Args, Test},
    verdict::Verdicts,
};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    load::run(async move {
        let processors = Processors::choose();
        load::pin_this_thread(&processors.load)?;
        println!("processors: gateway {}, load {}", processors.server, processors.load);
        let mut verdicts = Verdicts::default();
        for test in args.tests() {
            match test {
                Test::Stopped(args) => {
                    stopped_readers::run(&args, &processors, &mut verdicts).await?;
                }
                Test::Storm(args) => storm::run(&args, &processors, &mut verdicts).await?,
                Test::Soak(args) => soak::run(&args, &processors, &mut verdicts).await?,
                Test::Direct(args) => direct::run(&args, &processors, &mut verdicts).await?,
                Test::Torture(args) => torture::run(&args, &processors, &mut verdicts).await?,
                Test::Handler(args) => torture::handler::serve(&args, &processors.all).await?,
            }
        }
        verdicts.conclude()
    })
}

/// Who runs where, as `taskset` reads it.
pub struct Processors {
    pub server: String,
    pub load: String,
    pub all: String,
}

impl Processors {
    /// The first one for the gateway, the last one for everything else.
    fn choose() -> Self {
        let available = load::available();
        let name = |processor: Option<&usize>| processor.unwrap_or(&0).to_string();
        let all: Vec<_> = available.iter().map(ToString::to_string).collect();
        Self { server: name(available.first()), load: name(available.last()), all: all.join(",") }
    }
}
