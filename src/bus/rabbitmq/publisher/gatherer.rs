//! Group commit: what comes while messages are under way gathers here, and goes on together
//! as one message when it is its turn.
//!
//! Nothing here waits or knows a broker: whoever drives it says when a message may go.

use std::collections::VecDeque;

use tokio::time::Instant;

/// What one message holds at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub items: usize,
    pub bytes: usize,
}

/// One thing that wants to go.
#[derive(Debug)]
pub(crate) struct Item<T> {
    pub what: T,
    /// Its part of a message that it shares; `None` where it must have one of its own.
    pub shared_bytes: Option<usize>,
    /// The size of a message of its own.
    pub alone_bytes: usize,
}

/// What one caller wants to go, in this order, until its deadline.
#[derive(Debug)]
struct Call<T> {
    items: VecDeque<Item<T>>,
    deadline: Instant,
}

/// See the top of this file.
///
/// Calls take turns: each gets at most one message, or what is left of one, before it is the
/// next one's turn. So one event does not wait behind another caller's thousand. What a call
/// has goes without a break as far as messages have room.
#[derive(Debug)]
pub(crate) struct Gatherer<T> {
    bounds: Bounds,
    calls: VecDeque<Call<T>>,
}

impl<T> Gatherer<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, calls: VecDeque::new() }
    }

    pub(crate) fn add(&mut self, items: Vec<Item<T>>, deadline: Instant) {
        if !items.is_empty() {
            self.calls.push_back(Call { items: items.into(), deadline });
        }
    }

    /// The most that the next message can weigh, in bytes; `None` where there is none.
    pub(crate) fn next_size(&self) -> Option<usize> {
        let next = self.calls.front()?.items.front()?;
        let shares = next.shared_bytes.is_some() && self.bounds.items > 1;
        // Its message of its own may be the larger one.
        let shared = if shares { self.bounds.bytes } else { 0 };
        Some(shared.max(next.alone_bytes))
    }

    /// What the next message holds; nothing where nothing gathers.
    pub(crate) fn next(&mut self) -> Vec<Item<T>> {
        let mut message = Message { bounds: self.bounds, items: Vec::new(), bytes: 0 };
        while let Some(mut call) = self.calls.pop_front() {
            let had = message.items.len();
            message.fill(&mut call.items);
            if call.items.is_empty() {
                continue;
            }
            match message.items.len() > had {
                true => self.calls.push_back(call),
                // It has not had its turn.
                false => self.calls.push_front(call),
            }
            break;
        }
        message.items
    }

    /// Takes out what was to go by now.
    pub(crate) fn take_late(&mut self, now: Instant) -> Vec<T> {
        let calls = self.calls.drain(..);
        let (late, in_time) = calls.partition::<VecDeque<_>, _>(|call| call.deadline <= now);
        self.calls = in_time;
        items(late).collect()
    }

    /// Takes out all.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        items(std::mem::take(&mut self.calls)).collect()
    }
}

fn items<T>(calls: VecDeque<Call<T>>) -> impl Iterator<Item = T> {
    calls.into_iter().flat_map(|call| call.items).map(|item| item.what)
}

/// A message that is put together.
struct Message<T> {
    bounds: Bounds,
    items: Vec<Item<T>>,
    bytes: usize,
}

impl<T> Message<T> {
    /// With as much of the beginning as there is room for.
    fn fill(&mut self, items: &mut VecDeque<Item<T>>) {
        while let Some(item) = items.front()
            && self.has_room(item)
            && let Some(item) = items.pop_front()
        {
            // A message that is not shared has no room for a second.
            self.bytes += item.shared_bytes.unwrap_or(self.bounds.bytes);
            self.items.push(item);
        }
    }

    fn has_room(&self, item: &Item<T>) -> bool {
        match item.shared_bytes {
            _ if self.items.is_empty() => true,
            Some(bytes) => {
                self.items.len() < self.bounds.items && self.bytes + bytes <= self.bounds.bytes
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::SmallRng};
    use std::{collections::HashMap, time::Duration};

    const BOUNDS: Bounds = Bounds { items: 4, bytes: 100 };

    /// Call and place in it.
    type Named = (u32, u32);

    fn small(what: Named) -> Item<Named> {
        of(what, 10)
    }

    fn of(what: Named, bytes: usize) -> Item<Named> {
        Item { what, shared_bytes: Some(bytes), alone_bytes: bytes }
    }

    fn alone(what: Named) -> Item<Named> {
        Item { what, shared_bytes: None, alone_bytes: 500 }
    }

    fn call(name: u32, count: u32) -> Vec<Item<Named>> {
        (0..count).map(|n| small((name, n))).collect()
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn messages(gatherer: &mut Gatherer<Named>) -> Vec<Vec<Named>> {
        let next = || Some(names(gatherer.next())).filter(|message| !message.is_empty());
        std::iter::from_fn(next).collect()
    }

    fn names(items: Vec<Item<Named>>) -> Vec<Named> {
        items.into_iter().map(|item| item.what).collect()
    }

    #[test]
    fn a_call_goes_together_and_is_cut_by_the_bounds_only() {
        let mut gatherer = Gatherer::new(BOUNDS);
        gatherer.add(call(1, 6), later());
        let whole: Vec<Named> = (0..6).map(|n| (1, n)).collect();
        assert_eq!(messages(&mut gatherer), [&whole[..4], &whole[4..]]);
        gatherer.add((0..3).map(|n| of((1, n), 50)).collect(), later());
        assert_eq!(messages(&mut gatherer), [&whole[..2], &whole[2..3]]);
    }

    #[test]
    fn one_event_does_not_wait_behind_a_thousand_of_others() {
        let mut gatherer = Gatherer::new(BOUNDS);
        gatherer.add(call(1, 1_000), later());
        gatherer.add(call(2, 1_000), later());
        gatherer.add(call(3, 1), later());
        let messages = messages(&mut gatherer);
        let place = messages.iter().position(|message| message.contains(&(3, 0)));
        assert_eq!(place, Some(2), "one turn of each");
    }

    #[test]
    fn what_cannot_share_goes_alone_and_in_its_place() {
        let mut gatherer = Gatherer::new(BOUNDS);
        gatherer.add(vec![small((1, 0)), alone((1, 1)), small((1, 2))], later());
        assert_eq!(messages(&mut gatherer), [[(1, 0)], [(1, 1)], [(1, 2)]]);
    }

    #[test]
    fn a_call_for_which_a_message_has_no_room_keeps_its_turn() {
        let mut gatherer = Gatherer::new(BOUNDS);
        gatherer.add(call(1, 1), later());
        gatherer.add(vec![alone((2, 0))], later());
        gatherer.add(call(3, 1), later());
        assert_eq!(messages(&mut gatherer), [[(1, 0)], [(2, 0)], [(3, 0)]]);
    }

    #[test]
    fn without_batches_each_goes_alone_and_callers_take_turns() {
        let mut gatherer = Gatherer::new(Bounds { items: 1, ..BOUNDS });
        gatherer.add(call(1, 2), later());
        gatherer.add(call(2, 1), later());
        assert_eq!(messages(&mut gatherer), [[(1, 0)], [(2, 0)], [(1, 1)]]);
    }

    #[test]
    fn what_is_late_is_taken_out_and_the_others_stay() {
        let mut gatherer = Gatherer::new(BOUNDS);
        let now = Instant::now();
        gatherer.add(call(1, 6), now);
        gatherer.add(call(2, 1), later());
        assert_eq!(gatherer.next().len(), 4);
        assert_eq!(gatherer.take_late(now), [(1, 4), (1, 5)]);
        assert_eq!(messages(&mut gatherer), [[(2, 0)]]);
        assert_eq!(gatherer.next_size(), None);
    }

    /// Whatever comes in whatever sequence.
    #[test]
    fn everything_goes_once_in_its_order_within_the_bounds_and_in_turn() {
        for seed in 0..200 {
            let random = &mut SmallRng::seed_from_u64(seed);
            let mut gatherer = Gatherer::new(BOUNDS);
            let (mut calls, mut waits, mut came) = (0, 0, HashMap::<u32, u32>::new());
            let mut expected = HashMap::new();
            while calls < 50 || waits > 0 {
                if calls < 50 && random.random_bool(0.5) {
                    let items: Vec<_> = (0..random.random_range(1..20))
                        .map(|n| match random.random_range(0..10) {
                            0 => alone((calls, n)),
                            _ => of((calls, n), random.random_range(1..=100)),
                        })
                        .collect();
                    waits += items.len();
                    expected.insert(calls, u32::try_from(items.len()).expect("few"));
                    gatherer.add(items, later());
                    calls += 1;
                } else {
                    let most = gatherer.next_size();
                    let message = gatherer.next();
                    waits -= message.len();
                    assert_eq!(most.is_none(), message.is_empty(), "seed {seed}");
                    let shared: Option<usize> = message.iter().map(|one| one.shared_bytes).sum();
                    match (&message[..], shared) {
                        ([], _) => {}
                        ([one], _) => assert!(Some(one.alone_bytes) <= most, "seed {seed}"),
                        (_, Some(bytes)) => assert!(bytes <= BOUNDS.bytes, "seed {seed}"),
                        (_, None) => panic!("seed {seed}: one that cannot share does"),
                    }
                    assert!(message.len() <= BOUNDS.items, "seed {seed}");
                    for (call, place) in names(message) {
                        let next = came.entry(call).or_default();
                        assert_eq!(place, *next, "seed {seed}, call {call}");
                        *next += 1;
                    }
                }
            }
            assert_eq!(came, expected, "seed {seed}");
        }
    }
}
