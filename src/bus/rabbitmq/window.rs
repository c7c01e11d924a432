//! How much may be on its way to the broker at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::not_published::NotPublished;

/// Written, or about to be, and not confirmed; over all exchanges of a bus.
pub const MAX_UNCONFIRMED: usize = 1_000;

/// Unconfirmed and waiting. Beyond it a push is refused at once.
const MAX_ADMITTED: usize = 4 * MAX_UNCONFIRMED;

/// What one message may weigh before it counts as several. So what waits for the broker
/// is at most 4,000 × 16 KiB.
const SLOT_BYTES: usize = 16 * 1024;

/// Shared by all publishers of a bus.
#[derive(Clone)]
pub struct Window {
    admitted: Arc<Semaphore>,
    unconfirmed: Arc<Semaphore>,
    closed: Arc<AtomicBool>,
}

impl Window {
    pub fn new() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (admitted, unconfirmed) = (semaphore(MAX_ADMITTED), semaphore(MAX_UNCONFIRMED));
        Self { admitted, unconfirmed, closed: Arc::default() }
    }

    /// Refuses what is new from now on, and waits for what is under way.
    pub async fn close(&self, deadline: Instant) {
        self.closed.store(true, Ordering::Relaxed);
        let _ = timeout_at(deadline, self.admitted.acquire_many(MAX_ADMITTED as u32)).await;
    }

    /// Does not wait.
    pub fn admit(&self, size: usize) -> Result<Admission, NotPublished> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(NotPublished::Unavailable("the bus is closed".into()));
        }
        let weight = size.div_ceil(SLOT_BYTES).clamp(1, MAX_UNCONFIRMED) as u32;
        match self.admitted.clone().try_acquire_many_owned(weight) {
            Ok(admitted) => {
                Ok(Admission { admitted, unconfirmed: self.unconfirmed.clone(), weight })
            }
            Err(_) => Err(NotPublished::Overloaded("too many events wait for the broker")),
        }
    }
}

/// The right to wait for a [`Slot`].
pub struct Admission {
    admitted: OwnedSemaphorePermit,
    unconfirmed: Arc<Semaphore>,
    weight: u32,
}

impl Admission {
    /// First come, first served.
    pub async fn slot(self, deadline: Instant) -> Result<Slot, NotPublished> {
        let unconfirmed = self.unconfirmed.acquire_many_owned(self.weight);
        match timeout_at(deadline, unconfirmed).await {
            Ok(Ok(unconfirmed)) => Ok(Slot { _permits: [self.admitted, unconfirmed] }),
            _ => Err(NotPublished::Overloaded("too many events are unconfirmed")),
        }
    }
}

/// The right to be unconfirmed.
pub struct Slot {
    _permits: [OwnedSemaphorePermit; 2],
}
