//! How much may wait for the broker and be on its way there at once, over all exchanges of a
//! bus.

mod pool;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::{Instant, timeout_at};

pub(super) use self::pool::Permits;
use self::pool::{Pool, Share};
use super::not_published::NotPublished;

/// Written and not confirmed. More, by half, only while exchanges share what one had.
const MAX_UNCONFIRMED: usize = 1_000;

/// Unconfirmed and waiting. Beyond it a push is refused at once.
const MAX_ADMITTED: usize = 4 * MAX_UNCONFIRMED;

/// Messages of one exchange that can be admitted at once: each weighs one at least.
pub(super) const MAX_WAITING: usize = MAX_ADMITTED + MAX_ADMITTED / 2;

/// What one message may weigh before it counts as several. So what waits for the broker is at
/// most 4,000 × 16 KiB, or half as much again while exchanges share what one had.
const SLOT_BYTES: usize = 16 * 1024;

/// Shared by the publishers of a bus.
#[derive(Clone)]
pub(super) struct Window {
    admitted: Arc<Pool>,
    unconfirmed: Arc<Pool>,
    closed: Arc<AtomicBool>,
}

impl Window {
    pub(super) fn new() -> Self {
        let (admitted, unconfirmed) = (Pool::new(MAX_ADMITTED), Pool::new(MAX_UNCONFIRMED));
        Self { admitted, unconfirmed, closed: Arc::default() }
    }

    /// The part of another publisher.
    pub(super) fn quota(&self) -> Quota {
        let Self { admitted, unconfirmed, closed } = self;
        let (admitted, unconfirmed) = (admitted.join(), unconfirmed.join());
        Quota { admitted, unconfirmed, closed: closed.clone() }
    }

    /// Refuses what is new from now on, and waits for what is under way.
    pub(super) async fn close(&self, deadline: Instant) {
        self.closed.store(true, Ordering::Relaxed);
        let _ = timeout_at(deadline, self.admitted.is_idle()).await;
    }
}

/// One publisher's part of a [`Window`].
#[derive(Clone)]
pub(super) struct Quota {
    admitted: Share,
    unconfirmed: Share,
    closed: Arc<AtomicBool>,
}

impl Quota {
    /// Whether something of this size may wait. Does not wait itself.
    pub(super) fn admit(&self, size: usize) -> Result<Permits, NotPublished> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(NotPublished::Unavailable("the bus is closed".into()));
        }
        let admitted = self.admitted.try_take(weight(size));
        admitted.ok_or(NotPublished::Overloaded("too many events wait for the broker"))
    }

    /// Resolves when a message of this size may be written.
    pub(super) async fn may_write(&self, size: usize) -> Permits {
        self.unconfirmed.take(weight(size)).await
    }
}

/// Of a message of this size.
pub(super) fn weight(size: usize) -> usize {
    size.div_ceil(SLOT_BYTES).clamp(1, MAX_UNCONFIRMED)
}
