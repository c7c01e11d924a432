//! What to test, from the command line behind `--`.

use std::net::SocketAddr;

use clap::{Args as Flags, Parser, Subcommand};

/// Tests what the release gateway bears for long, or from many at once
#[derive(Parser)]
#[command(name = "cargo bench --bench endurance --", disable_version_flag = true)]
pub struct Args {
    /// [default: stopped, storm, and a soak of 2 minutes]
    #[command(subcommand)]
    test: Option<Test>,
    /// What `cargo bench` passes to every benchmark
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Clone, Subcommand)]
pub enum Test {
    /// Readers that stopped, beside healthy ones
    Stopped(Stopped),
    /// Everybody reconnects at once, after a kill and after a drain
    Storm(Storm),
    /// A steady mixed load with clients that come and go
    Soak(Soak),
    /// Faults of the broker, the replicas and the application, and what clients hear of them
    Torture(Torture),
    /// Keys of an exchange without a log: many at once, many a second, and a replica killed
    Direct(Direct),
    /// The application of the torture
    #[command(hide = true)]
    Handler(Handler),
}

#[derive(Clone, Flags)]
pub struct Stopped {
    #[arg(long, default_value_t = 4_000)]
    pub healthy: usize,
    #[arg(long, default_value_t = 1_000)]
    pub stopped: usize,
    /// How often with and without stopped readers, in turn
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

#[derive(Clone, Flags)]
pub struct Storm {
    #[arg(long, default_value_t = 5_000)]
    pub clients: usize,
    /// How often after a kill and after a drain
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// The bound on calls to the application
    #[arg(long, default_value_t = 256)]
    pub max_in_flight: usize,
}

#[derive(Clone, Flags)]
pub struct Soak {
    #[arg(long, default_value_t = 2.0)]
    pub minutes: f64,
    /// Clients that stay
    #[arg(long, default_value_t = 500)]
    pub residents: usize,
    /// Without RabbitMQ, also where it is installed
    #[arg(long)]
    pub memory_bus: bool,
}

#[derive(Clone, Flags)]
pub struct Direct {
    #[arg(long, default_value_t = 5_000)]
    pub keys: usize,
    /// For which clients subscribe steadily
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
}

#[derive(Clone, Flags)]
pub struct Torture {
    #[arg(long, default_value_t = 60)]
    pub faults: usize,
    /// At most so many befall it at once, in every other round
    #[arg(long, default_value_t = 3)]
    pub overlap: usize,
    /// On three nodes instead of one
    #[arg(long)]
    pub cluster: bool,
    /// Whether events share entries of the logs
    #[arg(long, default_value = "on", value_parser = ["on", "off"])]
    pub batch: String,
    /// Plays the same faults again [default: drawn anew]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only prints which faults the seed draws
    #[arg(long)]
    pub plan: bool,
    /// What the gateways log (warnings and errors are passed on)
    #[arg(long, default_value = "error")]
    pub log: String,
}

#[derive(Clone, Flags)]
pub struct Handler {
    #[arg(long)]
    pub listen: SocketAddr,
}

impl Args {
    pub fn tests(self) -> Vec<Test> {
        match self.test {
            Some(test) => vec![test],
            None => ["stopped", "storm", "soak"].map(Test::with_defaults).into(),
        }
    }
}

impl Test {
    fn with_defaults(name: &str) -> Self {
        Args::parse_from(["endurance", name]).test.expect("its name was given")
    }
}
