//! The rows that go through RabbitMQ, on one broker, which the other rows do not have beside
//! them.

use std::path::PathBuf;

use tokio::time::sleep;

use super::{PAUSE, Rows};
use crate::{
    args::Row,
    before,
    broker::{self, Contender, Setup},
    load::RabbitMq,
    report::BEFORE,
};

const ROWS: [Row; 8] = [
    Row::Keys,
    Row::Callers,
    Row::OnePush,
    Row::PacedPushes,
    Row::Unwanted,
    Row::ThreeReplicas,
    Row::Fleet,
    Row::Deep,
];

impl Rows {
    pub(super) async fn through_broker(&mut self) {
        let rows: Vec<_> = ROWS.into_iter().filter(|row| self.args.wants(*row)).collect();
        if rows.is_empty() {
            return;
        }
        let contenders = Contender::all(self.before());
        let broker = match RabbitMq::start("", &self.together.server).await {
            Ok(broker) => broker,
            Err(error) => return self.report.failed("through RabbitMQ: not run", &error),
        };
        for round in 0..self.args.rounds() {
            for row in &rows {
                for turn in 0..contenders.len() {
                    let contender = &contenders[(round + turn) % contenders.len()];
                    self.pushed(*row, contender, &broker, round).await;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn pushed(&mut self, row: Row, contender: &Contender, broker: &RabbitMq, round: usize) {
        let name = contender.name();
        eprintln!("round {}, {row:?}, {name}", round + 1);
        let measured = broker::measure(row, contender, &self.setup(broker)).await;
        match measured {
            Ok(figures) => self.report.record(row, name, &figures),
            Err(error) => self.report.failed(&format!("{name}, {row:?}"), &error),
        }
    }

    pub(super) fn setup<'a>(&'a self, broker: &'a RabbitMq) -> Setup<'a> {
        Setup {
            broker,
            time: self.time(),
            flags: &self.args.gateway_flags,
            processors: &self.together.server,
            fleet: self.args.fleet.max(1),
        }
    }

    /// The gateway of an earlier commit, if that is asked for.
    fn before(&mut self) -> Option<PathBuf> {
        let built = before::build(self.args.before.as_deref()?);
        built.map_err(|error| self.report.failed(BEFORE, &error)).ok()
    }
}
