//! A topic that a session is about to be subscribed to: it is wanted already.

use std::sync::Arc;

use super::Interest;
use crate::event::{Position, Topic};

/// What is read of a topic is handed to the hubs for as long as this lives.
#[derive(Debug)]
pub struct Expected {
    interest: Arc<Interest>,
    topic: Topic,
    since: Option<Position>,
}

impl Expected {
    pub(super) fn new(interest: Arc<Interest>, topic: Topic) -> Self {
        let since = interest.add(&topic);
        Self { interest, topic, since }
    }

    /// What is read behind this position.
    pub fn since(&self) -> Option<Position> {
        self.since
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.interest.remove(&self.topic);
    }
}
