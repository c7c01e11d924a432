//! Which events must come behind which, and whether all subscriptions heard one order.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use super::{
    super::{
        books::{Books, Outcome},
        topics::Topic,
    },
    subscription::Hearing,
};

pub struct Order {
    /// Numbers, by the topic's.
    by_topic: Vec<Vec<usize>>,
    /// By number: from which number on all events are behind it. Events have their numbers
    /// in the order in which pushing them began.
    behind: Vec<usize>,
    /// By number: of what was taken together, all of it, the first and the last.
    together: Vec<Option<(usize, usize)>>,
}

impl Order {
    pub fn of(books: &Books) -> Self {
        let events = &books.events;
        let behind = events.iter().map(|event| match (event.outcome, event.ended) {
            (Outcome::Ok, Some(ended)) => events.partition_point(|other| other.began <= ended),
            _ => usize::MAX,
        });
        let mut together = vec![None; events.len()];
        let mut first = 0;
        for number in 0..events.len() {
            if events[number].batch != events[first].batch {
                first = number;
            }
            let last = events.get(number + 1).is_none_or(|next| next.batch != events[first].batch);
            let batch = first..=number;
            if last && events[first].batch.is_some() {
                let all = events[batch.clone()].iter().all(|event| event.outcome == Outcome::Ok);
                together[batch].fill(all.then_some((first, number)));
            }
        }
        let mut by_topic = vec![Vec::new(); Topic::COUNT];
        for (number, event) in events.iter().enumerate() {
            by_topic[event.topic.number()].push(number);
        }
        Self { by_topic, behind: behind.collect(), together }
    }

    /// The topic's events with these numbers.
    pub fn of_topic(&self, topic: Topic, numbers: Range<usize>) -> &[usize] {
        let all = &self.by_topic[topic.number()];
        let place = |number| all.partition_point(|other| *other < number);
        &all[place(numbers.start)..place(numbers.end)]
    }

    /// From this number on all events are behind it.
    pub fn behind(&self, number: usize) -> usize {
        self.behind[number]
    }

    /// What was taken together with it and is behind it.
    pub fn later(&self, number: usize) -> Range<usize> {
        self.together[number].map_or(0..0, |(_, last)| number + 1..last + 1)
    }

    /// What was taken together with it and is before it.
    pub fn earlier(&self, number: usize) -> Range<usize> {
        self.together[number].map_or(0..0, |(first, _)| first..number)
    }
}

/// Events that no one order has in the places in which all subscriptions heard them: as
/// few as will do, or not many more.
pub fn in_two_orders(hearings: &[Hearing]) -> Vec<usize> {
    let mut next: HashMap<usize, BTreeSet<usize>> = HashMap::new();
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    for hearing in hearings {
        let events: Vec<_> = hearing.events().collect();
        for number in &events {
            before.entry(*number).or_default();
        }
        for pair in events.windows(2) {
            if next.entry(pair[0]).or_default().insert(pair[1]) {
                *before.entry(pair[1]).or_default() += 1;
            }
        }
    }
    let mut free: BTreeSet<usize> =
        before.iter().filter(|(_, count)| **count == 0).map(|(number, _)| *number).collect();
    before.retain(|_, count| *count > 0);
    let mut stuck = Vec::new();
    loop {
        let number = match free.pop_first() {
            Some(number) => number,
            // All that is left waits for something that is left.
            None => match before.pop_first() {
                Some((number, _)) => {
                    stuck.push(number);
                    number
                }
                None => return stuck,
            },
        };
        for following in next.remove(&number).into_iter().flatten() {
            if let Some(count) = before.get_mut(&following) {
                *count -= 1;
                if *count == 0 {
                    before.remove(&following);
                    free.insert(following);
                }
            }
        }
    }
}
