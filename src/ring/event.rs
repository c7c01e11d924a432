//! One event of the ring. Its frame is made when the first client comes back for it, and shared
//! by all who do.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::{
    event::{Exchange, Position, StoredEvent},
    protocol::{self, Frame},
};

/// What an event takes beside its texts, about: itself, its places in the two queues and its
/// allocations.
const OVERHEAD: usize = size_of::<RingEvent>() + 64;

/// What a frame has beside the event's texts, about.
const FRAME_OVERHEAD: usize = 128;

#[derive(Debug)]
pub struct RingEvent {
    event: StoredEvent,
    /// Of what is no event there is none.
    frame: OnceLock<Option<Frame>>,
    /// Of all frames of its exchange, in bytes.
    frames: Arc<AtomicUsize>,
}

impl RingEvent {
    pub(super) fn new(event: StoredEvent, frames: &Arc<AtomicUsize>) -> Self {
        Self { event, frame: OnceLock::new(), frames: frames.clone() }
    }

    pub fn position(&self) -> Position {
        self.event.position()
    }

    pub fn routing_key(&self) -> &str {
        self.event.routing_key()
    }

    pub fn frame(&self, exchange: &Exchange) -> Option<Frame> {
        let make = || {
            let frame = protocol::pushed_event(&self.event.read(exchange).ok()?);
            self.frames.fetch_add(frame.len(), Relaxed);
            Some(frame)
        };
        self.frame.get_or_init(make).clone()
    }

    /// Without the frame.
    pub(super) fn bytes(&self) -> usize {
        OVERHEAD + self.event.size()
    }

    /// What its frame takes, about: it need not be made yet.
    pub(super) fn frame_bytes(&self) -> usize {
        FRAME_OVERHEAD + self.event.size()
    }
}

impl Drop for RingEvent {
    fn drop(&mut self) {
        if let Some(Some(frame)) = self.frame.get() {
            self.frames.fetch_sub(frame.len(), Relaxed);
        }
    }
}
