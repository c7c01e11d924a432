//! Logs that other replicas, and other programs, write too.

use async_trait::async_trait;

use super::LogEntry;
use crate::event::Exchange;

#[async_trait]
pub trait SharedLog: Send + Sync {
    /// Writes an entry that holds no event, and returns its hash; nothing where that fails.
    async fn mark(&self, exchange: &Exchange) -> Option<u64>;

    /// Begins to read somewhere before this offset, so far that what stands there is known, or
    /// where the log begins. Nothing where that fails.
    async fn read(&self, exchange: &Exchange, offset: u64) -> Option<Box<dyn LogReading>>;
}

/// A log, read apart from what the listener is told.
#[async_trait]
pub trait LogReading: Send {
    /// The next entry, as a listener is told of it. Nothing where none comes for some seconds, or
    /// some may be missing before it; then it is over.
    async fn next(&mut self) -> Option<LogEntry<'_>>;

    async fn close(self: Box<Self>);
}
