//! How long things took lately, for people: quantiles of the last one to two minutes. What
//! is older is forgotten, unlike in a histogram for Prometheus. Recorded without a lock:
//! where a minute begins, a record or two may be lost.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Buckets grow by a quarter of an octave: a quantile is within a tenth of the truth.
const PER_OCTAVE: f64 = 4.0;

/// The first bucket ends here; with this many the last one ends beyond two minutes.
const FIRST_MICROS: f64 = 10.0;
const BUCKETS: usize = 96;

/// This minute's, and those of the last.
#[derive(Debug, Default)]
pub(super) struct Recent([Minute; 2]);

#[derive(Debug)]
struct Minute {
    /// Since the start.
    minute: AtomicU64,
    counts: [AtomicU32; BUCKETS],
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantiles {
    pub p50: Duration,
    pub p99: Duration,
}

impl Default for Minute {
    fn default() -> Self {
        Self { minute: AtomicU64::new(0), counts: [const { AtomicU32::new(0) }; BUCKETS] }
    }
}

impl Recent {
    pub(super) fn record(&self, minute: u64, took: Duration) {
        self.window(minute).counts[bucket(took)].fetch_add(1, Relaxed);
    }

    /// What another recorded in these minutes.
    pub(super) fn take_in(&self, other: &Self) {
        for other in &other.0 {
            let minute = other.minute.load(Relaxed);
            let window = self.window(minute);
            if window.minute.load(Relaxed) > minute {
                continue;
            }
            for (count, more) in window.counts.iter().zip(&other.counts) {
                count.fetch_add(more.load(Relaxed), Relaxed);
            }
        }
    }

    /// The counts of this minute, empty where it begins.
    fn window(&self, minute: u64) -> &Minute {
        let window = &self.0[usize::from(minute % 2 == 1)];
        let is_over = |known: u64| known < minute;
        // One of those who meet here empties it.
        if is_over(window.minute.load(Relaxed)) && is_over(window.minute.fetch_max(minute, Relaxed))
        {
            window.counts.iter().for_each(|count| count.store(0, Relaxed));
        }
        window
    }

    /// `None` where nothing was recorded.
    pub(super) fn quantiles(&self, minute: u64) -> Option<Quantiles> {
        let mut counts = [0_u64; BUCKETS];
        for window in self.0.iter().filter(|window| window.minute.load(Relaxed) + 1 >= minute) {
            for (sum, count) in counts.iter_mut().zip(&window.counts) {
                *sum += u64::from(count.load(Relaxed));
            }
        }
        let total: u64 = counts.iter().sum();
        let quantile = |percent: u64| {
            let rank = (total * percent).div_ceil(100);
            let mut seen = 0;
            let reached = |count: &u64| {
                seen += count;
                seen >= rank
            };
            middle(counts.iter().position(reached).unwrap_or(BUCKETS - 1))
        };
        (total > 0).then(|| Quantiles { p50: quantile(50), p99: quantile(99) })
    }
}

fn bucket(took: Duration) -> usize {
    let micros = took.as_secs_f64() * 1e6;
    let octaves = (micros.max(FIRST_MICROS) / FIRST_MICROS).log2();
    // No more than the buckets there are; never negative.
    ((octaves * PER_OCTAVE).ceil() as usize).min(BUCKETS - 1)
}

fn middle(bucket: usize) -> Duration {
    let micros = FIRST_MICROS * ((bucket as f64 - 0.5) / PER_OCTAVE).exp2();
    Duration::from_secs_f64(micros / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: Duration, other: Duration) -> bool {
        let ratio = one.as_secs_f64() / other.as_secs_f64();
        (0.9..1.1).contains(&ratio)
    }

    #[test]
    fn quantiles_are_near_the_truth() {
        let recent = Recent::default();
        assert_eq!(recent.quantiles(0), None);
        for micros in 1..=1_000 {
            recent.record(0, Duration::from_micros(micros * 100));
        }
        let Quantiles { p50, p99 } = recent.quantiles(0).expect("some were recorded");
        assert!(near(p50, Duration::from_millis(50)), "{p50:?}");
        assert!(near(p99, Duration::from_millis(99)), "{p99:?}");
    }

    #[test]
    fn what_is_older_than_two_minutes_is_forgotten() {
        let recent = Recent::default();
        recent.record(5, Duration::from_secs(1));
        assert!(recent.quantiles(5).is_some());
        assert!(recent.quantiles(6).is_some());
        assert_eq!(recent.quantiles(7), None);
        recent.record(7, Duration::from_millis(1));
        let Quantiles { p99, .. } = recent.quantiles(7).expect("one was recorded");
        assert!(near(p99, Duration::from_millis(1)), "{p99:?}");
    }

    #[test]
    fn what_two_recorded_is_one() {
        let (one, other) = (Recent::default(), Recent::default());
        one.record(4, Duration::from_secs(1));
        one.record(5, Duration::from_millis(1));
        other.record(5, Duration::from_millis(1));
        other.record(6, Duration::from_secs(1));
        one.take_in(&other);
        let Quantiles { p50, p99 } = one.quantiles(6).expect("some were recorded");
        assert!(near(p50, Duration::from_millis(1)), "{p50:?}");
        assert!(near(p99, Duration::from_secs(1)), "{p99:?}");
        assert!(one.quantiles(8).is_none());
    }

    #[test]
    fn extremes_have_a_bucket() {
        let recent = Recent::default();
        recent.record(0, Duration::ZERO);
        recent.record(0, Duration::MAX);
        let Quantiles { p50, p99 } = recent.quantiles(0).expect("two were recorded");
        assert!(
            p50 < Duration::from_micros(11) && p99 > Duration::from_secs(60),
            "{p50:?} {p99:?}"
        );
    }
}
