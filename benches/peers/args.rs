//! What to measure, from the command line behind `--`.

use clap::{Parser, ValueEnum};

/// Measures the release gateway beside its peers
#[derive(Parser)]
#[command(name = "cargo bench --bench peers --", disable_version_flag = true)]
pub struct Args {
    /// Rows to measure, between commas [default: all]
    #[arg(long, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Peers to measure beside the gateway, or none [default: all]
    #[arg(long, value_delimiter = ',', value_parser = peer)]
    peers: Vec<Option<Server>>,
    /// How often everything is measured, in turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each rate is measured
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// One round of one second each: does everything run?
    #[arg(long)]
    quick: bool,
    /// Processors of a server that runs alone against the load side, as taskset reads them
    /// [default: the first of those available]
    #[arg(long)]
    pub server_processors: Option<String>,
    /// Flags for the gateway, between blanks
    #[arg(long, allow_hyphen_values = true, value_delimiter = ' ')]
    pub gateway_flags: Vec<String>,
    /// Replicas of the row fleet
    #[arg(long, default_value_t = 10)]
    pub fleet: usize,
    /// A commit whose gateway is built, below the target directory, and measured through
    /// RabbitMQ beside this one
    #[arg(long)]
    pub before: Option<String>,
    /// The process of the bare floor, on these ports
    #[arg(long, hide = true, num_args = 2)]
    pub serve_floor: Vec<u16>,
    /// What `cargo bench` passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum Row {
    /// 500 subscribers of one key, 8 events outstanding
    FanOut,
    /// The same, 1 outstanding
    OneOutstanding,
    /// The same, 100 events a second
    Paced,
    /// 5,000 subscribers of one key, 8 outstanding
    Many,
    /// Through RabbitMQ: 250 events a call, 4 calls under way, 5,000 clients with a key each
    Keys,
    /// Through RabbitMQ: one event a call, 64 callers
    Callers,
    /// Through RabbitMQ: one event at a time
    OnePush,
    /// Through RabbitMQ: 1,000 events a second, one a call
    PacedPushes,
    /// Through RabbitMQ: events of another replica that no local client wants
    Unwanted,
    /// Through RabbitMQ: 250 events a call, 4 calls under way at each of three replicas
    ThreeReplicas,
    /// Through RabbitMQ: 2,000 events a second, which all replicas of a fleet read
    Fleet,
    /// A client comes back that missed 1,000 events, which are in memory
    Missed,
    /// 1,000 such clients at once
    MissedByMany,
    /// Through RabbitMQ: a client comes back that missed 100,000 entries, which are in the log
    Deep,
    /// Through RabbitMQ: 10,000 clients of a replica that was killed come back to another
    KilledReplica,
    /// Memory of what is kept for clients that come back
    RingMemory,
    /// Memory of 5,000 idle connections
    Idle,
    /// 5,000 clients connect, authenticate and subscribe
    Connect,
    /// Actions of 50 sessions
    Actions,
    /// One action at a time
    OneAction,
    /// Fan-out with 1, 2 … worker threads
    Threads,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum Server {
    #[value(skip)]
    Myxi,
    Centrifugo,
    Nats,
    Nchan,
    Rabbitmq,
    SocketIo,
    Floor,
}

impl Args {
    pub fn wants(&self, row: Row) -> bool {
        self.rows.is_empty() || self.rows.contains(&row)
    }

    /// The gateway first.
    pub fn servers(&self) -> Vec<Server> {
        let peers: Vec<Server> = match self.peers.as_slice() {
            [] => Server::value_variants().to_vec(),
            peers => peers.iter().copied().flatten().collect(),
        };
        [Server::Myxi].into_iter().chain(peers).collect()
    }

    /// The same, in another order each time.
    pub fn servers_of(&self, round: usize) -> Vec<Server> {
        let mut servers = self.servers();
        let first = round % servers.len();
        servers.rotate_left(first);
        servers
    }

    pub fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    pub fn seconds(&self) -> u64 {
        if self.quick { 1 } else { self.seconds.max(1) }
    }
}

fn peer(name: &str) -> Result<Option<Server>, String> {
    if name == "none" {
        return Ok(None);
    }
    Server::from_str(name, true).map(Some)
}
