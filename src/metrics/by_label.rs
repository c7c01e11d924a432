//! One metric for each value of a label, or of two, all made at the start: so whoever counts
//! has them at hand without a look-up, and a first time is an increase.

use std::{fmt, marker::PhantomData, ops::Index, sync::Arc};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};
use strum::VariantArray;

use super::label::{Label, Place, values};

/// Clones are the same metrics.
#[derive(Debug)]
pub struct ByLabel<L, M> {
    /// In the order of their places.
    metrics: Arc<[(Labels, M)]>,
    label: PhantomData<fn(L)>,
}

/// Names with values.
type Labels = Vec<(&'static str, &'static str)>;

impl<L: Label, M> ByLabel<L, M> {
    /// `values`: each in its place.
    pub fn new(values: impl IntoIterator<Item = &'static str>, metric: fn() -> M) -> Self {
        let labelled = values.into_iter().map(|value| (vec![(L::NAME, value)], metric()));
        Self { metrics: labelled.collect(), label: PhantomData }
    }

    /// A value's text.
    pub fn text(&self, label: L) -> &'static str {
        text(&self.metrics[label.place()].0)
    }

    /// All, with their values' texts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &M)> {
        self.metrics.iter().map(|(labels, metric)| (text(labels), metric))
    }
}

impl<L: Label + VariantArray + Into<&'static str>, M> ByLabel<L, M> {
    pub fn each(metric: fn() -> M) -> Self {
        Self::new(values::<L>(), metric)
    }
}

impl<A, B, M> ByLabel<(A, B), M>
where
    A: Label + VariantArray + Into<&'static str>,
    B: Label + VariantArray + Into<&'static str>,
{
    pub fn pairs(metric: fn() -> M) -> Self {
        let pairs = values::<A>().flat_map(|one| values::<B>().map(move |other| (one, other)));
        let labels = |(one, other)| vec![(A::NAME, one), (B::NAME, other)];
        let labelled = pairs.map(|pair| (labels(pair), metric()));
        Self { metrics: labelled.collect(), label: PhantomData }
    }

    /// All, with the texts of both values.
    pub fn iter_pairs(&self) -> impl Iterator<Item = ([&'static str; 2], &M)> {
        self.metrics.iter().map(|(labels, metric)| ([labels[0].1, labels[1].1], metric))
    }
}

impl<L: Place, M> Index<L> for ByLabel<L, M> {
    type Output = M;

    fn index(&self, label: L) -> &M {
        &self.metrics[label.place()].1
    }
}

impl<L, M> Clone for ByLabel<L, M> {
    fn clone(&self) -> Self {
        Self { metrics: self.metrics.clone(), label: PhantomData }
    }
}

impl<L, M: EncodeMetric + TypedMetric> EncodeMetric for ByLabel<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.metrics
            .iter()
            .try_for_each(|(labels, metric)| metric.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

/// Of the only one.
fn text(labels: &Labels) -> &'static str {
    labels.first().map_or("", |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::{
        super::label::{CallStatus, ErrorLabel, OutcomeLabel, Rpc},
        *,
    };

    #[test]
    fn each_value_of_two_labels_has_its_own_place() {
        let calls = ByLabel::<(Rpc, CallStatus), Counter>::pairs(Counter::default);
        for rpc in Rpc::VARIANTS {
            for status in CallStatus::VARIANTS {
                assert_eq!(calls[(*rpc, *status)].inc(), 0, "{rpc} {status:?}");
            }
        }
        let labels = &calls.metrics[(Rpc::SessionOpened, CallStatus::NoTurn).place()].0;
        assert_eq!(labels, &[("rpc", "SessionOpened"), ("status", "no_turn")]);
        assert_eq!(calls.metrics.len(), Rpc::VARIANTS.len() * CallStatus::VARIANTS.len());
    }

    #[test]
    fn what_is_known_at_the_start_alone_has_its_place_too() {
        let codes = ["Busy", "Gone"];
        let outcomes =
            ByLabel::<OutcomeLabel, Counter>::new(OutcomeLabel::values(&codes), Counter::default);
        for (label, text) in [
            (OutcomeLabel::Ok, "ok"),
            (OutcomeLabel::Error(ErrorLabel::Application), "application"),
            (OutcomeLabel::Error(ErrorLabel::Gateway(0)), "Busy"),
            (OutcomeLabel::Error(ErrorLabel::Gateway(1)), "Gone"),
        ] {
            assert_eq!(outcomes.text(label), text);
            outcomes[label].inc();
        }
        assert!(outcomes.iter().all(|(_, counted)| counted.get() == 1));
    }
}
