//! The rows of clients that come back, but for the one that all who read a log have: what is in
//! memory, beside peers that keep events, too; and brokers of their own, whose logs are empty.

use tokio::time::sleep;

use super::{PAUSE, Rows};
use crate::{
    args::Row,
    broker::{Setup, killed_replica, ring_memory},
    load::RabbitMq,
    missed::{EVENTS, Missed},
    peer::Keeper,
    report::{GATEWAY, LEAST_RING, WITHOUT_POSITIONS},
};

/// With how many clients.
const MISSED: [(Row, usize); 2] = [(Row::Missed, 1), (Row::MissedByMany, 1_000)];

impl Rows {
    /// Alone with the load side.
    pub(super) async fn missed(&mut self) {
        if !self.wants_any(&MISSED.map(|(row, _)| row)) {
            return;
        }
        for round in 0..self.args.rounds() {
            for server in self.args.servers_of(round) {
                let peer = self.args.peer(server);
                let Some(keeper) = peer.keeper() else { continue };
                eprintln!("round {}, {server:?}, missed events", round + 1);
                let done = self.missed_from(keeper, peer.name()).await;
                self.note(&format!("{}, missed events", peer.name()), done);
                sleep(PAUSE).await;
            }
        }
    }

    async fn missed_from(&mut self, keeper: &dyn Keeper, name: &str) -> anyhow::Result<()> {
        let keeping = keeper.start_keeping(EVENTS, &self.placement).await?;
        let missed = Missed::prepare(&keeping).await?;
        for (row, clients) in MISSED {
            if self.args.wants(row) {
                let figures = missed.measure(clients, self.time()).await?;
                self.report.record(row, name, &figures);
            }
        }
        Ok(())
    }

    pub(super) async fn killed_replica(&mut self) {
        let both = [(GATEWAY, true), (WITHOUT_POSITIONS, false)];
        self.on_own_brokers(Row::KilledReplica, both, async |resume, setup| {
            killed_replica::measure(resume, setup).await
        })
        .await;
    }

    pub(super) async fn ring_memory(&mut self) {
        let both: [(_, &[&str]); 2] = [(GATEWAY, &[]), (LEAST_RING, &[LEAST_RING])];
        self.on_own_brokers(Row::RingMemory, both, async |flags, setup| {
            ring_memory::measure(flags, setup).await
        })
        .await;
    }

    /// Each of both in turn.
    async fn on_own_brokers<How: Copy>(
        &mut self,
        row: Row,
        mut both: [(&str, How); 2],
        measure: impl AsyncFn(How, &Setup<'_>) -> anyhow::Result<Vec<Option<f64>>>,
    ) {
        if !self.args.wants(row) {
            return;
        }
        for round in 0..self.args.rounds() {
            for (name, how) in both {
                eprintln!("round {}, {row:?}, {name}", round + 1);
                let measured = async {
                    let broker = RabbitMq::start("", &self.together.server).await?;
                    measure(how, &self.setup(&broker)).await
                };
                match measured.await {
                    Ok(figures) => self.report.record(row, name, &figures),
                    Err(error) => self.report.failed(&format!("{name}, {row:?}"), &error),
                }
                sleep(PAUSE).await;
            }
            both.reverse();
        }
    }
}
