//! For programs. Members are added to it and never taken away.

use serde::{Serialize, Serializer};

use super::{Face, Finding, Outcome, Report};

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    ok: usize,
    warnings: usize,
    failed: usize,
    not_checked: usize,
    checks: Vec<Check<'a>>,
}

#[derive(Serialize)]
struct Check<'a> {
    of: Face,
    name: &'a str,
    outcome: Outcome,
    asked: &'a str,
    came: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_sees: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_do: Option<&'a str>,
}

impl Report {
    pub(in super::super) fn json(&self) -> String {
        let outcome = match (self.count(Outcome::Failed), self.count(Outcome::Warning)) {
            (0, 0) => Outcome::Ok,
            (0, _) => Outcome::Warning,
            _ => Outcome::Failed,
        };
        let document = Document {
            outcome,
            ok: self.count(Outcome::Ok),
            warnings: self.count(Outcome::Warning),
            failed: self.count(Outcome::Failed),
            not_checked: self.count(Outcome::NotChecked),
            checks: self.findings.iter().map(Check::from).collect(),
        };
        serde_json::to_string_pretty(&document).expect("text and numbers always serialize") + "\n"
    }
}

impl<'a> From<&'a Finding> for Check<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            of: finding.face,
            name: &finding.name,
            outcome: finding.outcome,
            asked: &finding.asked,
            came: &finding.came,
            client_sees: finding.client.as_deref(),
            to_do: finding.advice.as_deref(),
        }
    }
}

impl Serialize for Face {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::NotChecked => "not_checked",
            outcome => outcome.word(),
        })
    }
}
