//! A topic that a session is about to be subscribed to: it is wanted already.

use std::sync::Arc;

use super::{Here, Interest};
use crate::event::Topic;

/// What is read of a topic is handed to the hubs for as long as this lives.
#[derive(Debug)]
pub struct Expected {
    interest: Arc<Interest>,
    topic: Topic,
    since: Option<Here>,
}

impl Expected {
    pub(super) fn new(interest: Arc<Interest>, topic: Topic) -> Self {
        let since = interest.add(&topic);
        Self { interest, topic, since }
    }

    /// What is read behind this.
    pub fn since(&self) -> Option<Here> {
        self.since
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.interest.remove(&self.topic);
    }
}
