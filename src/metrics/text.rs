//! Prometheus's text format, version 0.0.4.

use std::fmt::{Display, Write};

use super::{
    label::Label,
    number::{BOUNDS_MICROS, Counter, Family, Histogram},
};

/// A page in the making. Each metric is begun once, by its help and type.
#[derive(Default)]
pub struct Page {
    text: String,
    /// The metric that samples are written for.
    name: &'static str,
}

impl Page {
    pub fn into_text(self) -> String {
        self.text
    }

    pub fn counter(&mut self, name: &'static str, help: &str) -> &mut Self {
        self.begin(name, "counter", help)
    }

    pub fn gauge(&mut self, name: &'static str, help: &str) -> &mut Self {
        self.begin(name, "gauge", help)
    }

    pub fn histogram(&mut self, name: &'static str, help: &str) -> &mut Self {
        self.begin(name, "histogram", help)
    }

    fn begin(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Self {
        self.name = name;
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        self
    }

    pub fn value(&mut self, value: impl Display) -> &mut Self {
        self.sample("", &[], value)
    }

    /// `labels` need no escaping: names, and values without quotes, backslashes and line ends.
    pub fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.sample("", labels, value)
    }

    pub fn family<L: Label>(&mut self, outer: &[(&str, &str)], family: &Family<L>) -> &mut Self {
        for (label, counter) in family.iter() {
            self.labelled(&[outer, &[(L::NAME, label.as_str())]].concat(), counter.get());
        }
        self
    }

    pub fn counted(&mut self, counter: &Counter) -> &mut Self {
        self.value(counter.get())
    }

    pub fn durations(&mut self, labels: &[(&str, &str)], histogram: &Histogram) -> &mut Self {
        let mut count = 0;
        let bounds = BOUNDS_MICROS.iter().map(|micros| (*micros as f64 / 1e6).to_string());
        for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(histogram.buckets()) {
            count += bucket;
            self.sample("_bucket", &[labels, &[("le", bound.as_str())]].concat(), count);
        }
        self.sample("_sum", labels, histogram.sum().as_secs_f64());
        self.sample("_count", labels, count)
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let pairs: Vec<_> =
            labels.iter().map(|(name, text)| format!("{name}=\"{text}\"")).collect();
        let name = self.name;
        if pairs.is_empty() {
            self.line(format_args!("{name}{suffix} {value}"));
        } else {
            self.line(format_args!("{name}{suffix}{{{}}} {value}", pairs.join(",")));
        }
        self
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes everything");
    }
}
