//! Actions by name, for the console. Names are the clients' to choose, so there are only so
//! many rows. Those that succeeded once are the application's ([`names`]); names that only
//! fail, which anybody can invent, have rows of their own and push out each other.

mod names;
mod row;

use std::collections::VecDeque;

use parking_lot::Mutex;

pub(crate) use self::row::{ActionRow, LastError};
pub(super) use self::row::{Failure, Over};
use self::{names::Names, row::Row};
use super::recent::{Quantiles, Recent};

/// More actions than an application has, few enough to look through.
const NAMES_MAX: usize = 50;
/// Of names that only fail.
const FAILING_MAX: usize = 20;
const NAME_LENGTH_MAX: usize = 64;

/// What the rest is counted under.
const OTHER: &str = "other";

type Named = (Box<str>, Box<Row>);

#[derive(Debug, Default)]
pub(super) struct ActionTable {
    names: Names,
    /// That never succeeded; the one that has not been seen for longest comes first. Whoever
    /// adds a name holds this.
    failing: Mutex<VecDeque<Named>>,
    other: Row,
}

impl ActionTable {
    /// `name`: `None` where the message had none.
    pub(super) fn count(&self, name: Option<&str>, over: Over<'_>) {
        match name.and_then(|name| self.names.get(name)) {
            Some(row) => row.count(over),
            None => self.count_rare(name, over),
        }
    }

    /// One of a name that never succeeded before, or has no row of its own.
    fn count_rare(&self, name: Option<&str>, over: Over<'_>) {
        let Some(name) = name.filter(|name| is_presentable(name)) else {
            return self.other.count(over);
        };
        let mut failing = self.failing.lock();
        if let Some(row) = self.names.get(name) {
            return row.count(over);
        }
        let row = take(&mut failing, name).unwrap_or_default();
        row.count(over);
        if over.failure.is_none() {
            self.names.add(name, row).unwrap_or_else(|row| self.other.take_in(&row));
            return;
        }
        failing.push_back((name.into(), row));
        if failing.len() > FAILING_MAX
            && let Some((_, displaced)) = failing.pop_front()
        {
            self.other.take_in(&displaced);
        }
    }

    pub(super) fn rows(&self, minute: u64) -> Vec<ActionRow> {
        let mut rows = Vec::new();
        self.for_each(|name, row| rows.extend(row.read(name, minute)));
        rows.sort_by(|a, b| (b.count, &a.action).cmp(&(a.count, &b.action)));
        rows
    }

    /// Of all names together.
    pub(super) fn latency(&self, minute: u64) -> Option<Quantiles> {
        let all = Recent::default();
        self.for_each(|_, row| all.take_in(row.recent()));
        all.quantiles(minute)
    }

    fn for_each(&self, mut look: impl FnMut(&str, &Row)) {
        let failing = self.failing.lock();
        self.names.iter().for_each(|(name, row)| look(name, row));
        failing.iter().for_each(|(name, row)| look(name, row));
        look(OTHER, &self.other);
    }
}

fn take(failing: &mut VecDeque<Named>, name: &str) -> Option<Box<Row>> {
    let at = failing.iter().position(|(known, _)| **known == *name)?;
    failing.remove(at).map(|(_, row)| row)
}

fn is_presentable(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
    (1..=NAME_LENGTH_MAX).contains(&name.len()) && name.bytes().all(allowed) && name != OTHER
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OK: Option<Failure<'_>> = None;
    const FAILED: Option<Failure<'_>> = Some(Failure { code: "InternalError", cause: None });

    fn count(table: &ActionTable, name: &str, failure: Option<Failure<'_>>) {
        table.count(Some(name), Over { failure, took: Duration::from_millis(1), minute: 0 });
    }

    fn counts(table: &ActionTable) -> Vec<(String, u64, u64)> {
        let row = |row: ActionRow| (row.action.into(), row.count, row.errors);
        table.rows(0).into_iter().map(row).collect()
    }

    #[test]
    fn a_name_that_only_fails_keeps_what_it_had_when_it_succeeds() {
        let table = ActionTable::default();
        count(&table, "Hello", FAILED);
        assert_eq!(counts(&table), [("Hello".to_owned(), 1, 1)]);
        for number in 0..FAILING_MAX {
            count(&table, &format!("Fails{number}"), FAILED);
            count(&table, "Hello", OK);
        }
        assert_eq!(counts(&table)[0], ("Hello".to_owned(), 21, 1));
        assert_eq!(table.rows(0).len(), FAILING_MAX + 1);
    }

    #[test]
    fn names_that_only_fail_displace_the_oldest_of_themselves() {
        let table = ActionTable::default();
        for number in 0..NAMES_MAX {
            count(&table, &format!("Good{number}"), OK);
        }
        for number in 0..1_000 {
            count(&table, &format!("Invented{number}"), FAILED);
            count(&table, "Broken", FAILED);
        }
        let counts = counts(&table);
        let named =
            |start: &str| counts.iter().filter(|(name, ..)| name.starts_with(start)).count();
        assert_eq!(counts.len(), NAMES_MAX + FAILING_MAX + 1);
        assert_eq!((named("Good"), named("Invented")), (NAMES_MAX, FAILING_MAX - 1));
        assert_eq!(counts[0], ("Broken".to_owned(), 1_000, 1_000));
        assert!(table.latency(1).is_some() && table.latency(2).is_none());
        assert_eq!(counts[1], ("other".to_owned(), 981, 981));
        assert!(counts.iter().any(|(name, ..)| name == "Invented999"));
    }

    #[test]
    fn strange_names_have_no_row() {
        let table = ActionTable::default();
        let long = "x".repeat(65);
        for name in ["", "a b", "<b>", "é", "other", &long] {
            count(&table, name, OK);
            count(&table, name, FAILED);
        }
        table.count(None, Over { failure: FAILED, took: Duration::from_millis(1), minute: 0 });
        assert_eq!(counts(&table), [("other".to_owned(), 13, 7)]);
    }

    #[test]
    fn there_are_only_so_many_rows() {
        let table = ActionTable::default();
        for number in 0..1_000 {
            count(&table, &format!("Action{number}"), OK);
        }
        count(&table, "Action7", OK);
        count(&table, "Action999", FAILED);
        count(&table, "Action999", OK);
        let counts = counts(&table);
        assert_eq!(counts.len(), NAMES_MAX + 1);
        assert_eq!(counts[0], ("other".to_owned(), 952, 1));
        assert_eq!(counts[1], ("Action7".to_owned(), 2, 0));
    }

    #[test]
    fn threads_that_meet_at_a_new_name_share_its_row() {
        for _ in 0..100 {
            let table = ActionTable::default();
            std::thread::scope(|threads| {
                for failure in [OK, FAILED, OK, FAILED] {
                    let table = &table;
                    threads.spawn(move || (0..10).for_each(|_| count(table, "Hello", failure)));
                }
            });
            assert_eq!(counts(&table), [("Hello".to_owned(), 40, 20)]);
        }
    }
}
