//! What `/metrics` says, read as strictly as Prometheus might.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::sleep;

use super::{DEADLINE, gateway::Addresses, http, within};

/// How often the page is read for what must come.
const SCRAPE_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);

/// One reading of the page.
#[derive(Debug, Default)]
pub struct Scrape {
    /// By what stands before the value: `name{label="value"}`.
    samples: BTreeMap<String, f64>,
    /// The type of each metric, by the name that its samples have; `_total` is not in the
    /// metric's own.
    pub types: BTreeMap<String, String>,
    pub text: String,
}

impl Scrape {
    pub async fn of(gateway: &Addresses) -> Self {
        let (status, text) = http::get(gateway.admin, "/metrics", "localhost").await;
        assert_eq!(status, 200, "{text}");
        Self::parse(text)
    }

    /// Reads the page until a sample has a value that fits.
    pub async fn until(gateway: &Addresses, sample: &str, fits: impl Fn(f64) -> bool) -> Self {
        within(DEADLINE, sample, async {
            loop {
                let scrape = Self::of(gateway).await;
                if scrape.get(sample).is_some_and(&fits) {
                    return scrape;
                }
                sleep(SCRAPE_INTERVAL).await;
            }
        })
        .await
    }

    /// Panics at whatever is not of the form: help and type before the samples of a metric,
    /// each metric and each sample once.
    fn parse(text: String) -> Self {
        let mut scrape = Self { text, ..Self::default() };
        let text = scrape.text.clone();
        let text = text.strip_suffix("# EOF\n").expect("the end of the page");
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut helped = None;
        let mut current = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect(line);
                assert!(is_name(name) && help.ends_with('.'), "{line}");
                assert_eq!(helped.replace(name), None, "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect(line);
                assert_eq!(helped.take(), Some(name), "no help before: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(!name.ends_with("_total"), "{line}");
                current = name.to_owned() + if kind == "counter" { "_total" } else { "" };
                let before = scrape.types.insert(current.clone(), kind.into());
                assert_eq!(before, None, "twice: {line}");
            } else {
                scrape.sample(line, &current);
            }
        }
        scrape.check_histograms();
        scrape
    }

    fn sample(&mut self, line: &str, metric: &str) {
        let (key, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = split(key);
        let kind = self.types.get(metric).expect("a type before the first sample");
        let suffixes: &[&str] = match kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let suffix = name.strip_prefix(metric).unwrap_or_else(|| panic!("in {metric}: {line}"));
        assert!(suffixes.contains(&suffix), "{line}");
        let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), labels.len(), "a label twice: {line}");
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert_eq!(self.samples.insert(key.into(), value), None, "twice: {line}");
    }

    /// Buckets grow up to the count.
    fn check_histograms(&self) {
        for metric in self.types.iter().filter(|(_, kind)| *kind == "histogram") {
            let prefix = format!("{}_bucket{{", metric.0);
            let mut last: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            for (key, value) in self.samples.iter().filter(|(key, _)| key.starts_with(&prefix)) {
                let mut labels = split(key).1;
                let at = labels.iter().position(|(label, _)| *label == "le").expect(key);
                let (_, bound) = labels.remove(at);
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect(key) };
                last.entry(labels).or_default().push((bound, *value));
            }
            assert!(!last.is_empty(), "{}: no buckets", metric.0);
            for (labels, mut buckets) in last {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{labels:?}: {buckets:?}");
                let pairs: Vec<_> = labels.iter().map(|(n, v)| format!("{n}=\"{v}\"")).collect();
                let braces =
                    if pairs.is_empty() { "".into() } else { format!("{{{}}}", pairs.join(",")) };
                let count = self.value(&format!("{}_count{braces}", metric.0));
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{labels:?}");
            }
        }
    }

    pub fn get(&self, sample: &str) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    pub fn value(&self, sample: &str) -> f64 {
        self.get(sample).unwrap_or_else(|| panic!("{sample} is not in\n{}", self.text))
    }

    /// Asserts all of these at once.
    pub fn shows<'a>(&self, expected: impl IntoIterator<Item = (&'a str, u64)>) {
        for (sample, value) in expected {
            assert_eq!(self.value(sample), value as f64, "{sample}");
        }
    }

    /// Every sample that there is, without its value.
    pub fn keys(&self) -> BTreeSet<&str> {
        self.samples.keys().map(String::as_str).collect()
    }

    /// The labels of a metric and the values that they have, but for a histogram's bounds.
    pub fn labels(&self, metric: &str) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for key in self.samples.keys() {
            let (name, labels) = split(key);
            if self.metric_of(name) == metric {
                for (label, value) in labels.into_iter().filter(|(label, _)| *label != "le") {
                    all.entry(label).or_default().insert(value);
                }
            }
        }
        all
    }

    /// The metric that a sample of this name belongs to.
    fn metric_of<'a>(&self, name: &'a str) -> &'a str {
        let histogram = ["_bucket", "_sum", "_count"]
            .into_iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|name| self.types.get(*name).is_some_and(|kind| kind == "histogram"));
        histogram.unwrap_or(name)
    }

    /// Whether a sample of this name can be there.
    pub fn has_name(&self, name: &str) -> bool {
        self.types.contains_key(self.metric_of(name))
    }
}

/// Names and values, as they are written.
type Labels<'a> = Vec<(&'a str, &'a str)>;

/// `name{label="value",…}` in its parts.
fn split(key: &str) -> (&str, Labels<'_>) {
    let Some((name, labels)) = key.split_once('{') else {
        assert!(is_name(key), "{key}");
        return (key, Vec::new());
    };
    assert!(is_name(name), "{key}");
    let labels = labels.strip_suffix('}').expect(key);
    let pair = |pair| {
        let (label, value): (&str, &str) = str::split_once(pair, "=\"").expect(key);
        let value = value.strip_suffix('"').expect(key);
        assert!(is_name(label) && !value.contains(['"', '\\']), "{key}");
        (label, value)
    };
    (name, labels.split(',').map(pair).collect())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
