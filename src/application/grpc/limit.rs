//! How many calls may be in flight at once: what keeps a slow application from being
//! buried, and its waiting callers from growing without bound.

use std::time::Duration;

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// A turn waited for longer than this is told `Busy`.
const CLIENT_WAIT: Duration = Duration::from_secs(1);

/// Nobody waits for a re-check: it may take its time, but not for ever.
const BACKGROUND_WAIT: Duration = Duration::from_secs(10);

/// Of N calls, this part at most is for what no client waits for.
const BACKGROUND_SHARE: usize = 10;

/// At most N calls in flight, shared by all handlers of one gateway. Turns are given in
/// the order in which they were asked for.
#[derive(Debug)]
pub struct CallLimit {
    calls: Semaphore,
    background: Semaphore,
}

/// Whether a client waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    Client,
    /// A client that would rather wait so long.
    Patient(Duration),
    Background,
}

/// Held while a call is in flight.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _call: SemaphorePermit<'a>,
    _background: Option<SemaphorePermit<'a>>,
}

impl CallLimit {
    /// `calls` is at least 1.
    pub fn new(calls: usize) -> Self {
        let calls = calls.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            calls: Semaphore::new(calls),
            background: Semaphore::new((calls / BACKGROUND_SHARE).max(1)),
        }
    }

    /// Waits for a turn; `None` when it did not come in time.
    pub(super) async fn turn(&self, urgency: Urgency) -> Option<Turn<'_>> {
        match urgency {
            Urgency::Client => timeout(CLIENT_WAIT, self.take(None)).await.ok()?,
            Urgency::Patient(wait) => timeout(wait, self.take(None)).await.ok()?,
            Urgency::Background => timeout(BACKGROUND_WAIT, async {
                let share = self.background.acquire().await.ok()?;
                self.take(Some(share)).await
            })
            .await
            .ok()?,
        }
    }

    async fn take<'a>(&'a self, background: Option<SemaphorePermit<'a>>) -> Option<Turn<'a>> {
        // Neither semaphore is ever closed.
        let call = self.calls.acquire().await.ok()?;
        Some(Turn { _call: call, _background: background })
    }
}
