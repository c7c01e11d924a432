//! The latest entries of one exchange's log.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque, vec_deque},
    iter::{self, Peekable},
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use slab::Slab;

use super::{Lost, event::RingEvent};
use crate::event::{Entry, Position, PushedAt, RawEvent, StoredEvent};

/// What an entry and a key take beside their events, about.
const ENTRY_BYTES: usize = size_of::<KeptEntry>();
const KEY_BYTES: usize = 160;

/// Entries that are looked at for an event whose time is known. Markers are none.
const LOOKED_AT: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// In the log's order, as are the events.
    entries: VecDeque<KeptEntry>,
    /// The key of each, so that to forget one is no search.
    events: VecDeque<usize>,
    by_key: HashMap<Arc<str>, usize>,
    keys: Slab<OfKey>,
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
    events: u32,
    /// When its first event was pushed, in Unix seconds; 0: not known.
    pushed: u32,
}

#[derive(Debug)]
struct OfKey {
    key: Arc<str>,
    events: VecDeque<Arc<RingEvent>>,
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
        let pushed = events.first().and_then(RawEvent::pushed_at).map_or(0, PushedAt::seconds);
        self.entries.push_back(KeptEntry { id, age, events: events.len() as u32, pushed });
        self.bytes += ENTRY_BYTES;
        for event in events {
            let slot = self.slot(event.routing_key());
            let OfKey { key, events } = &mut self.keys[slot];
            let event = RingEvent::new(StoredEvent::new(event, key.clone()), &self.frames);
            self.bytes += event.bytes();
            events.push_back(Arc::new(event));
            self.events.push_back(slot);
        }
    }

    /// Of the key, in `keys`.
    fn slot(&mut self, key: &str) -> usize {
        if let Some(slot) = self.by_key.get(key) {
            return *slot;
        }
        self.bytes += KEY_BYTES + key.len();
        let key: Arc<str> = key.into();
        let slot = self.keys.insert(OfKey { key: key.clone(), events: VecDeque::new() });
        self.by_key.insert(key, slot);
        slot
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
        let (mut events, mut cursor, mut room) = (Vec::new(), from, bytes);
        for event in in_order(behind) {
            let fits = room.checked_sub(event.frame_bytes());
            if fits.is_none() && !events.is_empty() {
                return Ok(Span { events, cursor, is_all: false });
            }
            room = fits.unwrap_or_default();
            cursor.position = event.position();
            events.push(event.clone());
        }
        // It may be ahead of the end.
        cursor.position = self.end().map_or(cursor.position, |end| end.max(cursor.position));
        Ok(Span { events, cursor, is_all: true })
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

    /// In entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// When its oldest event was pushed whose time is known, in Unix seconds.
    pub(super) fn oldest_pushed(&self) -> Option<u32> {
        let mut oldest = self.entries.iter().take(LOOKED_AT).map(|entry| entry.pushed);
        oldest.find(|pushed| *pushed > 0)
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
        for slot in self.events.drain(..oldest.events as usize) {
            let OfKey { key, events } = &mut self.keys[slot];
            self.bytes -= events.pop_front().map_or(0, |event| event.bytes());
            if events.is_empty() {
                self.bytes -= KEY_BYTES + key.len();
                self.by_key.remove(key);
                self.keys.remove(slot);
            }
        }
    }

    /// Those that come with this entry.
    pub(super) fn offsets_up_to(&self, next: Entry) -> RangeInclusive<u64> {
        let first = self.end().map_or(0, |end| end.entry().offset + 1);
        first.min(next.offset)..=next.offset
    }

    pub(super) fn end(&self) -> Option<Position> {
        self.entries.back().map(|last| Position::end_of(last.id)).or(self.from)
    }

    fn cursor(&self, position: Position) -> Cursor {
        Cursor { position, gaps: self.gaps }
    }

    fn of_keys(&self, keys: &[&str]) -> impl Iterator<Item = &VecDeque<Arc<RingEvent>>> {
        keys.iter().filter_map(|key| Some(&self.keys[*self.by_key.get(*key)?].events))
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
