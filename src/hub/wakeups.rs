//! The sessions that have something new to write. An event for thousands wakes them a few
//! at a time: what else the runtime has to do is done in between and does not wait for the
//! last of them, and events that come meanwhile are written together with this one.

use std::{collections::VecDeque, task::Waker};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, task::yield_now};

/// About as many tasks as tokio runs before it looks for what has come from outside.
const AT_ONCE: usize = 64;

/// No longer than there are sessions: one that was woken and has written may come again, but
/// is behind all others.
#[derive(Debug, Default)]
pub(super) struct Wakeups {
    due: Mutex<VecDeque<Waker>>,
    some_due: Notify,
}

/// Those who become due together.
pub(super) struct Adding<'a> {
    due: MutexGuard<'a, VecDeque<Waker>>,
    some_due: &'a Notify,
}

impl Wakeups {
    pub(super) fn adding(&self) -> Adding<'_> {
        Adding { due: self.due.lock(), some_due: &self.some_due }
    }

    /// Wakes whoever is due, for ever.
    pub(super) async fn run(&self) {
        loop {
            self.some_due.notified().await;
            while self.wake_some() {
                yield_now().await;
            }
        }
    }

    fn wake_some(&self) -> bool {
        let mut due = self.due.lock();
        let some = AT_ONCE.min(due.len());
        due.drain(..some).for_each(Waker::wake);
        some > 0
    }
}

impl Adding<'_> {
    pub(super) fn extend(&mut self, wakers: impl Iterator<Item = Waker>) {
        self.due.extend(wakers);
    }
}

impl Drop for Adding<'_> {
    fn drop(&mut self) {
        if !self.due.is_empty() {
            self.some_due.notify_one();
        }
    }
}
