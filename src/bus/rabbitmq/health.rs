//! How the reading of one exchange is, for others to see.

use std::sync::atomic::{AtomicBool, AtomicU64};

use super::supervisor::{NOT_CONNECTED_YET, Problem};
use crate::{
    bus::{Lag, SkipCounts, SkipReason},
    event::Exchange,
};

pub(super) struct Health {
    /// Has been attached once.
    pub attached: AtomicBool,
    pub problem: Problem,
    pub lag: Lag,
    /// What was no event.
    pub skipped: SkipCounts,
    /// Events that were pushed again.
    pub duplicates: AtomicU64,
    /// Gaps told.
    pub gaps: AtomicU64,
    /// How often nothing came though there was something to read.
    pub stalls: AtomicU64,
}

impl Health {
    pub(super) fn new(exchange: &Exchange) -> Self {
        let problem = Problem::new(format!("exchange {exchange}, reading"));
        problem.not_yet(NOT_CONNECTED_YET);
        let (attached, lag, skipped, duplicates, gaps, stalls) = Default::default();
        Self { attached, problem, lag, skipped, duplicates, gaps, stalls }
    }

    /// `offset`: in the log, where there is one. Logs less and less, for whoever publishes
    /// nonsense may publish a lot of it.
    pub(super) fn skip(&self, exchange: &Exchange, offset: Option<u64>, reason: SkipReason) {
        let skipped = self.skipped.count(reason);
        if skipped.is_power_of_two() {
            let what = reason.what();
            tracing::warn!(%exchange, offset, skipped, "skipped what was published: {what}");
        }
    }
}
