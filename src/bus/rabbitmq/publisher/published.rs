//! Counts the messages that the broker has taken, and the events in them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::bus::EventsPerMessage;

/// Of all exchanges of a bus.
#[derive(Debug, Default)]
pub(crate) struct Published {
    messages: [AtomicU64; EventsPerMessage::BOUNDS.len()],
    events: AtomicU64,
}

impl Published {
    pub(crate) fn count(&self, events: usize) {
        let events = events as u64;
        // No message has more than the last of them.
        if let Some(bucket) = EventsPerMessage::BOUNDS.iter().position(|most| events <= *most) {
            self.messages[bucket].fetch_add(1, Relaxed);
            self.events.fetch_add(events, Relaxed);
        }
    }

    pub(crate) fn so_far(&self) -> EventsPerMessage {
        let messages = self.messages.each_ref().map(|bucket| bucket.load(Relaxed));
        EventsPerMessage { messages, events: self.events.load(Relaxed) }
    }
}
