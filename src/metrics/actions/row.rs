//! What is counted of the actions of one name. Counted without a lock, but for the last error.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;

use super::super::recent::{Quantiles, Recent};
use crate::{text::cut, time::UnixTime};

/// Of an error's text, in characters.
const ERROR_MAX: usize = 300;

#[derive(Debug, Default)]
pub(super) struct Row {
    count: AtomicU64,
    errors: AtomicU64,
    last_error: Mutex<Option<LastError>>,
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
pub(crate) struct Over<'a> {
    pub failure: Option<Failure<'a>>,
    pub took: Duration,
    /// Since the start.
    pub minute: u64,
}

/// Why an action failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure<'a> {
    pub code: &'static str,
    /// For the operator.
    pub cause: Option<&'a str>,
}

impl Row {
    pub(super) fn count(&self, over: Over<'_>) {
        self.count.fetch_add(1, Relaxed);
        self.recent.record(over.minute, over.took);
        if let Some(failure) = over.failure {
            self.errors.fetch_add(1, Relaxed);
            *self.last_error.lock() = Some(LastError { text: failure.text(), at: UnixTime::now() });
        }
    }

    /// Another row that has no place any more.
    pub(super) fn take_in(&self, row: &Self) {
        self.count.fetch_add(row.count.load(Relaxed), Relaxed);
        self.errors.fetch_add(row.errors.load(Relaxed), Relaxed);
        self.recent.take_in(&row.recent);
    }

    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// `None` where nothing was counted.
    pub(super) fn read(&self, name: &str, minute: u64) -> Option<ActionRow> {
        let count = self.count.load(Relaxed);
        (count > 0).then(|| ActionRow {
            action: name.into(),
            count,
            errors: self.errors.load(Relaxed),
            last_error: self.last_error.lock().clone(),
            latency: self.recent.quantiles(minute),
        })
    }
}

impl Failure<'_> {
    fn text(&self) -> Box<str> {
        let code = self.code;
        let whole = self.cause.map_or_else(|| code.into(), |cause| format!("{code}: {cause}"));
        cut(&whole, ERROR_MAX).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_told_with_its_cause() {
        let (row, long) = (Row::default(), "é".repeat(1_000));
        let over = |failure| Over { failure, took: Duration::from_millis(1), minute: 0 };
        let last_error = || row.read("Fail", 0).and_then(|row| row.last_error);
        for cause in ["first", &long, "last"] {
            row.count(over(Some(Failure { code: "InternalError", cause: Some(cause) })));
            let whole = format!("InternalError: {cause}");
            assert_eq!(*last_error().expect("an error").text, *cut(&whole, ERROR_MAX));
        }
        row.count(over(None));
        assert_eq!(&*last_error().expect("an error").text, "InternalError: last");
    }
}
