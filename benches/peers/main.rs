//! The release gateway beside its peers.

#[path = "../load/mod.rs"]
mod load;

mod args;
mod fan_out;
mod floor;
mod line_publisher;
mod nats;
mod nchan;
mod ours;
mod peer;
mod socket_io;
mod web_stomp;

use std::time::Duration;

use clap::Parser;

use self::{
    args::Args,
    peer::{Processors, Running},
};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.serve_floor.is_empty() {
        return floor::serve(&args.serve_floor);
    }
    load::run(measure(args))
}

async fn measure(args: Args) -> anyhow::Result<()> {
    let processors = Processors { all: "0,1".into(), server: "0".into(), load: "1".into() };
    load::pin_this_thread(&processors.load)?;
    for server in args.servers() {
        let running = match Running::start(server, &processors, &args.gateway_flags).await {
            Ok(running) => running,
            Err(e) => {
                println!("{server:?} not run: {e:#}");
                continue;
            }
        };
        let clients = running.subscribers(500).await?;
        for outstanding in [8, 1] {
            let m = fan_out::saturate(
                &running,
                &clients,
                outstanding,
                Duration::from_secs(args.seconds()),
            )
            .await?;
            println!(
                "{server:?} {outstanding}: {:.0}/s {:.2} µs, load {:.2} µs",
                m.deliveries_per_second, m.server_cpu, m.load_cpu
            );
        }
        let p = fan_out::pace(&running, &clients, Duration::from_secs(args.seconds())).await?;
        println!(
            "{server:?} p50 {:?} p99 {:?} {:.2} µs, load {:.2}",
            p.p50, p.p99, p.measured.server_cpu, p.measured.load_cpu
        );
    }
    Ok(())
}
