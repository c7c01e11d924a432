//! What one subscription heard, and where what it did not hear would have been.

use std::collections::HashMap;

use super::{
    super::books::{Books, Heard, Outcome, Subscription, Told},
    order::Order,
};

pub struct Hearing<'a> {
    subscription: &'a Subscription,
    /// In the order in which it heard them, each once.
    events: Vec<usize>,
    places: HashMap<usize, usize>,
    pub twice: Vec<usize>,
    pub gaps: Vec<Gap>,
    /// By place: the greatest number up to there.
    greatest: Vec<usize>,
}

pub struct Gap {
    pub told: Told,
    /// So many events were heard before.
    heard: usize,
}

/// An event that was taken and not heard.
pub struct Missing {
    pub number: usize,
    /// Its push began after `Subscribed`, it was taken, and something behind it was heard.
    pub owed: bool,
    /// It would have been behind so many events.
    not_before: usize,
    /// And before the one in this place, if any.
    not_behind: Option<usize>,
}

impl<'a> Hearing<'a> {
    pub fn of(subscription: &'a Subscription) -> Self {
        let (mut events, mut places) = (Vec::new(), HashMap::new());
        let (mut twice, mut gaps) = (Vec::new(), Vec::new());
        let mut greatest = Vec::new();
        for heard in &subscription.heard {
            match *heard {
                Heard::Told(told) => gaps.push(Gap { told, heard: events.len() }),
                Heard::Back(..) => {}
                Heard::Event(number) if places.contains_key(&number) => twice.push(number),
                Heard::Event(number) => {
                    places.insert(number, events.len());
                    events.push(number);
                    greatest.push(number.max(greatest.last().copied().unwrap_or_default()));
                }
            }
        }
        Self { subscription, events, places, twice, gaps, greatest }
    }

    pub fn events(&self) -> impl Iterator<Item = usize> + '_ {
        self.events.iter().copied()
    }

    /// Events that it heard later than one behind them.
    pub fn out_of_order(&self, order: &Order) -> Vec<usize> {
        let is_late = |place: &usize| {
            let number = self.events[*place];
            let before = place.checked_sub(1).map(|before| self.greatest[before]);
            before.is_some_and(|greatest| greatest >= order.behind(number))
                || order
                    .later(number)
                    .any(|later| self.places.get(&later).is_some_and(|at| at < place))
        };
        (0..self.events.len()).filter(is_late).map(|place| self.events[place]).collect()
    }

    /// What was taken, or heard by anybody, and not by it.
    pub fn missing(&self, books: &Books, order: &Order, anybody: &[bool]) -> Vec<Missing> {
        // By place: the least number behind that event or any later one.
        let mut least = vec![usize::MAX; self.events.len() + 1];
        for (place, number) in self.events.iter().enumerate().rev() {
            least[place] = least[place + 1].min(order.behind(*number));
        }
        let began_by = |at| books.events.partition_point(|event| event.began <= at);
        let session = &books.sessions[self.subscription.session];
        let end = session.ended.as_ref().filter(|_| !self.subscription.kept);
        let end = end.map_or(books.events.len(), |(at, _)| began_by(*at));
        let meanwhile = began_by(self.subscription.since)..end;
        let is_missing = |number: &&usize| {
            (books.events[**number].outcome == Outcome::Ok || anybody[**number])
                && !self.places.contains_key(*number)
        };
        let missing = |number: &usize| {
            let number = *number;
            let place = |other: usize| self.places.get(&other).copied();
            let taken = books.events[number].outcome == Outcome::Ok;
            let before = least.partition_point(|behind| *behind <= number);
            let earlier = order.earlier(number).filter_map(place).max();
            let not_before = before.max(earlier.map_or(0, |place| place + 1));
            let behind = order.behind(number);
            let behind = self.greatest.partition_point(|greatest| *greatest < behind);
            let behind = Some(behind).filter(|place| *place < self.events.len());
            let later = order.later(number).filter_map(place).min();
            let not_behind = behind.into_iter().chain(later).min();
            Missing { number, owed: taken && not_behind.is_some(), not_before, not_behind }
        };
        let events = order.of_topic(self.subscription.topic, meanwhile).iter();
        events.filter(is_missing).map(missing).collect()
    }

    /// The event in whose place one would have been, if any.
    pub fn before(&self, missing: &Missing) -> Option<usize> {
        self.events.get(missing.not_behind?).copied()
    }

    pub fn is_told_of(&self, missing: &Missing) -> bool {
        self.gaps.iter().any(|gap| missing.is_around(gap))
    }
}

impl Missing {
    /// It may be what the gap is about.
    pub fn is_around(&self, gap: &Gap) -> bool {
        self.not_before <= gap.heard && self.not_behind.is_none_or(|place| gap.heard <= place)
    }
}
