//! Which row is measured with whom, in which order. What fails is reported, and the rest
//! goes on.

mod calls;
mod coming_back;
mod through_broker;

use std::{collections::BTreeSet, time::Duration};

use tokio::time::sleep;

use crate::{
    args::{Args, Row},
    fan_out, idle,
    load::{available, pin_this_thread},
    peer::{Peer, Running},
    placement::Placement,
    report::Report,
};

const SUBSCRIBERS: usize = 500;
const MANY_SUBSCRIBERS: usize = 5_000;
const OUTSTANDING: usize = 8;

/// Between the end of one server and the start of the next.
const PAUSE: Duration = Duration::from_millis(300);

pub struct Rows {
    pub args: Args,
    /// A server alone with the load side.
    pub placement: Placement,
    /// Where more take part.
    pub together: Placement,
    pub report: Report,
}

impl Rows {
    pub async fn measure(&mut self) -> anyhow::Result<()> {
        pin_this_thread(&self.placement.load)?;
        self.beside_peers().await;
        self.missed().await;
        pin_this_thread(&self.together.load)?;
        self.calls().await;
        self.threads().await;
        self.through_broker().await;
        self.killed_replica().await;
        self.ring_memory().await;
        Ok(())
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.args.seconds())
    }

    fn wants_any(&self, rows: &[Row]) -> bool {
        rows.iter().any(|row| self.args.wants(*row))
    }

    /// The rows that every server has.
    async fn beside_peers(&mut self) {
        let mut absent = BTreeSet::new();
        for round in 0..self.args.rounds() {
            for server in self.args.servers_of(round) {
                let peer = self.args.peer(server);
                for life in Life::ALL {
                    if absent.contains(&server) || !self.wants_any(life.rows()) {
                        continue;
                    }
                    eprintln!("round {}, {server:?}, {life:?}", round + 1);
                    match peer.start(&self.placement).await {
                        Ok(running) => {
                            let done = self.live(life, peer.name(), &running).await;
                            self.note(&format!("{}, {life:?}", peer.name()), done);
                        }
                        Err(error) => {
                            self.report.failed(&format!("{}: not run", peer.name()), &error);
                            absent.insert(server);
                        }
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn live(
        &mut self,
        life: Life,
        name: &'static str,
        running: &Running,
    ) -> anyhow::Result<()> {
        let (time, pace) = (self.time(), self.placement.pace());
        match life {
            Life::Few => {
                let clients = running.subscribers(SUBSCRIBERS, pace).await?;
                for (row, outstanding) in [(Row::FanOut, OUTSTANDING), (Row::OneOutstanding, 1)] {
                    if self.args.wants(row) {
                        let all = fan_out::saturate(running, &clients, outstanding, time).await?;
                        self.report.record(row, name, &all.figures());
                    }
                }
                if self.args.wants(Row::Paced) {
                    let all = fan_out::pace(running, &clients, time).await?;
                    self.report.record(Row::Paced, name, &all.figures());
                }
            }
            Life::Many => {
                let clients = running.subscribers(MANY_SUBSCRIBERS, pace).await?;
                let all = fan_out::saturate(running, &clients, OUTSTANDING, time).await?;
                self.report.record(Row::Many, name, &all.figures());
            }
            Life::Idle => {
                let all = idle::measure(running, pace).await?;
                let entry = [Some(all.per_second), Some(all.server_cpu), all.handler_cpu];
                self.report.record(Row::Connect, name, &entry);
                self.report.record(Row::Idle, name, &[Some(all.idle), all.after_large]);
            }
        }
        Ok(())
    }

    /// One thread for sessions, two, … as many as there are processors.
    async fn threads(&mut self) {
        if !self.args.wants(Row::Threads) {
            return;
        }
        for round in 0..self.args.rounds() {
            for threads in 1..=available().len() {
                eprintln!("round {}, {threads} threads", round + 1);
                let name = format!("--worker-threads={threads}");
                let done = self.scaled(threads, &name).await;
                self.note(&name, done);
                sleep(PAUSE).await;
            }
        }
    }

    async fn scaled(&mut self, threads: usize, name: &str) -> anyhow::Result<()> {
        let running = self.args.myxi(threads).start(&self.together).await?;
        let clients = running.subscribers(SUBSCRIBERS, self.together.pace()).await?;
        let all = fan_out::saturate(&running, &clients, OUTSTANDING, self.time()).await?;
        self.report.record(Row::Threads, name, &all.figures());
        Ok(())
    }

    fn note(&mut self, what: &str, done: anyhow::Result<()>) {
        if let Err(error) = done {
            self.report.failed(what, &error);
        }
    }
}

/// What a server is started for: rows that share a process.
#[derive(Clone, Copy, Debug)]
enum Life {
    Few,
    Many,
    Idle,
}

impl Life {
    const ALL: [Self; 3] = [Self::Few, Self::Many, Self::Idle];

    fn rows(self) -> &'static [Row] {
        match self {
            Self::Few => &[Row::FanOut, Row::OneOutstanding, Row::Paced],
            Self::Many => &[Row::Many],
            Self::Idle => &[Row::Idle, Row::Connect],
        }
    }
}
