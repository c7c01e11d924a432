//! A judge that finds nothing proves nothing: before each torture it is shown made-up books,
//! and must find in them what is there, and no more.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{
    super::{
        books::{Books, Event, Excuse, Heard, Outcome, Told, Word},
        heads::Head,
        topics::Topic,
    },
    heard,
};
use crate::client::Gone;

/// Lost, duplicated, reordered, told without a cause, heard by nobody.
type Found = [usize; 5];

const NOTHING: Found = [0; 5];

pub fn rehearse() -> anyhow::Result<()> {
    const AT_5: Heard = Heard::Event(5);
    let in_turn = || MadeUp::with_events(10);
    let back = || in_turn().hears(0..4).comes_back();
    let back_told = |word, place| back().with_head().told(word, Some(place)).hears_on(6..10);
    let cases: [(&str, MadeUp, Found); 22] = [
        ("all is heard", in_turn().hears(0..10), NOTHING),
        ("a hole", in_turn().hears((0..4).chain(6..10)).hears(0..10), [2, 0, 0, 0, 0]),
        ("a hole for all", in_turn().hears((0..4).chain(6..10)), [2, 0, 0, 0, 2]),
        ("a gap at a hole", in_turn().hears(0..4).gap().hears_on(6..10), NOTHING),
        (
            "a gap too late",
            in_turn().hears((0..4).chain(6..7)).gap().hears_on(7..10).hears(0..10),
            [2, 0, 0, 1, 0],
        ),
        ("a gap at no hole", in_turn().hears(0..4).gap().hears_on(4..10), [0, 0, 0, 1, 0]),
        ("a gap that is excused", in_turn().excused(0).hears(0..4).gap().hears_on(4..10), NOTHING),
        (
            "a gap that is excused elsewhere",
            in_turn().excused(1).hears(0..4).gap().hears_on(4..10),
            [0, 0, 0, 1, 0],
        ),
        ("an event twice", in_turn().hears((0..6).chain(5..10)), [0, 1, 0, 0, 0]),
        (
            "an event too late",
            in_turn().hears((0..5).chain(6..8)).also(AT_5).hears_on(8..10),
            [0, 0, 1, 0, 0],
        ),
        (
            "at once, in either order",
            in_turn().at_once(5, 6).hears((0..5).chain([6, 5]).chain(7..10)),
            NOTHING,
        ),
        (
            "at once, in both orders",
            in_turn().at_once(5, 6).hears(0..10).hears((0..5).chain([6, 5]).chain(7..10)),
            [0, 0, 1, 0, 0],
        ),
        ("a session that ends", in_turn().hears(0..4).ends(), NOTHING),
        (
            "a gap at what was not confirmed and nobody heard",
            in_turn().unknown(4).hears(0..4).gap().hears_on(5..10),
            [0, 0, 0, 1, 0],
        ),
        (
            "a gap at what the log had",
            in_turn().hears(0..4).gap().hears_on(6..10).hears(0..10),
            [0, 0, 0, 1, 0],
        ),
        ("back with all of it", back().hears_on(4..10).hears(0..10), NOTHING),
        ("back with a hole", back().hears_on(6..10).hears(0..10), [2, 0, 0, 0, 0]),
        ("back with something twice", back().hears_on(3..10).hears(0..10), [0, 1, 0, 0, 0]),
        ("back behind the log's head", back_told(Word::Expired, 9).hears(0..10), NOTHING),
        ("back before any marker", back_told(Word::Expired, 19).hears(0..10), NOTHING),
        ("back to what the log has", back_told(Word::Expired, 20).hears(0..10), [0, 0, 0, 1, 0]),
        ("back to another log", back_told(Word::Unknown, 9).hears(0..10), [0, 0, 0, 1, 0]),
    ];
    for (case, made_up, expected) in cases {
        let counts = heard(&made_up.books);
        let found = [
            counts.lost,
            counts.duplicated,
            counts.reordered,
            counts.without_cause,
            counts.heard_by_nobody,
        ];
        let found = found.map(|findings| findings.len());
        ensure!(found == expected, "the judge finds {found:?} and not {expected:?} in: {case}");
    }
    Ok(())
}

struct MadeUp {
    books: Books,
    began: Instant,
}

impl MadeUp {
    /// Each pushed when the one before it was answered, and taken.
    fn with_events(count: usize) -> Self {
        let mut made_up = Self { books: Books::new(), began: Instant::now() };
        for number in 0..count {
            let (began, ended) = (made_up.at(number, 0), made_up.at(number, 50));
            made_up.books.events.push(Event {
                topic: Topic::new(0),
                began,
                ended: Some(ended),
                outcome: Outcome::Ok,
                batch: None,
                position: None,
            });
        }
        made_up
    }

    fn at(&self, number: usize, millis: usize) -> Instant {
        self.began + Duration::from_millis((1_000 + 100 * number + millis) as u64)
    }

    fn at_once(mut self, one: usize, other: usize) -> Self {
        let ended = self.books.events[other].ended;
        self.books.events[one].ended = ended;
        self
    }

    fn unknown(mut self, number: usize) -> Self {
        self.books.events[number].outcome = Outcome::Unknown;
        self
    }

    fn excused(mut self, replica: usize) -> Self {
        let (exchange, from) = (Topic::new(0).exchange(), self.began);
        let (cause, replica) = ("made up", Some(replica));
        let excuse = Excuse { cause, exchange, replica, of_log: false, from, to: None };
        self.books.excuses.push(excuse);
        self
    }

    /// A further subscription, on replica 0, from the beginning.
    fn hears(mut self, events: impl IntoIterator<Item = usize>) -> Self {
        let session = self.books.opened("made up", 0, false, self.began);
        self.books.subscribed((0, session), Topic::new(0), self.began, false);
        self.hears_on(events)
    }

    fn hears_on(self, events: impl IntoIterator<Item = usize>) -> Self {
        events.into_iter().map(Heard::Event).fold(self, Self::also)
    }

    fn gap(self) -> Self {
        self.told(Word::Gap, None)
    }

    fn told(self, word: Word, place: Option<u64>) -> Self {
        let (at, head) = (self.at(5, 0), place.map(|_| 0));
        self.also(Heard::Told(Told { at, replica: 0, word, place, head }))
    }

    /// The log begins at 10, its first marker is at 20.
    fn with_head(mut self) -> Self {
        self.books.heads.push(Some(Head { first: Some(10), marker: Some(20) }));
        self
    }

    /// The last subscription, in another session.
    fn comes_back(mut self) -> Self {
        let subscription = self.books.subscriptions.len() - 1;
        self.books.subscriptions[subscription].kept = true;
        self = self.ends();
        let session = self.books.opened("made up again", 1, false, self.at(9, 50));
        self.books.is_back(subscription, session, None);
        self
    }

    fn also(mut self, heard: Heard) -> Self {
        let last = self.books.subscriptions.last_mut();
        last.expect("a subscription").heard.push(heard);
        self
    }

    fn ends(mut self) -> Self {
        let (session, at) = (self.books.sessions.len() - 1, self.at(9, 0));
        self.books.ended(session, at, Gone::Closed(1000), true);
        self
    }
}
