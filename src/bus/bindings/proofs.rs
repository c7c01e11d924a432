//! Markers on their way into a log, each of which proves what was bound before it was published.
//!
//! Whoever reads the log may lag, while further ones are published. So some are remembered, in
//! their order: the first that is read speaks for those before it, too, which may never come.

use std::collections::VecDeque;

/// Beyond so many the last one gives way to the next: the others are nearer to be read.
const MOST: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Proofs(VecDeque<Proof>);

#[derive(Debug)]
struct Proof {
    marker: Box<str>,
    proven: Proven,
}

/// What is known where a marker is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proven {
    /// The number of the last binding that had been made.
    pub bindings: u64,
    /// Before it events may be missing, which nobody was told.
    pub gap: bool,
}

impl Proofs {
    /// A marker that is about to be published.
    pub(super) fn add(&mut self, marker: &str, bindings: u64, gap: bool) {
        let gives_way = if self.0.len() < MOST { None } else { self.0.pop_back() };
        let gap = gap || gives_way.is_some_and(|last| last.proven.gap);
        self.0.push_back(Proof { marker: marker.into(), proven: Proven { bindings, gap } });
    }

    /// What it proves, if it is one of them.
    pub(super) fn read(&mut self, marker: &str) -> Option<Proven> {
        let at = self.0.iter().position(|proof| *proof.marker == *marker)?;
        let read = self.0.drain(..=at).map(|proof| proof.proven);
        read.reduce(|before, last| Proven { gap: before.gap || last.gap, ..last })
    }

    /// It was not published.
    pub(super) fn take_back(&mut self, marker: &str) {
        self.0.retain(|proof| *proof.marker != *marker);
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_read_speaks_for_those_before_it() {
        let mut proofs = Proofs::default();
        proofs.add("lost", 1, true);
        proofs.add("read", 2, false);
        proofs.add("under way", 3, false);
        assert_eq!(proofs.read("read"), Some(Proven { bindings: 2, gap: true }));
        assert_eq!(proofs.read("lost"), None);
        assert_eq!(proofs.read("under way"), Some(Proven { bindings: 3, gap: false }));
    }

    #[test]
    fn however_many_are_published_before_one_is_read_the_first_ones_count() {
        let mut proofs = Proofs::default();
        let name = |n: u64| format!("marker {n}");
        (0..1_000).for_each(|n| proofs.add(&name(n), n, n == 500));
        assert!(proofs.0.len() <= MOST);
        assert_eq!(proofs.read(&name(0)), Some(Proven { bindings: 0, gap: false }));
        assert_eq!(proofs.read(&name(500)), None);
        assert_eq!(proofs.read(&name(999)), Some(Proven { bindings: 999, gap: true }));
    }
}
