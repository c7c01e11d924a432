//! Actions by name, for the console. Names are the clients' to choose, so only those that
//! the application knows get a row, and only so many.

use std::{collections::HashMap, time::Duration};

use super::{
    label::Outcome,
    recent::{Quantiles, Recent},
};
/// More actions than an application has, few enough to look through.
const NAMES_MAX: usize = 50;
const NAME_LENGTH_MAX: usize = 64;

/// What the rest is counted under.
const OTHER: &str = "other";

#[derive(Debug, Default)]
pub struct ActionTable {
    by_name: HashMap<Box<str>, Row>,
    other: Row,
    /// Of all names together.
    recent: Recent,
}

#[derive(Debug, Default)]
struct Row {
    count: u64,
    errors: u64,
    recent: Recent,
}

/// The actions of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRow {
    pub action: Box<str>,
    /// Since the start, with those that failed.
    pub count: u64,
    pub errors: u64,
    /// Of the last one to two minutes.
    pub latency: Option<Quantiles>,
}

impl ActionTable {
    pub fn count(&mut self, name: Option<&str>, outcome: Outcome, took: Duration, minute: u64) {
        self.recent.record(minute, took);
        let row = self.row(name, outcome);
        row.count += 1;
        row.errors += u64::from(outcome != Outcome::Ok);
        row.recent.record(minute, took);
    }

    fn row(&mut self, name: Option<&str>, outcome: Outcome) -> &mut Row {
        let Some(name) = name else { return &mut self.other };
        if !self.by_name.contains_key(name) {
            let room = self.by_name.len() < NAMES_MAX;
            // Nothing else shows that there is such an action: an application may fail, or
            // answer an error of its own, whatever it is asked for.
            if !(room && outcome == Outcome::Ok && is_presentable(name)) {
                return &mut self.other;
            }
            self.by_name.insert(name.into(), Row::default());
        }
        self.by_name.get_mut(name).unwrap_or(&mut self.other)
    }

    pub fn rows(&self, minute: u64) -> Vec<ActionRow> {
        let named = self.by_name.iter().map(|(name, row)| (&**name, row));
        let all = named.chain([(OTHER, &self.other)]).filter(|(_, row)| row.count > 0);
        let mut rows: Vec<_> = all.map(|(name, row)| row.read(name, minute)).collect();
        rows.sort_by(|a, b| (b.count, &a.action).cmp(&(a.count, &b.action)));
        rows
    }

    pub fn latency(&self, minute: u64) -> Option<Quantiles> {
        self.recent.quantiles(minute)
    }
}

impl Row {
    fn read(&self, name: &str, minute: u64) -> ActionRow {
        ActionRow {
            action: name.into(),
            count: self.count,
            errors: self.errors,
            latency: self.recent.quantiles(minute),
        }
    }
}

fn is_presentable(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
    (1..=NAME_LENGTH_MAX).contains(&name.len()) && name.bytes().all(allowed) && name != OTHER
}

#[cfg(test)]
mod tests {
    use super::{super::label::ErrorLabel, *};
    use crate::protocol::ErrorCode;

    const TOOK: Duration = Duration::from_millis(1);

    fn error(code: ErrorCode) -> Outcome {
        Outcome::Error(ErrorLabel(Some(code)))
    }

    fn counts(table: &ActionTable) -> Vec<(String, u64, u64)> {
        let row = |row: ActionRow| (row.action.into(), row.count, row.errors);
        table.rows(0).into_iter().map(row).collect()
    }

    #[test]
    fn a_name_has_a_row_once_the_application_knows_it() {
        let mut table = ActionTable::default();
        for outcome in [error(ErrorCode::InvalidAction), Outcome::Ok, error(ErrorCode::Busy)] {
            table.count(Some("Hello"), outcome, TOOK, 0);
        }
        assert_eq!(counts(&table), [("Hello".to_owned(), 2, 1), ("other".to_owned(), 1, 1)]);
    }

    #[test]
    fn no_failure_makes_a_row() {
        let mut table = ActionTable::default();
        for outcome in [
            error(ErrorCode::ActionTimeout),
            error(ErrorCode::InternalError),
            error(ErrorCode::InvalidPayload),
            Outcome::Error(ErrorLabel(None)),
        ] {
            table.count(Some("Hello"), outcome, TOOK, 0);
        }
        assert_eq!(counts(&table), [("other".to_owned(), 4, 4)]);
    }

    #[test]
    fn strange_names_have_no_row() {
        let mut table = ActionTable::default();
        let long = "x".repeat(65);
        for name in ["", "a b", "<b>", "é", "other", &long] {
            table.count(Some(name), Outcome::Ok, TOOK, 0);
        }
        table.count(None, error(ErrorCode::InvalidJSON), TOOK, 0);
        assert_eq!(counts(&table), [("other".to_owned(), 7, 1)]);
    }

    #[test]
    fn there_are_only_so_many_rows() {
        let mut table = ActionTable::default();
        for number in 0..1_000 {
            table.count(Some(&format!("Action{number}")), Outcome::Ok, TOOK, 0);
        }
        table.count(Some("Action7"), Outcome::Ok, TOOK, 0);
        let counts = counts(&table);
        assert_eq!(counts.len(), NAMES_MAX + 1);
        assert_eq!(counts[0], ("other".to_owned(), 950, 0));
        assert_eq!(counts[1], ("Action7".to_owned(), 2, 0));
    }
}
