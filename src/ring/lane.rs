//! The latest entries of one exchange's log.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque, vec_deque},
    iter::{self, Peekable},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{Lost, event::RingEvent};
use crate::event::{Entry, Position, RawEvent, StoredEvent};

/// What an entry and a key take beside their events, about.
const ENTRY_BYTES: usize = size_of::<KeptEntry>();
const KEY_BYTES: usize = 160;

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// In the log's order, as are the events.
    entries: VecDeque<KeptEntry>,
    events: VecDeque<Arc<RingEvent>>,
    by_key: HashMap<Arc<str>, VecDeque<Arc<RingEvent>>>,
    /// From here on nothing is missing; unknown at first, and behind some gaps.
    from: Option<Position>,
    /// So many gaps there were: a cursor from before one leads nowhere.
    gaps: u64,
    /// Without the frames,
    bytes: usize,
    /// which are made as they are asked for.
    frames: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct KeptEntry {
    id: Entry,
    /// Of all exchanges' entries.
    age: u64,
    events: usize,
}

/// How far somebody has come who catches up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub position: Position,
    gaps: u64,
}

/// Where a position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Everything behind it is here.
    Here(Cursor),
    /// Before what is here.
    Before,
    /// Behind what is here.
    Ahead,
    /// In another log.
    Unknown,
}

type Events<'a> = vec_deque::Iter<'a, Arc<RingEvent>>;

/// Some events, in the log's order.
#[derive(Debug)]
pub struct Span {
    pub events: Vec<Arc<RingEvent>>,
    /// Behind them.
    pub cursor: Cursor,
    /// There are no more.
    pub is_all: bool,
}

impl Lane {
    pub(super) fn append(&mut self, id: Entry, age: u64, events: &[RawEvent<'_>]) {
        self.from.get_or_insert(Position::before(id));
        self.entries.push_back(KeptEntry { id, age, events: events.len() });
        self.bytes += ENTRY_BYTES;
        for event in events {
            let key = self.by_key.get_key_value(event.routing_key()).map(|(key, _)| key.clone());
            let key = key.unwrap_or_else(|| {
                let key: Arc<str> = event.routing_key().into();
                self.bytes += KEY_BYTES + key.len();
                self.by_key.insert(key.clone(), VecDeque::new());
                key
            });
            let event = StoredEvent::new(event, key.clone());
            let event = Arc::new(RingEvent::new(event, &self.frames));
            self.bytes += event.bytes();
            self.by_key.entry(key).or_default().push_back(event.clone());
            self.events.push_back(event);
        }
    }

    /// Nobody is led across this place, behind which it may be whole again.
    pub(super) fn interrupt(&mut self, whole_from: Option<Position>) {
        *self = Self { gaps: self.gaps + 1, from: whole_from, ..Self::default() };
    }

    pub(super) fn find(&self, position: Position) -> Place {
        let at = position.entry();
        match self.entries.binary_search_by_key(&at.offset, |entry| entry.id.offset) {
            Ok(found) if self.entries[found].id == at => Place::Here(self.cursor(position)),
            Err(_) if self.from == Some(position) => Place::Here(self.cursor(position)),
            Err(_) if self.from.is_some_and(|from| position < from) => Place::Before,
            Err(found) if found == self.entries.len() => Place::Ahead,
            Ok(_) | Err(_) => Place::Unknown,
        }
    }

    pub(super) fn since(&self, keys: &[&str], from: Cursor, bytes: usize) -> Result<Span, Lost> {
        if from.gaps != self.gaps || self.from.is_none_or(|first| first > from.position) {
            return Err(Lost);
        }
        let behind = self.of_keys(keys).map(|events| {
            events.range(events.partition_point(|event| event.position() <= from.position)..)
        });
        let (mut span, mut room) = (Vec::new(), bytes);
        for event in in_order(behind) {
            let fits = room.checked_sub(event.frame_bytes());
            if let (None, Some(last)) =
                (fits, span.last().map(|last: &Arc<RingEvent>| last.position()))
            {
                return Ok(Span { events: span, cursor: self.cursor(last), is_all: false });
            }
            room = fits.unwrap_or_default();
            span.push(event.clone());
        }
        // A cursor may be ahead of the end.
        let cursor = self.cursor(self.end().map_or(from.position, |end| end.max(from.position)));
        Ok(Span { events: span, cursor, is_all: true })
    }

    pub(super) fn latest(
        &self,
        keys: &[&str],
        number: usize,
        bytes: usize,
    ) -> Result<Option<Span>, Lost> {
        let end = self.end().ok_or(Lost)?;
        let latest = self.of_keys(keys);
        let latest = latest.map(|events| events.range(events.len().saturating_sub(number)..));
        // Others wait for this lock: what is too much is not gathered.
        let (mut gathered, mut room) = (Vec::new(), Some(bytes));
        for event in in_order(latest) {
            room = room.and_then(|room| room.checked_sub(event.frame_bytes()));
            if room.is_none() {
                return Ok(None);
            }
            gathered.push(event.clone());
        }
        Ok(Some(Span { events: gathered, cursor: self.cursor(end), is_all: true }))
    }

    /// Whether an entry with this hash is among those that are younger than what was seen.
    pub(super) fn holds_since(&self, hash: u64, seen: &mut u64) -> bool {
        let seen = std::mem::replace(seen, self.age().max(*seen));
        let new = self.entries.iter().rev().take_while(|entry| entry.age > seen);
        new.map(|entry| entry.id.hash).any(|of_entry| of_entry == hash)
    }

    /// Of the last entry.
    pub(super) fn age(&self) -> u64 {
        self.entries.back().map_or(0, |entry| entry.age)
    }

    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes + self.frames.load(Relaxed)
    }

    /// The age of its oldest entry, where it has another.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.entries.front().filter(|_| self.entries.len() > 1).map(|entry| entry.age)
    }

    /// Where its oldest entry ends, where it has another.
    pub(super) fn oldest_end(&self) -> Option<Position> {
        let oldest = self.entries.front().filter(|_| self.entries.len() > 1)?;
        Some(Position::end_of(oldest.id))
    }

    pub(super) fn forget_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        self.from = Some(Position::end_of(oldest.id));
        self.bytes -= ENTRY_BYTES;
        for event in self.events.drain(..oldest.events) {
            self.bytes -= event.bytes();
            let Some(of_key) = self.by_key.get_mut(event.routing_key()) else { continue };
            of_key.pop_front();
            if of_key.is_empty() {
                self.by_key.remove(event.routing_key());
                self.bytes -= KEY_BYTES + event.routing_key().len();
            }
        }
    }

    pub(super) fn end(&self) -> Option<Position> {
        self.entries.back().map(|last| Position::end_of(last.id)).or(self.from)
    }

    fn cursor(&self, position: Position) -> Cursor {
        Cursor { position, gaps: self.gaps }
    }

    fn of_keys(&self, keys: &[&str]) -> impl Iterator<Item = &VecDeque<Arc<RingEvent>>> {
        keys.iter().filter_map(|key| self.by_key.get(*key))
    }
}

/// The events of several keys, each in the log's order, all in that order.
fn in_order<'a>(
    keys: impl Iterator<Item = Events<'a>>,
) -> impl Iterator<Item = &'a Arc<RingEvent>> {
    let mut keys: Vec<_> = keys.map(Iterator::peekable).collect();
    let next_of = |(key, events): (usize, &mut Peekable<Events<'a>>)| {
        events.peek().map(|event| Reverse((event.position(), key)))
    };
    let mut next: BinaryHeap<_> = keys.iter_mut().enumerate().filter_map(next_of).collect();
    iter::from_fn(move || {
        let Reverse((_, key)) = next.pop()?;
        let event = keys[key].next();
        next.extend(next_of((key, &mut keys[key])));
        event
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Exchange, RawBody};

    fn id(offset: u64) -> Entry {
        Entry { offset, hash: offset }
    }

    /// Of the keys of its events.
    fn append(lane: &mut Lane, offset: u64, keys: &[&str]) {
        let body = RawBody::Json(b"{}");
        let events = (0..).zip(keys).map(|(place, key)| {
            let position = Position::behind(id(offset), place);
            RawEvent::new(key.as_bytes(), body, position, None, 10).expect("valid")
        });
        lane.append(id(offset), offset, &events.collect::<Vec<_>>());
    }

    fn here(lane: &Lane, position: Position) -> Cursor {
        match lane.find(position) {
            Place::Here(cursor) => cursor,
            other => panic!("{other:?}"),
        }
    }

    fn offsets(events: &[Arc<RingEvent>]) -> Vec<u64> {
        events.iter().map(|event| event.position().entry().offset).collect()
    }

    fn filled() -> Lane {
        let mut lane = Lane::default();
        append(&mut lane, 5, &[]);
        append(&mut lane, 6, &["a", "b", "a"]);
        append(&mut lane, 8, &["b"]);
        append(&mut lane, 9, &["c"]);
        append(&mut lane, 10, &["a"]);
        lane
    }

    #[test]
    fn what_came_since_comes_in_the_order_of_the_log() {
        let lane = filled();
        for (from, keys, found) in [
            (Position::end_of(id(5)), &["a", "b"][..], &[6, 6, 6, 8, 10][..]),
            (Position::behind(id(6), 0), &["a"], &[6, 10]),
            (Position::behind(id(6), 2), &["a", "c", "d"], &[9, 10]),
            (Position::before(id(8)), &["b"], &[8]),
            (Position::end_of(id(10)), &["a"], &[]),
        ] {
            let span = lane.since(keys, here(&lane, from), 100_000).expect("all there");
            assert_eq!(offsets(&span.events), found, "{from:?}");
            assert!(span.is_all);
            assert_eq!(span.cursor.position, Position::end_of(id(10)));
        }
    }

    #[test]
    fn part_by_part_it_is_the_same() {
        let lane = filled();
        for bytes in [0, 300, 500, 1_000] {
            let (mut found, mut cursor) = (Vec::new(), here(&lane, Position::end_of(id(5))));
            loop {
                let span = lane.since(&["a", "b"], cursor, bytes).expect("all there");
                found.extend(offsets(&span.events));
                cursor = span.cursor;
                if span.is_all {
                    break;
                }
                assert!(!span.events.is_empty(), "it goes on");
            }
            assert_eq!(found, [6, 6, 6, 8, 10], "{bytes}");
        }
    }

    #[test]
    fn the_latest_of_each_key_are_found_where_they_fit() {
        let lane = filled();
        let latest = |keys: &[&str], number| {
            let span = lane.latest(keys, number, 1_000).expect("all there");
            span.map(|span| offsets(&span.events))
        };
        assert_eq!(latest(&["a"], 1), Some(vec![10]));
        assert_eq!(latest(&["a", "b", "d"], 2), Some(vec![6, 6, 8, 10]));
        assert_eq!(latest(&["a"], 0), Some(vec![]));
        assert!(lane.latest(&["a"], 3, 100).expect("all there").is_none());
    }

    #[test]
    fn a_position_is_known_by_its_entry() {
        let mut lane = filled();
        let other = Entry { offset: 8, hash: 0 };
        for (position, place) in [
            (Position::end_of(id(4)), Place::Before),
            (Position::before(other), Place::Unknown),
            (Position::before(id(7)), Place::Unknown),
            (Position::before(id(11)), Place::Ahead),
        ] {
            assert_eq!(lane.find(position), place, "{position:?}");
        }
        lane.forget_oldest();
        here(&lane, Position::end_of(id(5)));
        assert_eq!(lane.find(Position::before(id(5))), Place::Before);
        assert_eq!(Lane::default().find(Position::before(id(5))), Place::Ahead);
    }

    #[test]
    fn nobody_is_led_across_what_is_gone() {
        let mut lane = filled();
        let cursor = here(&lane, Position::end_of(id(5)));
        let behind = here(&lane, Position::end_of(id(6)));
        lane.forget_oldest();
        assert!(lane.since(&["a"], cursor, 1_000).is_ok(), "nothing of it was behind the cursor");
        lane.forget_oldest();
        assert_eq!(lane.since(&["a"], cursor, 1_000).err(), Some(Lost));
        assert!(lane.since(&["a"], behind, 1_000).is_ok());
        lane.interrupt(None);
        assert_eq!(lane.since(&["a"], behind, 1_000).err(), Some(Lost));
        // Of the log that is made anew, though its offsets are less.
        append(&mut lane, 0, &["a"]);
        assert_eq!(lane.since(&["a"], behind, 1_000).err(), Some(Lost));
    }

    #[test]
    fn nothing_is_left_of_what_is_forgotten() {
        let mut lane = filled();
        let frame = |event: &Arc<RingEvent>| event.frame(&Exchange::new("w").expect("valid"));
        lane.events.iter().for_each(|event| drop(frame(event)));
        while lane.oldest().is_some() {
            lane.forget_oldest();
        }
        assert_eq!((lane.events.len(), lane.by_key.len()), (1, 1));
        lane.forget_oldest();
        assert_eq!((lane.size(), lane.events.len(), lane.by_key.len()), (0, 0, 0));
    }
}
