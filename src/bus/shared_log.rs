//! Logs that other replicas, and other programs, write too.

use async_trait::async_trait;

use super::LogEntry;
use crate::event::Exchange;

#[async_trait]
pub trait SharedLog: Send + Sync {
    /// Writes an entry that holds no event, and returns its hash; nothing where that fails.
    async fn mark(&self, exchange: &Exchange) -> Option<u64>;

    /// Begins to read somewhere before this offset, so far that what stands there is known, or
    /// where the log begins.
    async fn read(&self, exchange: &Exchange, offset: u64) -> Result<Box<dyn LogReading>, NotRead>;
}

/// A log, read apart from what the listener is told.
#[async_trait]
pub trait LogReading: Send {
    /// The next entry, as a listener is told of it. An error ends the reading.
    async fn next(&mut self) -> Result<LogEntry<'_>, NotRead>;

    async fn close(self: Box<Self>);
}

/// Why a log is not read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRead {
    /// Nothing comes, for now.
    Unavailable,
    /// Entries may be missing, or cannot be read.
    Hole,
}
