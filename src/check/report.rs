//! What was found, check by check, and the three forms in which it is told: for people, as JSON,
//! and as JUnit's XML, which CI servers read.

mod json;
mod junit;
mod text;

use std::fmt;

use crate::text::is_obeyed;

/// What is checked; in JUnit a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    Handler,
    Broker,
    Config,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    /// It is allowed, and not wise.
    Warning,
    Failed,
    /// Something is missing to check it: it is neither good nor bad.
    NotChecked,
}

/// One check and what came of it.
#[derive(Debug)]
pub(super) struct Finding {
    pub face: Face,
    /// The same in every run, for programs: `unknown-action`.
    pub name: String,
    pub outcome: Outcome,
    pub asked: String,
    pub came: String,
    /// What a client would see of it.
    pub client: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Finding {
    /// Whatever was found is written on one line, and may quote anybody.
    pub(super) fn new(
        face: Face,
        name: impl Into<String>,
        outcome: Outcome,
        asked: impl Into<String>,
        came: impl Into<String>,
    ) -> Self {
        let (name, asked, came) = (name.into(), plain(&asked.into()), plain(&came.into()));
        Self { face, name, outcome, asked, came, client: None, advice: None }
    }

    pub(super) fn client(self, sees: impl Into<String>) -> Self {
        Self { client: Some(plain(&sees.into())), ..self }
    }

    pub(super) fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(plain(&advice.into())), ..self }
    }
}

/// Longer is cut: somebody is to read it.
const TEXT_MAX: usize = 300;

/// Nothing that a terminal would obey, or that XML has no way to say.
fn plain(text: &str) -> String {
    let hidden = |c: char| is_obeyed(c) || matches!(c, '\u{fffe}' | '\u{ffff}');
    let mut plain = String::new();
    for c in text.chars() {
        if plain.len() > TEXT_MAX {
            plain.push('…');
            break;
        }
        match hidden(c) {
            true => plain.extend(c.escape_unicode()),
            false => plain.push(c),
        }
    }
    plain
}

#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn failed(&self) -> bool {
        self.count(Outcome::Failed) > 0
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.findings.iter().filter(|finding| finding.outcome == outcome).count()
    }

    /// Each face that was looked at, with what was found of it.
    fn faces(&self) -> impl Iterator<Item = (Face, Vec<&Finding>)> {
        [Face::Config, Face::Handler, Face::Broker].into_iter().filter_map(|face| {
            let of_it: Vec<_> = self.findings.iter().filter(|found| found.face == face).collect();
            (!of_it.is_empty()).then_some((face, of_it))
        })
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::NotChecked => "could not check",
        }
    }
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler => "handler",
            Self::Broker => "broker",
            Self::Config => "config",
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn report() -> Report {
        let mut report = Report::default();
        let found = |name, outcome, came: &str| {
            Finding::new(Face::Handler, name, outcome, "an <action>", came)
        };
        report.add(found("good", Outcome::Ok, "UNIMPLEMENTED"));
        report.add(found("odd", Outcome::Warning, "\u{1b}[31m & \"\u{202e}").client("{}"));
        report.add(found("bad", Outcome::Failed, "nothing").client("<>").advice("mend it"));
        report.add(found("left", Outcome::NotChecked, "no --auth"));
        report.add(Finding::new(Face::Broker, "left", Outcome::NotChecked, "policies", "not seen"));
        report
    }

    #[test]
    fn what_others_say_is_cut_and_cannot_steer_a_terminal() {
        let said = plain(&"\u{1b}[31mred\n".repeat(200));
        assert!(said.starts_with("\\u{1b}[31mred\\u{a}"), "{said}");
        assert!(said.len() < TEXT_MAX + 20 && said.ends_with('…'), "{said}");
    }
}
