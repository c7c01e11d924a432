//! A count of what sessions are yet to do, which can be waited for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

#[derive(Debug, Default)]
pub struct Owed {
    count: AtomicUsize,
    none_left: Notify,
}

/// One of them: done when this is dropped, also by the end of a session.
#[derive(Debug)]
pub struct Due(Arc<Owed>);

impl Owed {
    pub fn one(self: &Arc<Self>) -> Due {
        self.count.fetch_add(1, Ordering::Relaxed);
        Due(self.clone())
    }

    /// Waits until nothing is owed, and no longer than nobody does anything for so long.
    pub async fn none_left(&self, patience: Duration) {
        loop {
            let none_left = self.none_left.notified();
            let left = self.left();
            if left == 0 {
                return;
            }
            let late = timeout(patience, none_left).await.is_err();
            if late && self.left() == left {
                return;
            }
        }
    }

    /// Waits until nothing is owed, or until then.
    pub async fn none_left_by(&self, deadline: Instant) {
        let none_left = self.none_left.notified();
        if self.left() > 0 {
            let _ = timeout_at(deadline, none_left).await;
        }
    }

    fn left(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}
