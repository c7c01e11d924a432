//! What a reader remembers of its way through the log: the entries since the last marker. By
//! them it knows the log again after an interruption, and where it was in it.

use std::collections::VecDeque;

use crate::event::{Entry, Position};

/// Entries that are remembered at most, where no marker comes.
const LENGTH_MAX: usize = 4096;

/// Between two entries next to each other there may be an offset without one: each segment of
/// a log begins with such.
const STEP_MAX: u64 = 2;

#[derive(Debug)]
pub(super) struct Trail {
    /// The id of the last marker read; empty where none is known.
    marker: String,
    /// In the log's order; nothing before them counts any more.
    entries: VecDeque<Entry>,
    /// What was passed last: read, or stepped over.
    last: u64,
}

/// How an offset follows the one passed last.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    Next,
    /// Whether entries are missing in between, the offsets do not tell.
    Jump,
    /// At or before what was passed.
    Back,
}

impl Trail {
    /// From a marker on.
    pub(super) fn new(marker: String, entry: Entry) -> Self {
        Self { marker, entries: [entry].into(), last: entry.offset }
    }

    pub(super) fn marker(&self) -> &str {
        &self.marker
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Behind what was read last, where that is known again.
    pub(super) fn position(&self) -> Option<Position> {
        let read = self.entries.back().filter(|entry| entry.offset == self.last)?;
        Some(Position::end_of(*read))
    }

    /// Entries since the last marker.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn continuity(&self, offset: u64) -> Continuity {
        match offset.checked_sub(self.last) {
            None | Some(0) => Continuity::Back,
            Some(..=STEP_MAX) => Continuity::Next,
            Some(_) => Continuity::Jump,
        }
    }

    pub(super) fn pass(&mut self, entry: Entry) {
        if self.entries.len() == LENGTH_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        self.last = entry.offset;
    }

    /// From here on nothing before can be read again.
    pub(super) fn step_over(&mut self, unreadable: u64) {
        self.entries.clear();
        self.last = unreadable;
    }

    /// What stood before is gone, with markers that were not read.
    pub(super) fn cut_before(&mut self, offset: u64) {
        self.step_over(offset - 1);
        self.lose_marker();
    }

    /// There may have been another one, by which others know what comes.
    pub(super) fn lose_marker(&mut self) {
        self.marker.clear();
    }

    /// Whether others know what comes by the same entries.
    pub(super) fn is_marked(&self) -> bool {
        !self.marker.is_empty()
    }

    /// Where to begin to read again.
    pub(super) fn start(&self) -> u64 {
        self.entries.front().map_or(self.last + 1, |entry| entry.offset)
    }

    pub(super) fn retrace(&self) -> Retrace<'_> {
        Retrace { trail: self, passed: 0 }
    }
}

/// A second reading of a trail.
pub(super) struct Retrace<'a> {
    trail: &'a Trail,
    /// So many of the trail's entries lie behind.
    passed: usize,
}

/// What an entry of the second reading is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Known,
    /// Behind all that is known, of which nothing is there any more.
    Beyond,
    /// From before the place where reading began again.
    Before,
    /// What stands here was another entry.
    Different,
}

impl Retrace<'_> {
    /// Whether what comes next is new.
    pub(super) fn is_over(&self) -> bool {
        self.passed == self.trail.entries.len()
    }

    /// The log's head may have been cut meanwhile, so that it begins at a later entry.
    pub(super) fn meet(&mut self, entry: Entry) -> Found {
        let ahead = self.trail.entries.range(self.passed..);
        self.passed += ahead.take_while(|known| known.offset < entry.offset).count();
        match self.trail.entries.get(self.passed) {
            None => Found::Beyond,
            Some(known) if *known == entry => {
                self.passed += 1;
                Found::Known
            }
            Some(known) if self.passed == 0 && entry.offset < known.offset => Found::Before,
            Some(_) => Found::Different,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u64) -> Entry {
        Entry { offset, hash: 1000 + offset }
    }

    fn trail(offsets: &[u64]) -> Trail {
        let mut trail = Trail::new("m".into(), entry(offsets[0]));
        offsets[1..].iter().for_each(|offset| trail.pass(entry(*offset)));
        trail
    }

    #[test]
    fn a_segment_that_begins_is_no_jump() {
        let trail = trail(&[5, 6]);
        for (offset, continuity) in [
            (7, Continuity::Next),
            (8, Continuity::Next),
            (9, Continuity::Jump),
            (6, Continuity::Back),
            (0, Continuity::Back),
        ] {
            assert_eq!(trail.continuity(offset), continuity, "{offset}");
        }
    }

    #[test]
    fn a_second_reading_finds_each_entry_or_the_rest_of_them() {
        let trail = trail(&[5, 6, 8]);
        for from in 0..3 {
            let mut retrace = trail.retrace();
            for offset in &[5, 6, 8][from..] {
                assert!(!retrace.is_over());
                assert_eq!(retrace.meet(entry(*offset)), Found::Known);
            }
            assert!(retrace.is_over());
        }
        assert_eq!(trail.retrace().meet(entry(9)), Found::Beyond);
    }

    #[test]
    fn a_log_with_other_entries_is_another() {
        let trail = trail(&[5, 6, 8]);
        for (offset, hash) in [(5, 0), (6, 0), (7, 1007), (8, 0)] {
            assert_eq!(trail.retrace().meet(Entry { offset, hash }), Found::Different, "{offset}");
        }
        assert_eq!(trail.retrace().meet(entry(4)), Found::Before);
    }

    #[test]
    fn behind_an_entry_that_cannot_be_read_everything_is_new() {
        let mut trail = trail(&[5, 6]);
        trail.step_over(7);
        assert!(trail.retrace().is_over());
        assert_eq!(trail.start(), 8);
        assert_eq!(trail.continuity(9), Continuity::Next);
    }

    #[test]
    fn without_markers_the_trail_stays_bounded() {
        let offsets: Vec<_> = (0..2 * LENGTH_MAX as u64).collect();
        let trail = trail(&offsets);
        assert_eq!((trail.len(), trail.start()), (LENGTH_MAX, LENGTH_MAX as u64));
    }
}
