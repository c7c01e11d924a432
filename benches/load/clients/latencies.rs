//! How long messages took to their clients.

use std::time::{Duration, Instant};

use super::{Clients, client::Client};

impl Clients {
    /// From now on the time is taken from each [`Self::published`] to each client's receipt
    /// of that message, everything published before having been received; and from what
    /// each client repeats to its answer.
    pub fn take_latencies(&self) {
        let mut books = self.shared.books.borrow_mut();
        books.published = Some(Vec::new());
        books.latencies.clear();
        books.clients.iter_mut().flatten().for_each(Client::restart_count);
    }

    /// The next message is published now.
    pub fn published(&self, at: Instant) {
        if let Some(published) = &mut self.shared.books.borrow_mut().published {
            published.push(at);
        }
    }

    /// Ends what [`Self::take_latencies`] began. Sorted.
    pub fn latencies(&self) -> Vec<Duration> {
        let mut books = self.shared.books.borrow_mut();
        books.published = None;
        let mut latencies = std::mem::take(&mut books.latencies);
        latencies.sort_unstable();
        latencies
    }
}
