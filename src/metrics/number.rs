//! The numbers themselves: relaxed atomics, as each stands for itself.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::label::Label;

/// Upper bounds of a histogram's buckets in microseconds, from what a loopback call takes to
/// what nobody waits for. The last bucket is unbounded.
pub(super) const BOUNDS_MICROS: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How many there are now. What is taken away was added before.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    pub fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// One more, until what comes back is dropped.
    pub fn raise(self: &Arc<Self>) -> Raised {
        self.add(1);
        Raised(self.clone())
    }
}

/// One that a [`Gauge`] counts.
#[derive(Debug)]
pub struct Raised(Arc<Gauge>);

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.subtract(1);
    }
}

/// How long something took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let micros = took.as_micros();
        let bucket = BOUNDS_MICROS.partition_point(|bound| u128::from(*bound) < micros);
        self.buckets[bucket].fetch_add(1, Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Relaxed);
    }

    /// The counts of the buckets, each on its own.
    pub fn buckets(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed))
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.load(Relaxed))
    }
}

/// One number for each value of a label.
#[derive(Debug)]
pub struct Family<L, T = Counter> {
    numbers: Box<[T]>,
    label: PhantomData<L>,
}

impl<L: Label, T: Default> Default for Family<L, T> {
    fn default() -> Self {
        Self { numbers: L::all().map(|_| T::default()).collect(), label: PhantomData }
    }
}

impl<L: Label, T> Family<L, T> {
    pub fn of(&self, label: L) -> &T {
        &self.numbers[label.index()]
    }

    pub fn iter(&self) -> impl Iterator<Item = (L, &T)> {
        L::all().zip(&self.numbers)
    }
}

impl<L: Label> Family<L> {
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, counter)| counter.get()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_within_its_bucket() {
        let histogram = Histogram::default();
        for micros in [0, 250, 251, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts: Vec<_> = histogram.buckets().collect();
        assert_eq!((counts[0], counts[1]), (2, 1));
        assert_eq!((counts[14], counts[15]), (1, 1));
        assert_eq!(histogram.sum(), Duration::from_micros(20_000_502));
    }

    #[test]
    fn what_is_raised_falls_again() {
        let gauge = Arc::new(Gauge::default());
        let (one, other) = (gauge.raise(), gauge.raise());
        drop(one);
        assert_eq!(gauge.get(), 1);
        drop(other);
        assert_eq!(gauge.get(), 0);
    }
}
