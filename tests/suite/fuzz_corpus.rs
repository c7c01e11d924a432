//! What `cargo fuzz` has found stays found: each input of `fuzz/corpus`, and mutations of
//! it, go through the checks of the fuzz targets.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

#[path = "../../fuzz/src/lib.rs"]
mod checks;

/// For each input of the corpus.
const MUTATIONS: usize = 2_000;

/// Bytes that mean something to one of the parsers.
const BYTES: &[u8] = b"\"\\{}[]:,;=@/?#%. -+0123456789eEux\n\t\0\x7f\x80\xc2\xff";

#[test]
fn client_message() {
    replay("client_message", checks::client_message);
}

#[test]
fn bus_event() {
    replay("bus_event", checks::bus_event);
}

#[test]
fn exchange_list() {
    replay("exchange_list", checks::exchange_list);
}

#[test]
fn forwarded() {
    replay("forwarded", checks::forwarded);
}

#[test]
fn broker_url() {
    replay("broker_url", checks::broker_url);
}

#[test]
fn log_batch() {
    replay("log_batch", checks::log_batch);
}

#[test]
fn origin() {
    replay("origin", checks::origin);
}

#[test]
fn websocket() {
    replay("websocket", checks::websocket);
}

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = read_corpus(target);
    assert!(corpus.len() >= 10, "the corpus of {target} is gone");
    let mut rng = SmallRng::seed_from_u64(0);
    for (name, input) in &corpus {
        pass(check, input, name);
        for _ in 0..MUTATIONS {
            let (_, other) = corpus.choose(&mut rng).expect("it is not empty");
            pass(check, &mutated(input, other, &mut rng), name);
        }
    }
}

/// Sorted by name, so that a failure is the same everywhere.
fn read_corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&directory).expect("a corpus");
    let mut corpus: Vec<_> = files
        .map(|file| {
            let file = file.expect("a file");
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read(file.path()).expect("a file"))
        })
        .collect();
    corpus.sort();
    corpus
}

fn pass(check: fn(&[u8]), input: &[u8], name: &str) {
    if catch_unwind(AssertUnwindSafe(|| check(input))).is_err() {
        panic!("from {name}: {:?}", input.escape_ascii().to_string());
    }
}

/// Cut, spliced with another, or with a few bytes changed.
fn mutated(input: &[u8], other: &[u8], rng: &mut SmallRng) -> Vec<u8> {
    let mut mutated = input.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=mutated.len());
        let to = rng.random_range(at..=mutated.len());
        match rng.random_range(0..6) {
            0 => mutated.truncate(at),
            1 => drop(mutated.drain(at..to.min(at + 8))),
            2 => mutated.insert(at, *BYTES.choose(rng).expect("it is not empty")),
            3 if at < mutated.len() => mutated[at] = *BYTES.choose(rng).expect("it is not empty"),
            4 => mutated.extend_from_within(at..to),
            _ => {
                let tail = &other[rng.random_range(0..=other.len())..];
                mutated.splice(at..to, tail.iter().copied());
            }
        }
    }
    mutated
}
