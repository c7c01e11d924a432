//! Notices that nothing is read any more, though nothing says so: a broker's reader can get
//! stuck for good, on a segment that was deleted under it or on the wrong side of a partition.
//!
//! Silence alone proves nothing. What was published, confirmed and not read proves it.

use std::time::Duration;

/// Silence is counted in these, while the reader waits for the broker with nothing unread:
/// a process that was stopped for a minute has waited for one of them.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// How long what was confirmed may take to be read.
const UNREAD_MAX: u32 = in_ticks(Duration::from_secs(5));

/// After so much silence a marker is published. Drawn anew each time: as a rule one replica is
/// the first, and its marker serves all.
const SILENCE: std::ops::RangeInclusive<u32> =
    in_ticks(Duration::from_secs(2))..=in_ticks(Duration::from_secs(4));

const fn in_ticks(duration: Duration) -> u32 {
    (duration.as_millis() / TICK.as_millis()) as u32
}

pub(super) struct Watchdog {
    /// Since anything was read, or a marker was asked for.
    silence: u32,
    patience: u32,
    /// Confirms as of the first tick of the silence: one that comes earlier may belong to
    /// what was read last.
    confirmed: Option<u64>,
    unread: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Advice {
    Wait,
    PublishMarker,
    /// What was confirmed is not read.
    Stuck,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self { silence: 0, patience: rand::random_range(SILENCE), confirmed: None, unread: 0 }
    }

    /// Something was read.
    pub(super) fn heard(&mut self) {
        // Each entry comes by here: drawing can wait until there is silence.
        if self.confirmed.is_some() {
            *self = Self::new();
        }
    }

    /// A tick has passed without anything. `confirmed`: what the broker has confirmed so far.
    pub(super) fn tick(&mut self, confirmed: u64) -> Advice {
        self.silence += 1;
        if *self.confirmed.get_or_insert(confirmed) != confirmed {
            self.unread += 1;
            return if self.unread >= UNREAD_MAX { Advice::Stuck } else { Advice::Wait };
        }
        if self.silence < self.patience {
            return Advice::Wait;
        }
        // One that cannot be published proves nothing: then there is another.
        (self.silence, self.patience) = (0, rand::random_range(SILENCE));
        Advice::PublishMarker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it advises at each tick, with these confirms.
    fn advice(watchdog: &mut Watchdog, ticks: u32, confirmed: u64) -> Vec<Advice> {
        (0..ticks).map(|_| watchdog.tick(confirmed)).collect()
    }

    #[test]
    fn silence_asks_for_a_marker_and_proves_nothing() {
        let mut watchdog = Watchdog::new();
        let advice = advice(&mut watchdog, 100 * UNREAD_MAX, 7);
        let asked = advice.iter().filter(|one| **one == Advice::PublishMarker).count() as u32;
        assert!(
            (100 * UNREAD_MAX / SILENCE.end()..=100 * UNREAD_MAX / SILENCE.start())
                .contains(&asked)
        );
        assert!(!advice.contains(&Advice::Stuck));
    }

    #[test]
    fn what_was_confirmed_and_is_not_read_proves_it() {
        let mut watchdog = Watchdog::new();
        assert_eq!(watchdog.tick(7), Advice::Wait);
        let advice = advice(&mut watchdog, UNREAD_MAX, 8);
        assert_eq!(advice.iter().position(|one| *one == Advice::Stuck), Some(advice.len() - 1));
    }

    #[test]
    fn a_confirm_behind_its_event_proves_nothing() {
        let mut watchdog = Watchdog::new();
        watchdog.tick(7);
        watchdog.heard();
        assert!(!advice(&mut watchdog, 2 * UNREAD_MAX, 8).contains(&Advice::Stuck));
    }

    #[test]
    fn any_entry_begins_a_new_silence() {
        let mut watchdog = Watchdog::new();
        watchdog.tick(0);
        for confirmed in 1..100 {
            assert!(!advice(&mut watchdog, UNREAD_MAX - 1, confirmed).contains(&Advice::Stuck));
            watchdog.heard();
        }
    }
}
