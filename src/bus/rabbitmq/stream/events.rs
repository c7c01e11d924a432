//! What is done with the events of an entry, one or many: each is looked at as far as it takes
//! to see whether it is new and somebody here wants it, and those go to the listener together.

use std::sync::atomic::Ordering::Relaxed;

use lapin::message::Delivery;
use tokio::task::yield_now;

use super::Reader;
use crate::{
    bus::{
        SkipReason,
        rabbitmq::{batch::NoBatch, entry},
    },
    event::{InvalidEvent, RawEvent},
};

impl Reader {
    /// What is wrong with one event costs the others nothing.
    pub(super) async fn deliver(&mut self, delivery: &Delivery, offset: u64) {
        let events = match entry::events(delivery, offset, self.max_event_size) {
            Ok(events) => events,
            Err(NoBatch) => return self.skip(offset, SkipReason::NoBatch),
        };
        let mut events = self.well_formed(events, offset);
        self.health.lag.read(events.iter().filter_map(RawEvent::pushed_at).next_back());
        let all = events.len();
        // Wanted or not: who subscribes later must find the same known here as elsewhere.
        self.drop_repeated(&mut events);
        self.listener.keep_wanted(&self.config.name, &mut events);
        let unwanted = all - events.len();
        let wanted = events.iter().map(|event| event.read(&self.config.name)).collect();
        let wanted = self.well_formed(wanted, offset);
        self.listener.events(&self.config.name, wanted, unwanted).await;
        if all > 1 {
            // Sessions share this runtime, and a log that is caught up with comes without end.
            yield_now().await;
        }
    }

    /// Whatever their routing keys: an id is its exchange's.
    fn drop_repeated(&mut self, events: &mut Vec<RawEvent<'_>>) {
        let all = events.len();
        events.retain(|event| event.id().is_none_or(|id| self.seen.insert(id)));
        self.health.duplicates.fetch_add((all - events.len()) as u64, Relaxed);
    }

    fn well_formed<T>(&self, events: Vec<Result<T, InvalidEvent>>, offset: u64) -> Vec<T> {
        let skip = |error: InvalidEvent| self.skip(offset, (&error).into());
        events.into_iter().filter_map(|event| event.map_err(skip).ok()).collect()
    }
}
