//! How many connections the system lets this process have.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::{config::Config, net::listener::Bounds};

/// Descriptors kept for listeners, the broker, the application and the Gateway service.
const RESERVED_DESCRIPTORS: usize = 64;

/// Two of a worker's runtime, one for its connection to the application, and one more
/// while that is made anew.
const DESCRIPTORS_PER_WORKER: usize = 4;

/// What may be open at once, within what the system allows this process.
pub fn bounds(config: &Config) -> Bounds {
    let limits = &config.limits;
    let reserved = RESERVED_DESCRIPTORS + DESCRIPTORS_PER_WORKER * config.worker_threads;
    let wanted = limits.max_connections + limits.max_pending_handshakes;
    let allowed = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(descriptors) => usize::try_from(descriptors).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of file descriptors");
            wanted + reserved
        }
    };
    // Half of very few, so that there is always room for a client.
    let sockets = wanted.min(allowed - reserved.min(allowed / 2));
    if sockets < limits.max_connections {
        tracing::warn!(
            "the system allows {allowed} file descriptors: no more than {sockets} connections \
             (raise it with ulimit -n, LimitNOFILE= or --ulimit nofile=)"
        );
    }
    Bounds {
        handshakes: Arc::new(Semaphore::new(limits.max_pending_handshakes)),
        sockets: Arc::new(Semaphore::new(sockets)),
    }
}
