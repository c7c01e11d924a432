//! What is configured of each exchange: the bounds of its stream. Other buses know it by its
//! name alone.

use std::time::Duration;

use crate::event::Exchange;

/// One exchange of the configuration, the bounds of its stream and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeConfig {
    pub name: Exchange,
    pub max_age: Duration,
    pub max_bytes: u64,
    pub segment_bytes: u64,
    /// Whether events may share an entry of the log. Programs that read it may know single
    /// events only.
    pub batch: bool,
}

impl ExchangeConfig {
    /// Limits that keep a broker's disk safe when nobody thinks of them.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(3600);
    pub const DEFAULT_MAX_BYTES: u64 = 200_000_000;
    pub const DEFAULT_SEGMENT_BYTES: u64 = 10_000_000;
    pub const DEFAULT_BATCH: bool = true;

    pub fn new(name: Exchange) -> Self {
        Self {
            name,
            max_age: Self::DEFAULT_MAX_AGE,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            segment_bytes: Self::DEFAULT_SEGMENT_BYTES,
            batch: Self::DEFAULT_BATCH,
        }
    }
}
