//! The numbers are the library's: relaxed atomics. Here is what it leaves open, or counts
//! behind a lock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric, family::Family, gauge},
    registry::Metric,
};

/// How many there are now. What is taken away was added before.
pub(crate) type Gauge = gauge::Gauge<u64, AtomicU64>;

/// One that a [`Gauge`] counts, until this is dropped.
#[derive(Debug)]
pub(crate) struct Raised(Gauge);

impl Raised {
    pub(crate) fn on(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How long something took: a histogram in seconds. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Durations(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// The last one has no bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// Upper bounds of the buckets in microseconds, from what a loopback call takes to what
/// nobody waits for.
const BOUNDS: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

impl Durations {
    pub fn observe(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| Duration::from_micros(*bound) < took);
        self.0.buckets[bucket].fetch_add(1, Relaxed);
        self.0.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl EncodeMetric for Durations {
    /// The sum may hold a duration that the buckets lack yet.
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let seconds = Duration::from_nanos(self.0.nanos.load(Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

/// A histogram that was counted elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    /// Upper bounds, and how many are in each and in none before it.
    pub counts: Vec<(f64, u64)>,
    pub sum: f64,
}

impl EncodeMetric for Buckets {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let buckets: Vec<_> = self.counts.iter().copied().chain([(f64::INFINITY, 0)]).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Gauges as they are now, by values of a label that are not known before.
pub(super) fn labelled<'a>(
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
    use prometheus_client::{encoding::text, registry::Registry};

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

    #[test]
    fn a_duration_is_in_every_bucket_whose_bound_it_does_not_exceed() {
        let (durations, mut page) = (Durations::default(), Registry::default());
        page.register("took", "Took", durations.clone());
        for micros in [0, 250, 251, 10_000_000, 10_000_001] {
            durations.observe(Duration::from_micros(micros));
        }
        let mut text = String::new();
        text::encode(&mut text, &page).expect("a string takes everything");
        for line in [
            "took_sum 20.000502",
            "took_count 5",
            "took_bucket{le=\"0.00025\"} 2",
            "took_bucket{le=\"0.0005\"} 3",
            "took_bucket{le=\"5.0\"} 3",
            "took_bucket{le=\"10.0\"} 4",
            "took_bucket{le=\"+Inf\"} 5",
        ] {
            assert!(text.lines().any(|said| said == line), "{line}: {text}");
        }
    }
}
