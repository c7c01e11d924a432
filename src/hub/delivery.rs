//! One event on its way to those who are subscribed.

use std::sync::OnceLock;

use super::Subscriber;
use crate::{
    event::{Event, Position, PushedAt},
    protocol::{self, Frame},
};

/// One event on its way to the hubs of all runtimes. It is encoded once, and only if
/// somebody wants it.
#[derive(Debug)]
pub struct Delivery {
    event: Event,
    frame: OnceLock<Frame>,
}

impl Delivery {
    pub fn new(event: Event) -> Self {
        Self { event, frame: OnceLock::new() }
    }

    /// What it takes in memory, more or less, before it is encoded.
    pub fn bytes(&self) -> usize {
        let Event { topic, body, .. } = &self.event;
        size_of::<Self>() + topic.routing_key().len() + body.name.len() + body.payload.get().len()
    }

    pub(super) fn routing_key(&self) -> &str {
        self.event.topic.routing_key()
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.event.position
    }

    /// Which of a hub's subscribers is to be timed: one, as an event takes each of them the
    /// same way, and not always the one that is served first.
    pub(super) fn to_follow<'a>(
        &self,
        subscribers: &'a [Subscriber],
    ) -> Option<(&'a Subscriber, PushedAt)> {
        let pushed_at = self.event.pushed_at?;
        // Microseconds are as good as drawn.
        let at = pushed_at.0.checked_rem(subscribers.len() as u64)?;
        Some((&subscribers[at as usize], pushed_at))
    }

    pub(super) fn frame(&self) -> Frame {
        self.frame.get_or_init(|| protocol::pushed_event(&self.event)).clone()
    }
}
