//! What is done with the events of an entry, one or many: each is looked at as far as it takes
//! to see whether it is new, and those go to the listener together.

use std::sync::atomic::Ordering::Relaxed;

use lapin::message::Delivery;
use tokio::task::yield_now;

use super::Reader;
use crate::{
    bus::{
        LogEntry, SeenIds, SkipReason,
        rabbitmq::{batch::NoBatch, entry},
    },
    event::{Entry, InvalidEvent, RawEvent},
};

impl Reader {
    /// What is wrong with one event costs the others nothing.
    pub(super) async fn deliver(&mut self, delivery: &Delivery, id: Entry) {
        let (health, exchange) = (&self.health, &self.config.name);
        let skip = |reason| health.skip(exchange, Some(id.offset), reason);
        let entry = read(delivery, id, self.max_event_size, &mut self.seen, skip);
        let (all, repeated) = (entry.events.len() + entry.repeated, entry.repeated);
        health.lag.read(entry.events.iter().filter_map(RawEvent::pushed_at).next_back());
        health.duplicates.fetch_add(repeated as u64, Relaxed);
        self.pass(entry).await;
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

/// What a listener is told of an entry. Each event that is none is skipped.
pub(super) fn read<'a>(
    delivery: &'a Delivery,
    id: Entry,
    max_event_size: usize,
    seen: &mut SeenIds,
    skip: impl Fn(SkipReason),
) -> LogEntry<'a> {
    let events = match entry::events(delivery, id, max_event_size) {
        Ok(events) => events,
        Err(NoBatch) => {
            skip(SkipReason::NoBatch);
            return LogEntry::empty(id);
        }
    };
    let skip = |error: InvalidEvent| skip((&error).into());
    let events = events.into_iter().filter_map(|event| event.map_err(skip).ok());
    let mut events: Vec<RawEvent<'_>> = events.collect();
    let all = events.len();
    // Wanted or not: who subscribes later must find the same known here as elsewhere.
    events.retain(|event| event.id().is_none_or(|id| seen.insert(id)));
    let repeated = all - events.len();
    LogEntry { id, events, repeated }
}
