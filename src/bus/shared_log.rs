//! Logs that other replicas, and other programs, write too.

use async_trait::async_trait;

use crate::event::Exchange;

#[async_trait]
pub trait SharedLog: Send + Sync {
    /// Writes an entry that holds no event, and returns its hash; nothing where that fails.
    async fn mark(&self, exchange: &Exchange) -> Option<u64>;
}
