//! How a session joins that catches up: its topics are wanted before it is subscribed to them, and
//! it is subscribed in one step with what it lacks.

use std::sync::Arc;

use super::{Hub, Interest, outbox::Outbox};
use crate::{
    event::{Exchange, Position, Topic},
    protocol::{self, Frame, KeyForm, Recovered, Tag},
};

/// Where a hub is, or a reader. Positions are compared where the numbers are the same: then there
/// is no gap in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Here {
    /// Entries and gaps that were handed over.
    pub handed: u64,
    /// All events up to there are queued for those who are subscribed.
    pub position: Position,
}

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

impl Hub {
    /// Whatever is read of the topic from now on is to be handed to this hub.
    pub fn expect(&self, topic: &Topic) -> Expected {
        Expected::new(self.interest.clone(), topic.clone())
    }

    /// Acknowledges, for a session that joins when it has caught up.
    pub fn acknowledge(&self, topic: &Topic, form: KeyForm, outbox: &Outbox, tag: Option<&Tag>) {
        let mut exchanges = self.lock();
        let Some(subscribers) = exchanges.get_mut(&topic.exchange) else { return };
        let id = self.position(&topic.exchange, subscribers);
        outbox.push(protocol::subscribed(tag, topic, form, id, Some(Recovered::Yes)));
    }

    /// Queues what leads up to where this hub is, and registers for what is behind, in one step;
    /// neither where there is an error.
    pub fn join<E>(
        &self,
        exchange: &Exchange,
        keys: &[(&Topic, KeyForm)],
        outbox: &Arc<Outbox>,
        lead: impl FnOnce(Here) -> Result<Vec<Frame>, E>,
    ) -> Result<(), E> {
        let mut exchanges = self.lock();
        let Some(subscribers) = exchanges.get_mut(exchange) else { return Ok(()) };
        // Nobody is subscribed where it is not known yet.
        let Some(position) = self.position(exchange, subscribers) else { return Ok(()) };
        let handed = subscribers.handed;
        lead(Here { handed, position })?.into_iter().for_each(|frame| outbox.push(frame));
        for (topic, form) in keys {
            self.register(subscribers, topic, *form, outbox, Some(handed));
        }
        Ok(())
    }
}
