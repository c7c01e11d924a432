//! Why somebody was told that events may be missing, as far as that is known. A `Gap`, and
//! `recovered: false`, are right where the log had lost what was missed, or where nobody could
//! know that it had not.

use super::{
    super::{
        books::{Books, Excuse, Told, Unreadable, Word},
        topics::Topic,
    },
    subscription::Missing,
};

/// So many entries before a place the log is read to know it again.
const READ_FROM: u64 = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A fault, by its name.
    Fault(&'static str),
    /// The log's head was cut past the place.
    Cut,
    /// The log reaches back to the place, and to no marker before it: what stands there cannot
    /// be known again.
    NoMarker,
    /// What no gateway can read stands before the place, and nearer than it is read from.
    Unreadable,
    /// As many readings of the log were under way as may be.
    TooMany,
    /// Nobody ever heard what the broker had confirmed.
    LogLost,
}

pub struct Reason {
    /// Where there is none somebody was told who should not have been.
    pub cause: Option<Cause>,
    /// Something that was pushed there was not heard.
    pub missed: bool,
}

impl Cause {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fault(name) => name,
            Self::Cut => "the log's head was cut past the place",
            Self::NoMarker => "the log has no marker before the place",
            Self::Unreadable => "something near the place cannot be read",
            Self::TooMany => "the log was read by as many as may",
            Self::LogLost => "the log has lost what it had",
        }
    }

    pub fn of(
        books: &Books,
        topic: Topic,
        told: &Told,
        behind: &[&Missing],
        anybody: &[bool],
    ) -> Option<Self> {
        if told.word == Word::TooMany {
            return Some(Self::TooMany);
        }
        let excuse = books.excuses.iter().find(|excuse| excuses(excuse, topic, told));
        let excused = excuse.map(|excuse| Self::Fault(excuse.cause));
        let lost = behind.iter().any(|one| one.owed && !anybody[one.number]);
        excused
            .or_else(|| Self::by_log(books, topic, told))
            .or_else(|| lost.then_some(Self::LogLost))
    }

    /// By where the log began just then, and what is in it.
    fn by_log(books: &Books, topic: Topic, told: &Told) -> Option<Self> {
        let (place, exchange) = (told.place?, topic.exchange());
        let is_in_the_way = |entry: &Unreadable| {
            let (first, last) = entry.offsets.clone().into_inner();
            // A replay may come to one that stands behind the place, too.
            let nearest = if told.word == Word::GapInReplay { 0 } else { first };
            entry.exchange == exchange
                && entry.from <= told.at
                && entry.to.is_none_or(|to| told.at <= to)
                && (nearest..=last + READ_FROM).contains(&place)
        };
        match told.word {
            Word::Expired | Word::GapInReplay => Self::by_head(books, told, place)
                .or_else(|| books.unreadable.iter().any(is_in_the_way).then_some(Self::Unreadable)),
            Word::Gap | Word::Unknown | Word::TooMany | Word::NoLog => None,
        }
    }

    fn by_head(books: &Books, told: &Told, place: u64) -> Option<Self> {
        let head = books.heads[told.head?]?;
        if place < head.first? {
            return Some(Self::Cut);
        }
        head.marker.is_none_or(|marker| place < marker).then_some(Self::NoMarker)
    }
}

impl Reason {
    /// It was there and could have been read, or was not even missed.
    pub fn is_without_need(&self) -> bool {
        use Cause::{NoMarker, TooMany, Unreadable};
        let was_there = matches!(self.cause, None | Some(NoMarker | Unreadable | TooMany));
        was_there || !self.missed
    }
}

fn excuses(excuse: &Excuse, topic: Topic, told: &Told) -> bool {
    let meanwhile = excuse.from <= told.at && excuse.to.is_none_or(|to| told.at <= to);
    // A cut that one replica slept through is no matter of what others find in the log.
    let its = match told.word {
        Word::Gap | Word::GapInReplay => excuse.replica.is_none_or(|only| only == told.replica),
        _ => excuse.of_log,
    };
    excuse.exchange == topic.exchange() && meanwhile && its
}
