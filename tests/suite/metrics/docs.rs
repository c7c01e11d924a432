//! The page against what is written about it, both ways.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::support::{gateway::Gateway, handler::TestHandler, metrics::Scrape};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// `docs/metrics.md` has a row for each metric: its name, type, labels and their values.
#[tokio::test]
async fn every_metric_is_documented_and_nothing_else() {
    let scrape = everything_happened().await;
    let page = read("docs/metrics.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let documented: BTreeSet<_> = rows.iter().map(|row| code(row[0])).collect();
    let exposed: BTreeSet<_> = scrape.types.keys().cloned().collect();
    assert_eq!(documented, exposed);
    for row in &rows {
        let [name, kind, labels, _meaning] = row[..] else { panic!("four columns: {row:?}") };
        let name = code(name);
        assert_eq!(kind, scrape.types[&name], "{name}");
        for (label, values) in scrape.labels(&name) {
            assert!(labels.contains(&format!("`{label}`")), "{name}: {label}");
            // The configuration's, the build's, and those of the table of errors (docs/wire.md).
            if !["exchange", "version", "code", "outcome"].contains(&label) {
                let missing = values.iter().find(|value| !labels.contains(&format!("`{value}`")));
                assert_eq!(missing, None, "{name}: {label}");
            }
        }
        let exposed = scrape.labels(&name);
        assert_eq!(labels == "–", exposed.is_empty(), "{name}: {labels}");
        // There is one bus only, but of everything else each value, at 0.
        for written in labels.split('`').skip(1).step_by(2).filter(|_| name != "myxi_bus_info") {
            let mut values = exposed.values().flatten();
            let known = exposed.contains_key(written) || values.any(|value| *value == written);
            assert!(known, "{name}: {written}");
        }
    }
}

/// A dashboard or an alert on a metric that is not there shows nothing, and says nothing.
#[tokio::test]
async fn dashboard_and_alerts_use_metrics_that_exist() {
    let scrape = everything_happened().await;
    for file in ["docs/grafana-dashboard.json", "docs/alerts.yml"] {
        let text = read(file);
        let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        let names: BTreeSet<_> = words
            .filter(|word| word.starts_with("myxi_") || word.starts_with("process_"))
            .collect();
        assert!(names.len() >= 10, "{file}: only {names:?}");
        let missing: Vec<_> = names.iter().filter(|name| !scrape.has_name(name)).collect();
        assert!(missing.is_empty(), "{file}: {missing:?}");
        for (selector, metric, label, value) in selectors(&text) {
            let labels = scrape.labels(&metric);
            let values = labels.get(label).unwrap_or_else(|| panic!("{file}: {selector}"));
            for value in value.split('|') {
                assert!(values.contains(value), "{file}: {selector}");
            }
        }
    }
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard: Value =
        serde_json::from_str(&read("docs/grafana-dashboard.json")).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert!(variables.iter().any(|variable| variable["type"] == "datasource"));
    let panels = dashboard["panels"].as_array().expect("panels");
    let rows = panels.iter().filter(|panel| panel["type"] == "row");
    let rows: Vec<_> = rows.map(|row| row["title"].as_str().expect("a title")).collect();
    assert_eq!(
        rows,
        ["Clients", "Actions", "Application", "Events", "Coming back", "Bus", "Process"]
    );
    let ids: BTreeSet<_> =
        panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "an id twice");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = &panel["title"];
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(targets.iter().all(|target| target["expr"].is_string()), "{title}");
        assert!(panel["description"].is_string(), "{title}");
    }
}

/// A gateway for which every metric has a sample.
async fn everything_happened() -> Scrape {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    gateway.push("widgets", "1", "Changed", json!({})).await;
    Scrape::until(&gateway, r#"myxi_bus_lag_seconds{exchange="widgets"}"#, |_| true).await
}

/// The matchers of equality on our metrics' labels, as `metric{label="value"`; in JSON the
/// quotes are escaped.
fn selectors(text: &str) -> Vec<(String, String, &str, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('{') {
        let metric = text[..at].rsplit(|c: char| !(c.is_ascii_lowercase() || c == '_')).next();
        let metric = metric.unwrap_or_default();
        let Some((inside, _)) = text[at + 1..].split_once('}') else { continue };
        if !metric.starts_with("myxi_") {
            continue;
        }
        for matcher in inside.split(',') {
            let Some((label, value)) = matcher.split_once('=') else { continue };
            let (label, value) =
                (label.trim().trim_end_matches('!'), value.trim_start_matches('~'));
            let value = value.trim_matches(['"', '\\']);
            // These are added by Prometheus, and chosen in the dashboard.
            if !["instance", "job"].contains(&label) {
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| metric.strip_suffix(suffix))
                    .unwrap_or(metric);
                found.push((format!("{metric}{{{inside}}}"), base.to_owned(), label, value));
            }
        }
    }
    found
}

fn code(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).expect(path)
}
