//! What was measured, as tables: the middle of all rounds, the lowest and the highest, and
//! the gateway's ratio to each peer, round by round.

mod figures;
mod layout;
mod verdict;

use std::collections::BTreeMap;

use self::{
    figures::{Samples, ratios, spread},
    verdict::verdict,
};
use crate::args::Row;

pub const GATEWAY: &str = "myxi";

/// The AMQP library, where events go through RabbitMQ.
pub const BARE: &str = "lapin, bare";

/// The gateway without batches, and the one of an earlier commit.
pub const WITHOUT_BATCHES: &str = "myxi, batch=off";
pub const BEFORE: &str = "myxi, before";

/// The gateway's clients as if it kept nothing for them, and the gateway as it keeps the least.
pub const WITHOUT_POSITIONS: &str = "without positions";
pub const LEAST_RING: &str = "--resume-buffer=1MiB";

/// The same calls to the application without a server between.
pub const STRAIGHT: &str = "tonic, straight";

/// What writes one frame to each client for each event.
pub const FLOOR: &str = "bare floor";

#[derive(Default)]
pub struct Report {
    /// By row: each server with its figures by column, in the order they came.
    rows: BTreeMap<Row, Vec<(String, Vec<Samples>)>>,
    failures: Vec<String>,
}

impl Report {
    /// A figure for each column of the row.
    pub fn record(&mut self, row: Row, server: &str, figures: &[Option<f64>]) {
        eprintln!("  {row:?}, {server}: {figures:.2?}");
        let servers = self.rows.entry(row).or_default();
        let position = servers.iter().position(|(name, _)| name == server);
        let position = position.unwrap_or_else(|| {
            servers.push((server.to_owned(), vec![Vec::new(); figures.len()]));
            servers.len() - 1
        });
        for (samples, figure) in servers[position].1.iter_mut().zip(figures) {
            samples.push(*figure);
        }
    }

    pub fn failed(&mut self, what: &str, error: &anyhow::Error) {
        let failure = format!("{what}: {error:#}");
        eprintln!("  {failure}");
        if !self.failures.contains(&failure) {
            self.failures.push(failure);
        }
    }

    pub fn print(&self) {
        for (row, servers) in &self.rows {
            let (title, columns) = layout::layout(*row);
            let names: Vec<_> = columns.iter().map(|column| column.name).collect();
            println!("\n### {title}\n");
            println!("| | {} |", names.join(" | "));
            println!("|---|{}", "---|".repeat(columns.len()));
            let ours = servers.iter().find(|(name, _)| name == GATEWAY).map(|(_, all)| all);
            let is_ours = |name: &str| name == GATEWAY;
            let in_order = servers.iter().filter(|(name, _)| is_ours(name));
            let in_order = in_order.chain(servers.iter().filter(|(name, _)| !is_ours(name)));
            for (name, all) in in_order {
                let ours = ours.filter(|_| name != GATEWAY);
                let cells = columns.iter().enumerate().map(|(n, column)| {
                    let figure = spread(&all[n], column.digits);
                    match ours.map(|ours| ratios(&ours[n], &all[n])) {
                        Some(ratios) if column.compares && !ratios.is_empty() => {
                            format!("{figure}; ×{}", spread(&ratios, 2))
                        }
                        _ => figure,
                    }
                });
                println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
            }
            if let Some(ours) = ours {
                let verdicts = columns.iter().enumerate().map(|(n, column)| {
                    let peers = servers.iter().filter(|(name, _)| name != GATEWAY);
                    let peers = peers.map(|(name, all)| (name.as_str(), &all[n]));
                    verdict(column, &ours[n], &peers.collect::<Vec<_>>())
                });
                println!("| **target** | {} |", verdicts.collect::<Vec<_>>().join(" | "));
            }
        }
        for failure in &self.failures {
            println!("\n{failure}");
        }
    }
}
