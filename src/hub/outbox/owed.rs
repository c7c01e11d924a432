//! A count of what sessions are yet to do, which can be waited for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

#[derive(Debug, Default)]
pub(super) struct Owed {
    count: AtomicUsize,
    none_left: Notify,
}

/// One of them: done when this is dropped, also by the end of a session.
#[derive(Debug)]
pub(super) struct Due(Arc<Owed>);

impl Owed {
    pub(super) fn one(self: &Arc<Self>) -> Due {
        self.count.fetch_add(1, Ordering::Relaxed);
        Due(self.clone())
    }

    /// Waits until nothing is owed, and no longer than this. Whether nothing is.
    pub(super) async fn none_left_within(&self, patience: Duration) -> bool {
        let none_left = self.none_left.notified();
        self.left() == 0 || timeout(patience, none_left).await.is_ok()
    }

    /// Waits until nothing is owed, or nobody has done anything about it for so long.
    pub(super) async fn none_left(&self, patience: Duration) {
        loop {
            let left = self.left();
            if self.none_left_within(patience).await || self.left() == left {
                return;
            }
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
