//! What is configured of each exchange: the bounds of its stream. Other buses know it by its
//! name alone.

use std::time::Duration;

use crate::event::Exchange;

/// One exchange of the configuration and the bounds of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeConfig {
    pub name: Exchange,
    pub max_age: Duration,
    pub max_bytes: u64,
    pub segment_bytes: u64,
}

impl ExchangeConfig {
    /// Limits that keep a broker's disk safe when nobody thinks of them.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(3600);
    pub const DEFAULT_MAX_BYTES: u64 = 200_000_000;
    pub const DEFAULT_SEGMENT_BYTES: u64 = 10_000_000;

    pub fn new(name: Exchange) -> Self {
        Self {
            name,
            max_age: Self::DEFAULT_MAX_AGE,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            segment_bytes: Self::DEFAULT_SEGMENT_BYTES,
        }
    }
}
