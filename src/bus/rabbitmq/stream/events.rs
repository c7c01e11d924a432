//! What is done with the events of an entry, one or many: each is looked at as far as it takes
//! to see whether it is new, and those go to the listener together.

use std::sync::atomic::Ordering::Relaxed;

use lapin::message::Delivery;
use tokio::task::yield_now;

use super::Reader;
use crate::{
    bus::{
        LogEntry, SkipReason,
        rabbitmq::{batch::NoBatch, entry},
    },
    event::{Entry, InvalidEvent, RawEvent},
};

impl Reader {
    /// What is wrong with one event costs the others nothing.
    pub(super) async fn deliver(&mut self, delivery: &Delivery, id: Entry) {
        let events = match entry::events(delivery, id, self.max_event_size) {
            Ok(events) => events,
            Err(NoBatch) => {
                self.skip(id.offset, SkipReason::NoBatch);
                return self.pass(LogEntry::empty(id)).await;
            }
        };
        let skip = |error: InvalidEvent| self.skip(id.offset, (&error).into());
        let events = events.into_iter().filter_map(|event| event.map_err(skip).ok());
        let mut events: Vec<RawEvent<'_>> = events.collect();
        self.health.lag.read(events.iter().filter_map(RawEvent::pushed_at).next_back());
        let all = events.len();
        // Wanted or not: who subscribes later must find the same known here as elsewhere.
        events.retain(|event| event.id().is_none_or(|id| self.seen.insert(id)));
        let repeated = all - events.len();
        self.health.duplicates.fetch_add(repeated as u64, Relaxed);
        self.pass(LogEntry { id, events, repeated }).await;
        if all > 1 {
            // Sessions share this runtime, and a log that is caught up with comes without end.
            yield_now().await;
        }
    }

    /// Tells the listener of an entry, which it may know to be worse than it seemed here.
    pub(super) async fn pass(&self, entry: LogEntry<'_>) {
        let offset = entry.id.offset;
        for error in self.listener.entry(&self.config.name, entry).await {
            self.skip(offset, (&error).into());
        }
    }
}
