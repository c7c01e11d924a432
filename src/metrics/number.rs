//! The numbers are the library's: relaxed atomics, but a lock in a histogram and, shared by
//! who counts, in a family. Here is what it leaves open.

use std::{fmt, hash::Hash, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, family::Family, gauge, histogram::Histogram},
    registry::Metric,
};

use super::label::By;

/// Upper bounds of a histogram's buckets in seconds, from what a loopback call takes to what
/// nobody waits for.
const BOUNDS: [f64; 15] =
    [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How many there are now. What is taken away was added before.
pub type Gauge = gauge::Gauge<u64, AtomicU64>;

/// One that a [`Gauge`] counts, until this is dropped.
#[derive(Debug)]
pub struct Raised(Gauge);

impl Raised {
    pub fn on(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How long something took, in seconds.
pub fn durations() -> Histogram {
    Histogram::new(BOUNDS)
}

/// A histogram that was counted elsewhere.
#[derive(Debug)]
pub struct Counted {
    /// Upper bounds, and how many are in each and in none before it.
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
}

impl EncodeMetric for Counted {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        // Without the last one the page is not complete.
        let mut buckets = self.buckets.clone();
        buckets.push((f64::INFINITY, 0));
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// A metric for each of these, from the start: so a first time is an increase.
pub fn each<S: Clone + Eq + Hash, M>(
    sets: impl IntoIterator<Item = S>,
    metric: fn() -> M,
) -> Family<S, M> {
    let family = Family::new_with_constructor(metric);
    sets.into_iter().for_each(|set| drop(family.get_or_create(&set)));
    family
}

pub fn by<L: Copy>(values: &[L]) -> impl Iterator<Item = By<L>> {
    values.iter().copied().map(By)
}

pub fn pairs<A: Copy, B: Copy>(ones: &[A], others: &[B]) -> impl Iterator<Item = (By<A>, By<B>)> {
    by(ones).flat_map(|one| by(others).map(move |other| (By(one.0), other)))
}

/// Gauges as they are now, by values of a label that are not known before.
pub fn labelled<'a>(
    label: &'static str,
    gauges: impl IntoIterator<Item = (&'a str, impl Into<f64>)>,
) -> impl Metric {
    let family = Family::<_, gauge::Gauge<f64, AtomicU64>>::default();
    for (value, now) in gauges {
        family.get_or_create(&[(label, value.to_owned())]).set(now.into());
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_raised_falls_again() {
        let gauge = Gauge::default();
        let (one, other) = (Raised::on(&gauge), Raised::on(&gauge));
        drop(one);
        assert_eq!(gauge.get(), 1);
        drop(other);
        assert_eq!(gauge.get(), 0);
    }
}
