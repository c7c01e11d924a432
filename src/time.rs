//! The time of day, as others are told it. What is measured here is measured by
//! [`tokio::time::Instant`], which no clock that is set moves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970, by the clock of this machine; a clock that stands before that counts as then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(Duration);

impl UnixTime {
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    pub fn seconds(self) -> u64 {
        self.0.as_secs()
    }

    /// As Prometheus counts.
    pub fn seconds_f64(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// As JavaScript counts.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    pub fn micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }
}
