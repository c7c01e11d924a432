//! The rows of the application's own actions: a few names, each there for as long as the
//! process runs. So a row is found, and counted in, without a lock.

use std::sync::OnceLock;

use twox_hash::XxHash3_64;

use super::{NAMES_MAX, Named, row::Row};

/// So many that most are empty, and a search ends soon.
const PLACES: usize = 128;
const _: () = assert!(PLACES.is_power_of_two() && PLACES > 2 * NAMES_MAX);

/// A hash table that only grows. A name stands in its place, or in the next that was empty.
#[derive(Debug)]
pub(super) struct Names(Box<[OnceLock<Named>; PLACES]>);

impl Default for Names {
    fn default() -> Self {
        Self(Box::new([const { OnceLock::new() }; PLACES]))
    }
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<&Row> {
        self.places(name)
            .map_while(OnceLock::get)
            .find_map(|(known, row)| (**known == *name).then_some(&**row))
    }

    /// Adds a name that is not here. Gives the row back where there are as many as there may
    /// be. For one caller at a time.
    pub(super) fn add(&self, name: &str, row: Box<Row>) -> Result<(), Box<Row>> {
        if self.iter().count() >= NAMES_MAX {
            return Err(row);
        }
        let mut named: Named = (name.into(), row);
        for place in self.places(name) {
            match place.set(named) {
                Ok(()) => return Ok(()),
                Err(taken) => named = taken,
            }
        }
        Err(named.1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.0.iter().filter_map(OnceLock::get).map(|(name, row)| (&**name, &**row))
    }

    /// Where the name may stand, in the order of the search.
    fn places(&self, name: &str) -> impl Iterator<Item = &OnceLock<Named>> {
        let first = XxHash3_64::oneshot(name.as_bytes()) as usize;
        (0..PLACES).map(move |step| &self.0[first.wrapping_add(step) % PLACES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_and_no_other() {
        let names = Names::default();
        for number in 0..NAMES_MAX {
            assert!(names.add(&format!("Action{number}"), Box::default()).is_ok());
        }
        assert!(names.add("more", Box::default()).is_err());
        for number in 0..NAMES_MAX {
            let name = format!("Action{number}");
            let row = names.get(&name).expect("a row");
            assert!(names.iter().any(|(known, of)| known == name && std::ptr::eq(of, row)));
        }
        assert!((0..1_000).all(|number| names.get(&format!("Other{number}")).is_none()));
    }
}
