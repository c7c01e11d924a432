//! Gathers what is wrong with a configuration, and what is worth a note. Whoever asks for
//! a value gets `None` where a problem was told instead.

use super::{ConfigErrors, Note, given::Given, units};
use crate::net::inherited::{Inherited, InvalidSockets};

/// More is a typing error rather than a wish.
const COUNT_MAX: u32 = 10_000_000;

#[derive(Default)]
pub(super) struct Problems {
    list: Vec<String>,
    notes: Vec<Note>,
}

impl Problems {
    pub(super) fn size(&mut self, given: &Given, least: &str, most: &str) -> Option<usize> {
        let bytes = self.parse(given, |text| units::size_within(text, least, most))?;
        usize::try_from(bytes).ok()
    }

    pub(super) fn count(&mut self, given: &Given) -> Option<usize> {
        self.parse(given, |text| units::count_within(text, 1..=COUNT_MAX))
    }

    pub(super) fn parse<T>(
        &mut self,
        given: &Given,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(given.text.trim()).map_err(|problem| self.add(given, &problem)).ok()
    }

    /// The outer `None` is a problem, the inner one stands for "not given".
    pub(super) fn parse_optional<T>(
        &mut self,
        given: Option<&Given>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        given.map_or(Some(None), |given| self.parse(given, parse).map(Some))
    }

    /// A flag that may be repeated, its values separated by commas too.
    pub(super) fn parse_list<T>(
        &mut self,
        given: &[Given],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let before = self.list.len();
        let mut values = Vec::new();
        for given in given {
            if given.text.trim().is_empty() {
                self.add(given, "the value is empty; write one, or leave it out");
            }
            for text in given.text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                match parse(text) {
                    Ok(value) => values.push(value),
                    Err(problem) => self.add(given, &problem),
                }
            }
        }
        (self.list.len() == before).then_some(values)
    }

    /// None where there is something wrong with one of them.
    pub(super) fn sockets(&mut self, handed: Result<Inherited, InvalidSockets>) -> Inherited {
        handed.unwrap_or_else(|InvalidSockets(problems)| {
            self.list.extend(problems);
            Inherited::default()
        })
    }

    /// Something is missing.
    pub(super) fn missing<T>(&mut self, problem: &str) -> Option<T> {
        self.list.push(problem.into());
        None
    }

    /// Something is wrong with what was given.
    pub(super) fn add(&mut self, given: &Given, problem: &str) {
        self.list.push(format!("{}: {problem}", given.name));
    }

    /// Those of another, too.
    pub(super) fn append(&mut self, mut other: Self) {
        self.list.append(&mut other.list);
    }

    pub(super) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    pub(super) fn finish<T>(self, config: Option<T>) -> Result<T, ConfigErrors> {
        config.filter(|_| self.list.is_empty()).ok_or(ConfigErrors(self.list))
    }
}
