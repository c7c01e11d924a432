//! How the application is, over all connections to it: each worker has one of its own, and
//! clients of every worker count.

use std::collections::BTreeSet;

use parking_lot::{Mutex, MutexGuard};

use super::Endpoint;
use crate::problem::Problem;

/// Shared by all handlers of one gateway.
#[derive(Debug)]
pub struct ApplicationState {
    /// The reason of each connection that cannot be worked with.
    connections: Mutex<Vec<Option<String>>>,
    /// For the log; who asks is told by the connections.
    log: Problem,
}

impl ApplicationState {
    /// Nothing is known of so many connections.
    pub fn new(endpoint: &Endpoint, connections: usize) -> Self {
        Self {
            connections: Mutex::new(vec![Some("not connected yet".into()); connections]),
            log: Problem::awaited(format!("the application at {endpoint}")),
        }
    }

    /// Why actions fail now, if some do.
    pub fn problem(&self) -> Option<String> {
        let connections = self.connections();
        let reasons: BTreeSet<&str> = connections.iter().flatten().map(String::as_str).collect();
        (!reasons.is_empty()).then(|| reasons.into_iter().collect::<Vec<_>>().join("; "))
    }

    /// Tells the log as well, where it is news.
    pub(super) fn set(&self, connection: usize, problem: Option<String>) {
        if problem.is_some() {
            self.log.set(problem.clone());
        }
        let mut connections = self.connections();
        connections[connection] = problem;
        if connections.iter().all(Option::is_none) {
            self.log.is_over(&"connected");
        }
    }

    /// Tells the log of what went wrong and is being repaired.
    pub(super) fn note(&self, trouble: String) {
        self.log.set(Some(trouble));
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Option<String>>> {
        self.connections.lock()
    }
}
