//! The release gateway beside its peers: `cargo bench --bench peers`, and behind `--` which
//! rows, which peers, how long and how often (`--help`). Prints tables in Markdown; what
//! happens meanwhile goes to standard error. `docs/benchmarks.md` explains the rules.
//!
//! **In turn.** A server is started, measured alone and killed; then comes the next. All of
//! it again in the next round, in another order, so that nobody always has the machine warm.
//!
//! **Processors.** A server that has only the load side beside it gets one processor, and
//! the load side another one: what is measured is then a server's work and not how the
//! scheduler shares. One is also what makes servers comparable that have one thread
//! (nginx's worker, Node.js, the gateway's default on two processors) and servers that take
//! all they find (nats-server, RabbitMQ); each of them sees how many it has and sets itself
//! up for that. Where a third one takes part (a broker, a handler under load) all run on
//! all processors, the gateway's side as well as what it is compared with.
//!
//! **Clients.** The same ones for everybody: a script of frames to get in, then lengths are
//! counted ([`load::Clients`]). What they cost is shown beside each rate.
//!
//! **Counting.** Processor time of a server's threads from the scheduler's statistics,
//! memory as the proportional set size, both with all child processes.

// A program of its own: nobody reaches anything in it.
#![allow(unreachable_pub)]

#[path = "../load/mod.rs"]
mod load;

mod actions;
mod args;
mod before;
mod broker;
mod fan_out;
mod idle;
mod installed;
mod machine;
mod missed;
mod peer;
mod peers;
mod placement;
mod report;
mod rows;

use clap::Parser;

use self::{args::Args, placement::Placement, report::Report, rows::Rows};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.serve_floor.is_empty() {
        return peers::floor::serve(&args.serve_floor);
    }
    let placement = Placement::apart(args.server_processors.as_deref());
    let mut rows =
        Rows { placement, together: Placement::shared(), args, report: Report::default() };
    load::run(rows.measure())?;
    let peers: Vec<_> = rows.args.servers().into_iter().map(|it| rows.args.peer(it)).collect();
    print!("{}", machine::describe(&peers, &rows.placement));
    rows.report.print();
    Ok(())
}
