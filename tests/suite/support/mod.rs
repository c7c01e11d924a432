//! What the tests share.

pub mod client;
pub mod fleet;
pub mod frames;
pub mod gateway;
pub mod handler;
pub mod http;
pub mod process;
pub mod rabbitmq;
pub mod raw;

use std::time::Duration;

/// How long a test waits for what must come. Generous: it is only waited out by a failure.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Bounds a wait of a test, and names it when it fails.
pub async fn within<T>(deadline: Duration, what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(deadline, wait).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {deadline:?}"),
    }
}

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}.{:016x}", rand::random::<u64>())
}
