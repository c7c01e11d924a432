//! `myxi health`: what a probe asks, where there is neither a shell nor curl.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    Failure, Outcome, admin,
    print::{Output, not_written},
};
use crate::{
    config::hand::{AdminAt, HealthConfig},
    text::plain,
};

/// Below what probes are usually given.
const TIMEOUT: Duration = Duration::from_secs(3);

const DEGRADED: &str = "degraded";
/// Those of a gateway: something else may answer there.
const WORDS: [&str; 6] = ["live", "ready", DEGRADED, "starting", "draining", "unready"];

/// As the admin listener has it; the clients' has the word alone.
#[derive(Deserialize)]
struct Report {
    status: String,
    #[serde(default)]
    reasons: Vec<String>,
}

pub(super) async fn run(config: HealthConfig) -> Result<Outcome, Failure> {
    let HealthConfig { admin, live, strict } = config;
    let at = AdminAt { remote: admin, token: None };
    let path = if live { "/health/live" } else { "/health/ready" };
    let late = |_| Failure(format!("{}: no answer within {TIMEOUT:?}", at.remote));
    let asked = timeout(TIMEOUT, admin::ask(&at, path)).await.map_err(late)?;
    let unreachable = |reason| Failure(admin::unreachable(&at.remote, &reason));
    let (status, body) = asked.map_err(unreachable)?;
    let word = word(&body).ok_or_else(|| {
        Failure(format!("{} does not tell its health: it answered {status}", at.remote))
    })?;
    if let Err(error) = Output::new().line(&word).await {
        not_written(error)?;
    }
    let well = status == StatusCode::OK && !(strict && word.starts_with(DEGRADED));
    Ok(if well { Outcome::Done } else { Outcome::NotAll })
}

/// `ready`, or what it is and why.
fn word(body: &[u8]) -> Option<String> {
    if let Ok(Report { status, reasons }) = serde_json::from_slice(body) {
        let reasons = match reasons.is_empty() {
            true => String::new(),
            false => format!(": {}", reasons.join("; ")),
        };
        return WORDS.contains(&&*status).then(|| plain(&format!("{status}{reasons}")));
    }
    let word = str::from_utf8(body).ok()?.trim();
    WORDS.contains(&word).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_listeners_are_understood_and_nothing_else() {
        let body = br#"{"status":"degraded","bus":"memory","reasons":["a","b"]}"#;
        assert_eq!(word(body).as_deref(), Some("degraded: a; b"));
        assert_eq!(word(br#"{"status":"live"}"#).as_deref(), Some("live"));
        assert_eq!(word(b"draining\n").as_deref(), Some("draining"));
        assert_eq!(word(b"<html>"), None);
        assert_eq!(word(br#"{"status":"UP"}"#), None);
        assert_eq!(word(b"ok"), None);
        assert_eq!(word(b""), None);
    }
}
