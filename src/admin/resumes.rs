//! Who comes back, and what there is for them: in memory, and in the log behind it.

use serde::Serialize;

use super::{Admin, history::ms};
use crate::{metrics::Source, ring::Held};

#[derive(Debug, Serialize)]
pub(super) struct Resumes {
    under_way: u64,
    /// Since the start, as all counts here.
    results: Vec<Over>,
    replayed: Replayed,
    buffer: Buffer,
    log: Log,
}

/// Wishes for what was missed.
#[derive(Debug, Serialize)]
struct Over {
    asked: &'static str,
    result: &'static str,
    count: u64,
}

/// Events, by where they were found.
#[derive(Debug, Serialize)]
struct Replayed {
    buffer: u64,
    log: u64,
}

#[derive(Debug, Serialize)]
struct Buffer {
    bytes: usize,
    max_bytes: usize,
    exchanges: Vec<Kept>,
}

#[derive(Debug, Serialize)]
struct Kept {
    name: String,
    entries: usize,
    bytes: usize,
    /// Of the oldest event, where it is known.
    age_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Log {
    /// Now.
    readings: usize,
    /// Sessions that wait for one.
    waiting: u64,
    /// Times that one had waited in vain.
    refused: u64,
}

impl Admin {
    pub(super) fn resumes(&self) -> Resumes {
        let (resumes, held) = (&self.metrics.resumes, self.ring.held());
        let mut results = resumes.over();
        results.sort_by_key(|(texts, count)| (std::cmp::Reverse(*count), *texts));
        let replayed = |source| resumes.events[source].get();
        Resumes {
            under_way: resumes.under_way(),
            results: results.into_iter().map(Over::from).collect(),
            replayed: Replayed { buffer: replayed(Source::Buffer), log: replayed(Source::Log) },
            log: Log {
                readings: held.iter().map(|held| held.readings).sum(),
                waiting: resumes.log_waiting.get(),
                refused: resumes.log_refused.get(),
            },
            buffer: Buffer {
                bytes: held.iter().map(|held| held.bytes).sum(),
                max_bytes: self.ring.capacity(),
                exchanges: held.into_iter().map(Kept::from).collect(),
            },
        }
    }
}

impl From<([&'static str; 2], u64)> for Over {
    fn from(([asked, result], count): ([&'static str; 2], u64)) -> Self {
        Self { asked, result, count }
    }
}

impl From<Held> for Kept {
    fn from(held: Held) -> Self {
        let Held { exchange, entries, bytes, age, .. } = held;
        Self { name: exchange.to_string(), entries, bytes, age_ms: age.map(ms) }
    }
}
