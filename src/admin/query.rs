//! The query of a URL: what is looked for, and which page of it.

use std::{borrow::Cow, cmp::Ordering};

use super::answer::Refusal;

/// Rows on one page of a table.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;

/// A longer one finds nothing that is shown.
const SEARCH_MAX: usize = 256;

pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// A part of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub offset: usize,
    pub limit: usize,
}

impl<'a> Query<'a> {
    pub(crate) fn read(query: Option<&'a str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect())
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }

    /// A text to look for, in lower case.
    pub(crate) fn needle(&self, name: &str) -> Result<String, Refusal> {
        let text = self.text(name);
        if text.len() > SEARCH_MAX {
            return Err(Refusal::bad_request(format!("{name} is longer than {SEARCH_MAX} bytes")));
        }
        Ok(text.to_ascii_lowercase())
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Refusal::bad_request(format!("{name} is not a number of at most 64 bits"))
            }),
        }
    }

    pub(crate) fn page(&self) -> Result<Page, Refusal> {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let limit = self.number("limit")?.map_or(LIMIT, size).min(LIMIT_MAX);
        Ok(Page { offset: self.number("offset")?.map_or(0, size), limit })
    }
}

impl Page {
    /// The page of these rows in their order; the others are not put in order.
    pub(crate) fn of<T>(self, rows: &mut Vec<T>, order: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
        let end = self.offset.saturating_add(self.limit).min(rows.len());
        if end < rows.len() {
            rows.select_nth_unstable_by(end, &order);
            rows.truncate(end);
        }
        rows.sort_unstable_by(order);
        rows.split_off(self.offset.min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let rows = [5, 3, 9, 1, 7, 2, 8, 0, 6, 4];
        for limit in 1..12 {
            let page = |offset| Page { offset, limit }.of(&mut rows.to_vec(), Ord::cmp);
            let all: Vec<_> = (0..12).step_by(limit).flat_map(page).collect();
            assert_eq!(all, Vec::from_iter(0..10), "{limit}");
        }
        let beyond = Page { offset: usize::MAX, limit: 1 };
        assert!(beyond.of(&mut rows.to_vec(), Ord::cmp).is_empty());
    }
}
