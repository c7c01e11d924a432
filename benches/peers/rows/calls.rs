//! Actions through every server that asks an application, beside the same calls without a
//! server.

use tokio::time::sleep;

use super::{PAUSE, Rows};
use crate::{actions, args::Row, report::STRAIGHT};

const SESSIONS: usize = 50;

impl Rows {
    pub(super) async fn calls(&mut self) {
        for round in 0..self.args.rounds() {
            for (row, sessions) in [(Row::Actions, SESSIONS), (Row::OneAction, 1)] {
                if self.args.wants(row) {
                    eprintln!("round {}, {row:?}", round + 1);
                    self.beside_straight(row, sessions).await;
                }
            }
        }
    }

    async fn beside_straight(&mut self, row: Row, sessions: usize) {
        let (time, processors) = (self.time(), self.together.server.clone());
        let straight = match actions::straight(sessions, time, &processors).await {
            Ok(straight) => straight,
            Err(error) => return self.report.failed(STRAIGHT, &error),
        };
        sleep(PAUSE).await;
        for server in self.args.servers() {
            let peer = self.args.peer(server);
            let Some(forwarder) = peer.forwarder() else { continue };
            match actions::through(forwarder, sessions, time, &processors).await {
                Ok(all) => self.record_calls(row, peer.name(), &all, Some(&straight)),
                Err(error) => self.report.failed(&format!("{}, {row:?}", peer.name()), &error),
            }
            sleep(PAUSE).await;
        }
        self.record_calls(row, STRAIGHT, &straight, None);
    }

    fn record_calls(
        &mut self,
        row: Row,
        name: &str,
        all: &actions::Measured,
        straight: Option<&actions::Measured>,
    ) {
        if row == Row::OneAction {
            let added = straight.map(|straight| all.micros() - straight.micros());
            self.report.record(row, name, &[Some(all.micros()), added]);
        } else {
            self.report.record(row, name, &all.figures());
        }
    }
}
