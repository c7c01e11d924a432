//! The last events that passed, for whoever watches. While nobody does, an event costs one
//! look at a flag.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    answer::{Refusal, holds},
    query::Query,
    topics::Topics,
};
use crate::{event::Event, text::cut, time::UnixTime, workers::Watcher};

/// Events that are kept.
const KEPT: usize = 200;

/// As many as a person could ever read; a busier gateway shows some and counts the rest.
const PER_SECOND: u32 = 100;

/// Nobody has asked for so long: nobody watches.
const UNWATCHED: Duration = Duration::from_secs(10);

/// Characters of a payload that are shown.
const PAYLOAD_SHOWN: usize = 1_000;

pub(crate) struct Tail {
    watched: AtomicBool,
    topics: Arc<Topics>,
    state: Mutex<State>,
}

struct State {
    /// The number of the last event that was counted: all that pass while somebody watches, kept
    /// or not, and the first that passes when nobody does any more.
    seq: u64,
    kept: VecDeque<Arc<Passed>>,
    asked: Instant,
    /// The number of the first event that passed while nobody watched, the last time.
    unwatched: u64,
    /// The second that is counted in, and what it has kept.
    second: Instant,
    kept_in_second: u32,
}

#[derive(Debug, Serialize)]
struct Passed {
    seq: u64,
    at_ms: u64,
    exchange: String,
    routing_key: String,
    event: String,
    payload: String,
    /// Of the whole payload.
    bytes: usize,
    /// Sessions of this replica that it was for.
    subscribers: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tailed {
    /// What to ask `after` next time.
    next: u64,
    /// What passed since `after` and is not kept, or not any more.
    skipped: u64,
    /// Nobody watched for a while since `after`: what passed then was not even counted.
    unwatched: bool,
    events: Vec<Arc<Passed>>,
}

impl Tail {
    pub(crate) fn new(topics: Arc<Topics>) -> Self {
        let now = Instant::now();
        let state = State {
            seq: 0,
            kept: VecDeque::new(),
            asked: now,
            unwatched: 0,
            second: now,
            kept_in_second: 0,
        };
        Self { watched: AtomicBool::new(false), topics, state: Mutex::new(state) }
    }

    fn keep(&self, event: &Event) {
        let now = Instant::now();
        let mut state = self.lock();
        if now - state.asked > UNWATCHED {
            self.watched.store(false, Ordering::Relaxed);
            state.kept = VecDeque::new();
            state.seq += 1;
            state.unwatched = state.seq;
            return;
        }
        state.seq += 1;
        if !state.has_room_in_second(now) {
            return;
        }
        let payload = event.body.payload.get();
        let passed = Passed {
            seq: state.seq,
            at_ms: UnixTime::now().millis(),
            exchange: event.topic.exchange.to_string(),
            routing_key: event.topic.routing_key().into(),
            event: event.body.name.to_string(),
            payload: cut(payload, PAYLOAD_SHOWN),
            bytes: payload.len(),
            subscribers: self.topics.subscribers(&event.topic),
        };
        if state.kept.len() == KEPT {
            state.kept.pop_front();
        }
        state.kept.push_back(Arc::new(passed));
    }

    /// What passed since `after`, as far as it is kept and fits the filter. From now on
    /// somebody watches, for a while.
    pub(crate) fn list(&self, query: &Query<'_>) -> Result<Tailed, Refusal> {
        let (after, filter) = (query.number("after")?, query.needle("filter")?);
        let mut state = self.lock();
        state.asked = Instant::now();
        self.watched.store(true, Ordering::Relaxed);
        // A number from before a restart means nothing here.
        let after = after.filter(|after| *after <= state.seq);
        let unwatched = after.is_some_and(|after| after < state.unwatched);
        let since = |passed: &&Arc<Passed>| after.is_none_or(|after| passed.seq > after);
        let mut events: Vec<_> = state.kept.iter().filter(since).cloned().collect();
        let next = state.seq;
        // No event waits while texts are searched.
        drop(state);
        let skipped = after.map_or(0, |after| next - after - events.len() as u64);
        events.retain(|passed| passed.fits(&filter));
        Ok(Tailed { next, skipped, unwatched, events })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Watcher for Tail {
    fn watches(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    fn passed(&self, event: &Event) {
        if self.watches() {
            self.keep(event);
        }
    }
}

impl State {
    fn has_room_in_second(&mut self, now: Instant) -> bool {
        if now - self.second >= Duration::from_secs(1) {
            self.second = now;
            self.kept_in_second = 0;
        }
        self.kept_in_second += 1;
        self.kept_in_second <= PER_SECOND
    }
}

impl Passed {
    fn fits(&self, filter: &str) -> bool {
        [&self.exchange, &self.routing_key, &self.event, &self.payload]
            .into_iter()
            .any(|text| holds(text, filter))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::event::{Entry, EventBody, Exchange, Position, Topic};

    fn tail() -> Tail {
        Tail::new(Arc::new(Topics::new(Vec::new())))
    }

    fn pass(tail: &Tail, times: usize) {
        let exchange = Exchange::new("widgets").expect("valid");
        let topic = Topic::new(exchange, "1").expect("valid");
        let body = EventBody::new("Changed", "{}").expect("valid");
        let at = Position::end_of(Entry { offset: 0, hash: 0 });
        let event = Event { topic, body, position: Some(at), pushed_at: None };
        (0..times).for_each(|_| tail.passed(&event));
    }

    /// The first and the last number that are shown, how many, and how many were skipped.
    fn list(tail: &Tail, query: &str) -> (Option<u64>, Option<u64>, usize, u64) {
        let Tailed { events, skipped, .. } = tail.list(&Query::read(Some(query))).expect("valid");
        let seq = |event: Option<&Arc<Passed>>| event.map(|event| event.seq);
        (seq(events.first()), seq(events.last()), events.len(), skipped)
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_no_more_watches_no_more() {
        let tail = tail();
        pass(&tail, 1);
        assert_eq!(list(&tail, ""), (None, None, 0, 0));
        advance(UNWATCHED).await;
        pass(&tail, 1);
        assert_eq!(list(&tail, ""), (Some(1), Some(1), 1, 0));
        advance(UNWATCHED + Duration::from_millis(1)).await;
        pass(&tail, 1);
        assert!(!tail.watched.load(Ordering::Relaxed));
        pass(&tail, 1);
        // Of the three that passed, the last is not known of; whoever asks hears that there was more.
        for _ in 0..2 {
            let late = tail.list(&Query::read(Some("after=0"))).expect("valid");
            assert_eq!((late.next, late.skipped, late.unwatched), (2, 2, true));
            assert!(late.events.is_empty());
        }
        pass(&tail, 1);
        let in_time = tail.list(&Query::read(Some("after=2"))).expect("valid");
        assert_eq!((in_time.next, in_time.skipped, in_time.unwatched), (3, 0, false));
    }

    #[tokio::test(start_paused = true)]
    async fn some_of_many_are_kept_and_the_rest_are_counted() {
        let tail = tail();
        list(&tail, "");
        pass(&tail, 250);
        assert_eq!(list(&tail, "after=0"), (Some(1), Some(100), 100, 150));
        assert_eq!(list(&tail, "after=90"), (Some(91), Some(100), 10, 150));
        advance(Duration::from_secs(1)).await;
        pass(&tail, 10);
        assert_eq!(list(&tail, "after=250"), (Some(251), Some(260), 10, 0));
        for _ in 0..2 {
            advance(Duration::from_secs(1)).await;
            pass(&tail, 100);
        }
        assert_eq!(list(&tail, "after=260"), (Some(261), Some(460), 200, 0));
        assert_eq!(list(&tail, "after=250"), (Some(261), Some(460), 200, 10));
        assert_eq!(list(&tail, "after=461"), (Some(261), Some(460), 200, 0));
    }
}
