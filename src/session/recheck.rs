//! Asking the application again about what a session is subscribed to.

use std::sync::Arc;

use super::Session;
use crate::{
    application::{CheckReason, Decision},
    event::Topic,
};

impl Session {
    /// Whether auth has changed since this was last asked.
    pub fn take_recheck_due(&self) -> bool {
        std::mem::take(&mut self.lock().recheck_due)
    }

    /// Asks the application again for everything that is held. Only a clear no ends a
    /// subscription, and only the one that was asked about: not one that came since, nor
    /// one judged by an auth that is no longer so. Returns whether there was an answer.
    pub async fn recheck(self: Arc<Self>) -> bool {
        let (snapshot, auth_version, asked) = {
            let state = self.lock();
            let held = state.subscriptions.held().iter();
            let asked: Vec<_> =
                held.map(|(topic, held)| (topic.clone(), held.generation)).collect();
            (state.snapshot.clone(), state.auth_version, asked)
        };
        if asked.is_empty() {
            return true;
        }
        let (topics, generations): (Vec<Topic>, Vec<u64>) = asked.into_iter().unzip();
        match self.check(&snapshot, &topics, CheckReason::Recheck).await {
            Ok(decisions) => {
                for ((topic, generation), decision) in topics.iter().zip(generations).zip(decisions)
                {
                    if decision != Decision::Allow && self.still(topic, generation, auth_version) {
                        self.end_subscription(topic);
                    }
                }
                true
            }
            // Who asked has said why; nothing changes.
            Err(_) => false,
        }
    }

    fn still(&self, topic: &Topic, generation: u64, auth_version: u64) -> bool {
        let state = self.lock();
        state.auth_version == auth_version && state.subscriptions.holds(topic, generation)
    }
}
