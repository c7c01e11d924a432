//! What only RabbitMQ's management API shows: policies that reach the gateway's names, alarms, and
//! the bounds of its logs.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde::Deserialize;

use super::{Outcome, Report, found, found_not};
use crate::{
    bus::rabbitmq::log_stream,
    config::{BrokerToCheck, ManagementUrl},
    net::get::{self, Bounds, GetError},
};

/// A broker with thousands of queues is asked for its policies and nodes, and for single queues.
const ANSWER: Bounds = Bounds { bytes: 4 << 20, time: Duration::from_secs(5) };

/// What a policy may say of a log: docs/rabbitmq.md says how.
const BOUNDS: [&str; 2] = ["max-age", "max-length-bytes"];

/// Why something was not seen.
#[derive(Debug, thiserror::Error)]
enum NotSeen {
    #[error(transparent)]
    Unanswered(#[from] GetError),
    #[error("it answered {0:?}")]
    Refused(String),
    #[error("it answered no such JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Policy {
    name: String,
    pattern: String,
    definition: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Node {
    name: String,
    #[serde(default)]
    mem_alarm: bool,
    #[serde(default)]
    disk_free_alarm: bool,
}

/// A queue.
#[derive(Deserialize)]
struct Log {
    #[serde(default)]
    arguments: serde_json::Value,
    /// Of the policies that reach it.
    #[serde(default)]
    effective_policy_definition: serde_json::Value,
}

pub(super) async fn check(wanted: &BrokerToCheck, report: &mut Report) {
    let (policies, alarms) = ("policies, and the bounds that they set", "alarms of the nodes");
    let bounds = "the bounds of the logs that are there";
    let Some(url) = &wanted.management else {
        let came = "not seen: no --management-url";
        report.add(found_not("policies", policies, came));
        report.add(found_not("bounds", bounds, came));
        report.add(found_not("alarms", alarms, came));
        return;
    };
    let vhost = wanted.urls.first().map_or("/", |url| url.uri().vhost.as_str());
    let path = format!("/api/policies/{}", encoded(vhost));
    report.add(match get::<Vec<Policy>>(url, &path).await {
        Err(why) => found("policies", Outcome::Warning, policies, format!("not seen: {why}")),
        Ok(all) => judged(policies, &all),
    });
    report.add(match logs(wanted, url, vhost).await {
        Err(why) => found("bounds", Outcome::Warning, bounds, format!("not seen: {why}")),
        Ok(logs) => bounded(bounds, &logs),
    });
    report.add(match get::<Vec<Node>>(url, "/api/nodes").await {
        Err(why) => found("alarms", Outcome::Warning, alarms, format!("not seen: {why}")),
        Ok(nodes) => {
            let alarmed: Vec<_> = nodes
                .iter()
                .filter(|node| node.mem_alarm || node.disk_free_alarm)
                .map(|node| node.name.as_str())
                .collect();
            match alarmed.is_empty() {
                true => found("alarms", Outcome::Ok, alarms, format!("none of {}", nodes.len())),
                false => found("alarms", Outcome::Failed, alarms, alarmed.join(", "))
                    .client("nothing: PushEvent answers RESOURCE_EXHAUSTED meanwhile")
                    .advice("free memory or disk on these nodes: the broker holds publishers back"),
            }
        }
    });
}

/// A pattern is a regular expression of Erlang's: what it matches is not worked out here, but
/// whether it may be meant for all or for ours.
fn judged(asked: &str, policies: &[Policy]) -> super::Finding {
    let ours = |policy: &&Policy| {
        let pattern = policy.pattern.trim_start_matches('^');
        ["", ".*", ".+", "(?!"].contains(&pattern)
            || pattern.starts_with("(?!")
            || pattern.contains("myxi")
    };
    let said = |policy: &Policy| {
        let definition = serde_json::Value::Object(policy.definition.clone());
        format!("{} on {:?}: {definition}", policy.name, policy.pattern)
    };
    let (ours, others) = (policies.iter().filter(ours), policies.len());
    let ours: Vec<_> = ours.collect();
    let beyond =
        |policy: &&&Policy| policy.definition.keys().any(|key| !BOUNDS.contains(&key.as_str()));
    match ours.iter().find(beyond) {
        Some(policy) => found("policies", Outcome::Warning, asked, said(policy))
            .client("Gap, or nothing, where queues or their messages go too early")
            .advice(
                "leave names that begin with myxi. out of it: only max-age and \
                     max-length-bytes are meant for the logs",
            ),
        None if ours.is_empty() => {
            found("policies", Outcome::Ok, asked, format!("{others}, and none for myxi. names"))
        }
        None => {
            let all: Vec<_> = ours.iter().map(|policy| said(policy)).collect();
            found("policies", Outcome::Ok, asked, all.join("; "))
        }
    }
}

/// By the names of their exchanges, as far as they are there.
async fn logs(
    wanted: &BrokerToCheck,
    url: &ManagementUrl,
    vhost: &str,
) -> Result<Vec<(String, Log)>, NotSeen> {
    let mut logs = Vec::new();
    for exchange in &wanted.exchanges {
        let queue = log_stream(&exchange.name);
        let path = format!("/api/queues/{}/{}", encoded(vhost), encoded(queue.as_str()));
        let answer = ask(url, &path).await?;
        if answer.status() != StatusCode::NOT_FOUND {
            logs.push((exchange.name.to_string(), read(&answer)?));
        }
    }
    Ok(logs)
}

/// A log without both fills the broker's disk.
fn bounded(asked: &str, logs: &[(String, Log)]) -> super::Finding {
    if logs.is_empty() {
        let came =
            "none is there yet, or no --exchange names it: the gateway makes them with bounds";
        return found_not("bounds", asked, came);
    }
    let mut endless = Vec::new();
    let mut told = Vec::new();
    for (name, log) in logs {
        let of = |bound: &str| {
            let policy = log.effective_policy_definition.get(bound);
            policy.or(log.arguments.get(format!("x-{bound}")))
        };
        let bounds = BOUNDS.map(|bound| of(bound).map(|value| format!("{bound} {value}")));
        if bounds.iter().any(Option::is_none) {
            endless.push(name.as_str());
        }
        let bounds: Vec<_> = bounds.into_iter().flatten().collect();
        told.push(format!(
            "{name}: {}",
            if bounds.is_empty() { "none".into() } else { bounds.join(", ") }
        ));
    }
    let found = |outcome| found("bounds", outcome, asked, told.join("; "));
    match endless.is_empty() {
        true => found(Outcome::Ok),
        false => found(Outcome::Warning)
            .client("nothing, until the disk is full and PushEvent answers RESOURCE_EXHAUSTED")
            .advice(format!(
                "give myxi.log.{} max-age and max-length-bytes by a policy",
                endless.join(", myxi.log.")
            )),
    }
}

async fn get<T: for<'a> Deserialize<'a>>(url: &ManagementUrl, path: &str) -> Result<T, NotSeen> {
    read(&ask(url, path).await?)
}

async fn ask(url: &ManagementUrl, path: &str) -> Result<Response<Bytes>, NotSeen> {
    let ManagementUrl { remote, user, password } = url;
    let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let authorization = HeaderValue::try_from(format!("Basic {credentials}"));
    let authorization = authorization.map_err(|error| GetError::Request(error.into()))?;
    Ok(get::get(remote, path, Some(authorization), ANSWER).await?)
}

fn read<T: for<'a> Deserialize<'a>>(answer: &Response<Bytes>) -> Result<T, NotSeen> {
    if answer.status() != StatusCode::OK {
        return Err(NotSeen::Refused(format!("{:?} {}", answer.version(), answer.status())));
    }
    Ok(serde_json::from_slice(answer.body())?)
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_without_a_bound_is_warned_of() {
        let log = |text: &str| ("widgets".to_owned(), serde_json::from_str(text).expect("a log"));
        let judged = |text: &str| bounded("bounds", &[log(text)]);
        let both = r#"{"arguments":{"x-max-age":"1h","x-max-length-bytes":200}}"#;
        assert_eq!(judged(both).outcome, Outcome::Ok);
        let mixed = r#"{"arguments":{"x-max-age":"1h"},
            "effective_policy_definition":{"max-age":"2h","max-length-bytes":9}}"#;
        assert_eq!(judged(mixed).came, r#"widgets: max-age "2h", max-length-bytes 9"#);
        let one = r#"{"arguments":{"x-max-age":"1h"},"effective_policy_definition":[]}"#;
        assert_eq!(judged(one).outcome, Outcome::Warning);
        assert_eq!(bounded("bounds", &[]).outcome, Outcome::NotChecked);
    }

    #[test]
    fn a_policy_for_all_queues_is_warned_of_and_the_bounds_of_a_log_are_told() {
        let outcome = |pattern: &str, definition: &str| {
            let definition = serde_json::from_str(definition).expect("an object");
            let policy = Policy { name: "it".into(), pattern: pattern.into(), definition };
            judged("policies", &[policy]).outcome
        };
        assert_eq!(outcome(".*", r#"{"message-ttl":1000}"#), Outcome::Warning);
        assert_eq!(outcome("^myxi\\.", r#"{"expires":1000}"#), Outcome::Warning);
        assert_eq!(outcome("^myxi\\.log\\.", r#"{"max-age":"2h"}"#), Outcome::Ok);
        assert_eq!(outcome("^orders", r#"{"message-ttl":1000}"#), Outcome::Ok);
        assert_eq!(encoded("/a b"), "%2Fa%20b");
    }
}
