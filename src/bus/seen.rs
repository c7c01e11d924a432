//! The ids that callers gave their events, as far as a reader of a log remembers them: by these
//! it knows an event that was pushed again and delivers it once.
//!
//! An id is seen again where it is among the last [`REMEMBERED`] before it in the log, repeated
//! ones counted like others. So it is the log alone that decides, and alike for all who read it;
//! whoever began to read later knows fewer of these, and at worst delivers again.

use hashbrown::HashTable;
use twox_hash::XxHash3_128;

/// Ids of an exchange, a promise of the README.
const REMEMBERED: usize = 100_000;

/// Takes about 3 MB once so many ids have come, and nothing before the first.
#[derive(Debug)]
pub(super) struct SeenIds {
    /// A ring of hashes, the oldest at `next` once it is full. Ids of any length take as much,
    /// and 128 bits are no other's by chance.
    hashes: Vec<u128>,
    next: usize,
    /// Where in the ring each hash stands last.
    places: HashTable<u32>,
    /// Drawn, so that nobody can look for two ids with one hash.
    seed: u64,
    most: usize,
}

impl Default for SeenIds {
    fn default() -> Self {
        Self::new(REMEMBERED)
    }
}

impl SeenIds {
    fn new(most: usize) -> Self {
        let (hashes, places) = Default::default();
        Self { hashes, next: 0, places, seed: rand::random(), most }
    }

    /// Remembers the next id of the log. True where it is new, as a set says it.
    pub(super) fn insert(&mut self, id: &[u8]) -> bool {
        let hash = XxHash3_128::oneshot_with_seed(self.seed, id);
        // What is forgotten for this very one is still among the last.
        let is_new = self.find(hash).is_none();
        self.forget_oldest();
        let place = self.next as u32;
        match self.hashes.get_mut(self.next) {
            Some(oldest) => *oldest = hash,
            None => self.hashes.push(hash),
        }
        self.next = (self.next + 1) % self.most;
        match self.find(hash) {
            Some(last) => *last = place,
            None => self.insert_place(hash, place),
        }
        is_new
    }

    /// What comes is of another log, or nobody knows what was before it.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.most);
    }

    fn find(&mut self, hash: u128) -> Option<&mut u32> {
        let Self { hashes, places, .. } = self;
        places.find_mut(short(hash), |place| hashes[*place as usize] == hash)
    }

    fn insert_place(&mut self, hash: u128, place: u32) {
        let Self { hashes, places, .. } = self;
        places.insert_unique(short(hash), place, |place| short(hashes[*place as usize]));
    }

    /// Where the ring is full; it stands there until it is overwritten.
    fn forget_oldest(&mut self) {
        let Some(oldest) = self.hashes.get(self.next) else { return };
        let is_last = |place: &u32| *place as usize == self.next;
        if let Ok(entry) = self.places.find_entry(short(*oldest), is_last) {
            entry.remove();
        }
    }
}

/// As much as a table needs.
fn short(hash: u128) -> u64 {
    hash as u64
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use rand::{Rng, SeedableRng, rngs::SmallRng};

    use super::*;

    fn come(seen: &mut SeenIds, ids: impl IntoIterator<Item = u32>) {
        for id in ids {
            is_repeated(seen, id);
        }
    }

    fn is_repeated(seen: &mut SeenIds, id: u32) -> bool {
        !seen.insert(id.to_string().as_bytes())
    }

    #[test]
    fn an_id_is_known_as_long_as_it_is_among_the_last() {
        for most in [1, 2, 10] {
            let mut seen = SeenIds::new(most);
            assert!(!is_repeated(&mut seen, 0));
            come(&mut seen, 1..most as u32);
            assert!(is_repeated(&mut seen, 0), "{most}");
            // From its second coming on it counts anew.
            come(&mut seen, 100..100 + most as u32 - 1);
            assert!(is_repeated(&mut seen, 0), "{most}");
            come(&mut seen, 200..200 + most as u32);
            assert!(!is_repeated(&mut seen, 0), "{most}");
        }
    }

    #[test]
    fn it_tells_what_a_list_of_the_last_would_tell() {
        let mut rng = SmallRng::seed_from_u64(13);
        for most in [1, 2, 3, 16, 100] {
            let (mut seen, mut last) = (SeenIds::new(most), VecDeque::new());
            for _ in 0..10_000 {
                let id = rng.random_range(0..2 * most as u32);
                assert_eq!(is_repeated(&mut seen, id), last.contains(&id), "{most}: {id}");
                last.push_back(id);
                last.drain(..last.len().saturating_sub(most));
            }
        }
    }

    #[test]
    fn nothing_is_known_of_what_was_forgotten() {
        let mut seen = SeenIds::new(10);
        come(&mut seen, 0..15);
        seen.forget();
        assert!((0..15).all(|id| !is_repeated(&mut seen, id)));
    }

    #[test]
    fn whoever_began_later_repeats_and_withholds_nothing() {
        let mut rng = SmallRng::seed_from_u64(14);
        let (mut early, mut late) = (SeenIds::new(50), SeenIds::new(50));
        for n in 0..10_000 {
            let id = rng.random_range(0..100);
            let repeated = is_repeated(&mut early, id);
            if n < 100 {
                continue;
            }
            let too = is_repeated(&mut late, id);
            assert!(repeated || !too, "{n}");
            assert!(n < 150 || repeated == too, "{n}: all that counts is known");
        }
    }

    #[test]
    fn it_takes_nothing_at_first_and_three_megabytes_at_most() {
        let mut seen = SeenIds::default();
        assert_eq!(bytes(&seen), 0);
        come(&mut seen, 0..5 * REMEMBERED as u32);
        let bytes = bytes(&seen);
        assert!(bytes < 3_600_000, "{bytes}");
    }

    fn bytes(seen: &SeenIds) -> usize {
        seen.hashes.capacity() * size_of::<u128>() + seen.places.allocation_size()
    }
}
