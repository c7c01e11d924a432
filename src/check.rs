//! `myxi check`: whether a handler keeps the contract, whether a broker has what a gateway needs,
//! and whether a configuration is one. It plays the gateway, and reports what it was told, what
//! that would mean to a client, and what to do about it.

mod broker;
mod handler;
mod report;
mod settings;

use std::{fs, io::Write, path::Path};

use anyhow::Context;

use self::report::{Face, Finding, Outcome, Report};
use crate::{config::CheckConfig, signals::StopSignals};

/// How it ended, as the process's exit code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There may be warnings.
    Passed,
    Failed,
    /// The configuration is none.
    Misconfigured,
}

/// Checks what is asked for, one after another, and writes one report of all; where a signal cuts
/// it short, of what was found until then.
pub async fn run(config: CheckConfig) -> anyhow::Result<Verdict> {
    let CheckConfig { settings, handler, broker, json, junit } = config;
    let mut stop = StopSignals::new().context("cannot hear signals")?;
    let mut report = Report::default();
    let mut misconfigured = false;
    if let Some(settings) = settings {
        misconfigured = settings.is_err();
        settings::check(settings, &mut report);
    }
    let mut cut_short = None;
    if let Some(handler) = handler {
        let whole = stop.before(handler::check(&handler, &mut report)).await;
        cut_short = whole.is_none().then_some(Face::Handler);
    }
    if let (Some(broker), None) = (broker, cut_short) {
        let whole = broker::check(&broker, &mut report, &mut stop).await;
        cut_short = whole.is_none().then_some(Face::Broker);
    }
    // Nobody is to take for whole what a signal has ended.
    if let Some(face) = cut_short {
        let (asked, came) = ("everything that follows", "not asked: a signal came");
        report.add(Finding::new(face, "interrupted", Outcome::Failed, asked, came));
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
