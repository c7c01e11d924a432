//! Actions by name, for the console. Names are the clients' to choose, so there are only so
//! many rows. Those that succeeded once are the application's; names that only fail, which
//! anybody can invent, have rows of their own and push out each other.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{
    label::Outcome,
    recent::{Quantiles, Recent},
};
use crate::{text::cut, time::UnixTime};

/// More actions than an application has, few enough to look through.
const NAMES_MAX: usize = 50;
/// Of names that only fail.
const FAILING_MAX: usize = 20;
const NAME_LENGTH_MAX: usize = 64;

/// Of an error's text, in characters.
const ERROR_MAX: usize = 300;

/// What the rest is counted under.
const OTHER: &str = "other";

#[derive(Debug, Default)]
pub struct ActionTable {
    by_name: HashMap<Box<str>, Row>,
    /// That never succeeded; the one that has not been seen for longest comes first.
    failing: VecDeque<(Box<str>, Row)>,
    other: Row,
    /// Of all names together.
    recent: Recent,
}

#[derive(Debug, Default)]
struct Row {
    count: u64,
    errors: u64,
    last_error: Option<LastError>,
    recent: Recent,
}

/// The actions of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRow {
    pub action: Box<str>,
    /// Since the start, with those that failed.
    pub count: u64,
    pub errors: u64,
    pub last_error: Option<LastError>,
    /// Of the last one to two minutes.
    pub latency: Option<Quantiles>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// What the client was told, and what the operator is told beside it.
    pub text: Box<str>,
    pub at: UnixTime,
}

/// One action that is over.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// `None` where the message had no name.
    pub name: Option<&'a str>,
    pub outcome: Outcome,
    /// Why it failed, for the operator.
    pub cause: Option<&'a str>,
    pub took: Duration,
}

impl ActionTable {
    pub fn count(&mut self, ended: Ended<'_>, minute: u64) {
        self.recent.record(minute, ended.took);
        self.row(ended.name, ended.outcome).count(ended, minute);
    }

    fn row(&mut self, name: Option<&str>, outcome: Outcome) -> &mut Row {
        let Some(name) = name.filter(|name| is_presentable(name)) else { return &mut self.other };
        if self.by_name.contains_key(name) {
            return self.by_name.get_mut(name).unwrap_or(&mut self.other);
        }
        let at = self.failing.iter().position(|(failing, _)| **failing == *name);
        let row = at.and_then(|at| self.failing.remove(at)).map(|(_, row)| row);
        if outcome != Outcome::Ok {
            let displaced = (self.failing.len() >= FAILING_MAX).then(|| self.failing.pop_front());
            if let Some((_, displaced)) = displaced.flatten() {
                self.other.take_in(displaced);
            }
            self.failing.push_back((name.into(), row.unwrap_or_default()));
            return self.failing.back_mut().map_or(&mut self.other, |(_, row)| row);
        }
        if self.by_name.len() >= NAMES_MAX {
            row.into_iter().for_each(|row| self.other.take_in(row));
            return &mut self.other;
        }
        self.by_name.entry(name.into()).or_insert(row.unwrap_or_default())
    }

    pub fn rows(&self, minute: u64) -> Vec<ActionRow> {
        let named = self.by_name.iter().map(|(name, row)| (&**name, row));
        let failing = self.failing.iter().map(|(name, row)| (&**name, row));
        let all = named.chain(failing).chain([(OTHER, &self.other)]);
        let mut rows: Vec<_> = all
            .filter(|(_, row)| row.count > 0)
            .map(|(name, row)| row.read(name, minute))
            .collect();
        rows.sort_by(|a, b| (b.count, &a.action).cmp(&(a.count, &b.action)));
        rows
    }

    pub fn latency(&self, minute: u64) -> Option<Quantiles> {
        self.recent.quantiles(minute)
    }
}

impl Row {
    fn count(&mut self, ended: Ended<'_>, minute: u64) {
        self.count += 1;
        self.recent.record(minute, ended.took);
        if ended.outcome == Outcome::Ok {
            return;
        }
        self.errors += 1;
        let code: &str = ended.outcome.into();
        let whole = ended.cause.map_or_else(|| code.into(), |cause| format!("{code}: {cause}"));
        let text = cut(&whole, ERROR_MAX).into();
        self.last_error = Some(LastError { text, at: UnixTime::now() });
    }

    /// Another row that has no place any more.
    fn take_in(&mut self, row: Self) {
        self.count += row.count;
        self.errors += row.errors;
        self.recent.take_in(&row.recent);
    }

    fn read(&self, name: &str, minute: u64) -> ActionRow {
        ActionRow {
            action: name.into(),
            count: self.count,
            errors: self.errors,
            last_error: self.last_error.clone(),
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

    fn error(code: ErrorCode) -> Outcome {
        Outcome::Error(ErrorLabel(Some(code)))
    }

    fn count(table: &mut ActionTable, name: &str, outcome: Outcome) {
        let took = Duration::from_millis(1);
        table.count(Ended { name: Some(name), outcome, cause: None, took }, 0);
    }

    fn counts(table: &ActionTable) -> Vec<(String, u64, u64)> {
        let row = |row: ActionRow| (row.action.into(), row.count, row.errors);
        table.rows(0).into_iter().map(row).collect()
    }

    #[test]
    fn a_name_that_only_fails_keeps_what_it_had_when_it_succeeds() {
        let mut table = ActionTable::default();
        count(&mut table, "Hello", error(ErrorCode::InternalError));
        assert_eq!(counts(&table), [("Hello".to_owned(), 1, 1)]);
        for number in 0..FAILING_MAX {
            count(&mut table, &format!("Fails{number}"), error(ErrorCode::Busy));
            count(&mut table, "Hello", Outcome::Ok);
        }
        assert_eq!(counts(&table)[0], ("Hello".to_owned(), 21, 1));
        assert_eq!(table.rows(0).len(), FAILING_MAX + 1);
    }

    #[test]
    fn names_that_only_fail_displace_the_oldest_of_themselves() {
        let mut table = ActionTable::default();
        for number in 0..NAMES_MAX {
            count(&mut table, &format!("Good{number}"), Outcome::Ok);
        }
        for number in 0..1_000 {
            count(&mut table, &format!("Invented{number}"), error(ErrorCode::InvalidAction));
            count(&mut table, "Broken", error(ErrorCode::InternalError));
        }
        let counts = counts(&table);
        let named =
            |start: &str| counts.iter().filter(|(name, ..)| name.starts_with(start)).count();
        assert_eq!(counts.len(), NAMES_MAX + FAILING_MAX + 1);
        assert_eq!((named("Good"), named("Invented")), (NAMES_MAX, FAILING_MAX - 1));
        assert_eq!(counts[0], ("Broken".to_owned(), 1_000, 1_000));
        assert_eq!(counts[1], ("other".to_owned(), 981, 981));
        assert!(counts.iter().any(|(name, ..)| name == "Invented999"));
    }

    #[test]
    fn the_last_error_is_told_with_its_cause() {
        let mut table = ActionTable::default();
        let took = Duration::from_millis(1);
        let outcome = error(ErrorCode::InternalError);
        for cause in ["first", &"é".repeat(1_000), "last"] {
            table.count(Ended { name: Some("Fail"), outcome, cause: Some(cause), took }, 0);
            let text = table.rows(0).remove(0).last_error.expect("an error").text;
            let whole = format!("InternalError: {cause}");
            assert_eq!(*text, *cut(&whole, ERROR_MAX));
        }
        count(&mut table, "Fail", Outcome::Ok);
        let last = table.rows(0).remove(0).last_error.expect("an error");
        assert_eq!(&*last.text, "InternalError: last");
    }

    #[test]
    fn strange_names_have_no_row() {
        let mut table = ActionTable::default();
        let long = "x".repeat(65);
        for name in ["", "a b", "<b>", "é", "other", &long] {
            count(&mut table, name, Outcome::Ok);
            count(&mut table, name, error(ErrorCode::InvalidAction));
        }
        let took = Duration::from_millis(1);
        let outcome = error(ErrorCode::InvalidJSON);
        table.count(Ended { name: None, outcome, cause: None, took }, 0);
        assert_eq!(counts(&table), [("other".to_owned(), 13, 7)]);
    }

    #[test]
    fn there_are_only_so_many_rows() {
        let mut table = ActionTable::default();
        for number in 0..1_000 {
            count(&mut table, &format!("Action{number}"), Outcome::Ok);
        }
        count(&mut table, "Action7", Outcome::Ok);
        count(&mut table, "Action999", error(ErrorCode::Busy));
        count(&mut table, "Action999", Outcome::Ok);
        let counts = counts(&table);
        assert_eq!(counts.len(), NAMES_MAX + 1);
        assert_eq!(counts[0], ("other".to_owned(), 952, 1));
        assert_eq!(counts[1], ("Action7".to_owned(), 2, 0));
    }
}
