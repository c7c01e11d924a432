//! What the tests share.

pub mod batch;
pub mod bunny;
pub mod client;
pub mod cluster;
pub mod example;
pub mod fleet;
pub mod frames;
pub mod gateway;
pub mod handler;
pub mod http;
pub mod metrics;
pub mod process;
pub mod program;
pub mod proxy;
pub mod python;
pub mod rabbitmq;
pub mod raw;
pub mod runtime;
pub mod schema;
pub mod script;
pub mod scripted_gateway;
pub mod stream_protocol;
pub mod usage;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a test waits for what must come: a machine may be slow, and have other things to
/// do. It is only waited out by a failure.
pub const DEADLINE: Duration = Duration::from_secs(60);

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

/// A directory of a test's own, removed on drop.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        let path = env::temp_dir().join(unique(&format!("myxi-test-{name}")));
        fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
