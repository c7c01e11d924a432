//! `myxi check`: whether a handler keeps the contract, whether a broker has what a gateway needs,
//! and whether a configuration is one. It plays the gateway, and reports what it was told, what
//! that would mean to a client, and what to do about it.

mod broker;
mod handler;
mod report;
mod settings;

use std::{fs, io::Write, path::Path};

use anyhow::Context;

use self::report::Report;
use crate::config::CheckConfig;

/// How it ended, as the process's exit code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There may be warnings.
    Passed,
    Failed,
    /// The configuration is none.
    Misconfigured,
}

/// Checks what is asked for, one after another, and writes one report of all.
pub async fn run(config: CheckConfig) -> anyhow::Result<Verdict> {
    let CheckConfig { settings, handler, broker, json, junit } = config;
    let mut report = Report::default();
    let mut misconfigured = false;
    if let Some(settings) = settings {
        misconfigured = settings.is_err();
        settings::check(settings, &mut report);
    }
    if let Some(handler) = handler {
        handler::check(&handler, &mut report).await;
    }
    if let Some(broker) = broker {
        broker::check(&broker, &mut report).await;
    }
    let mut stdout = report.text();
    let mut unwritten = Vec::new();
    for (path, written) in [(json, report.json()), (junit, report.junit())] {
        match path {
            Some(path) if path == Path::new("-") => stdout = written,
            Some(path) => {
                if let Err(error) = fs::write(&path, written) {
                    unwritten.push(format!("cannot write {}: {error}", path.display()));
                }
            }
            None => {}
        }
    }
    // Where a file cannot be written, what was found is told all the same.
    unwritten.iter().for_each(|problem| eprintln!("myxi check: {problem}"));
    std::io::stdout().write_all(stdout.as_bytes()).context("cannot write the report")?;
    Ok(match (misconfigured, report.failed() || !unwritten.is_empty()) {
        (true, _) => Verdict::Misconfigured,
        (false, true) => Verdict::Failed,
        (false, false) => Verdict::Passed,
    })
}
