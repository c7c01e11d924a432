//! What is configured of each exchange: what it is on the broker, and the bounds of its log.
//! Other buses know it by its name alone.

use std::time::Duration;

use crate::event::Exchange;

/// One exchange of the configuration. What is said of a log means nothing where it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeConfig {
    pub name: Exchange,
    pub kind: ExchangeKind,
    pub max_age: Duration,
    pub max_bytes: u64,
    pub segment_bytes: u64,
    /// Whether events may share an entry of the log. Programs that read it may know single
    /// events only.
    pub batch: bool,
}

/// How its events come to the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    /// Through a log, a stream that each of them reads.
    Stream,
    /// The same, and the log is fed from a direct exchange of its name, too.
    AlsoDirect,
    /// From a direct exchange of its name, which forwards what it is asked for, key by key.
    Direct,
}

impl ExchangeKind {
    /// Whether somebody who comes back can be given what was missed.
    pub fn has_log(self) -> bool {
        self != Self::Direct
    }

    /// Whether events come for those keys only that a replica has asked for.
    pub fn has_bindings(self) -> bool {
        self != Self::Stream
    }
}

impl ExchangeConfig {
    pub const DEFAULT_KIND: ExchangeKind = ExchangeKind::Stream;
    /// Limits that keep a broker's disk safe when nobody thinks of them.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(3600);
    pub const DEFAULT_MAX_BYTES: u64 = 200_000_000;
    pub const DEFAULT_SEGMENT_BYTES: u64 = 10_000_000;
    pub const DEFAULT_BATCH: bool = true;

    pub fn new(name: Exchange) -> Self {
        Self {
            name,
            kind: Self::DEFAULT_KIND,
            max_age: Self::DEFAULT_MAX_AGE,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            segment_bytes: Self::DEFAULT_SEGMENT_BYTES,
            batch: Self::DEFAULT_BATCH,
        }
    }
}
