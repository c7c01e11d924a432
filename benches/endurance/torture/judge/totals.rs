//! What is counted without a verdict: how much there was of everything, and why who was told.

use std::{collections::BTreeMap, time::Instant};

use super::{
    super::{
        books::{Books, Outcome},
        clock,
    },
    Counts,
};

pub fn print(books: &Books, counts: &Counts, began: Instant) {
    print_events(books, counts);
    print_faults(books);
    print_resumes(books);
    print_told(books, counts, began);
    println!();
}

fn print_events(books: &Books, counts: &Counts) {
    let outcomes = |outcome| books.events.iter().filter(|event| event.outcome == outcome).count();
    let [ok, refused] = [Outcome::Ok, Outcome::Refused].map(outcomes);
    let heard: usize = books.subscriptions.iter().map(|one| one.heard.len()).sum();
    println!(
        "\n{} events pushed: {ok} taken, {refused} refused, {} neither; heard {heard} times by {} \
         subscriptions of {} sessions, told {} times; {} events sent to sessions, {} actions",
        books.events.len(),
        books.events.len() - ok - refused,
        books.subscriptions.len(),
        books.sessions.len(),
        counts.told.len(),
        books.sends.len(),
        books.actions,
    );
}

fn print_faults(books: &Books) {
    let mut by_victim: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for ((victim, name), count) in &books.faults {
        by_victim.entry(victim).or_default().push((count, name));
    }
    for (victim, kinds) in by_victim {
        let all: usize = kinds.iter().map(|(count, _)| **count).sum();
        let kinds: Vec<_> = kinds.iter().map(|(count, name)| format!("{count} × {name}")).collect();
        println!("{all} faults {victim}: {}", kinds.join(", "));
    }
}

fn print_resumes(books: &Books) {
    let results = books.resumes.iter().map(|(result, count)| format!("{count} × {result}"));
    let results: Vec<_> = results.collect();
    println!("resumes: {}; {} events replayed", results.join(", "), books.replayed);
}

/// What was said and why, in which round of faults, how often, and how often without need.
fn print_told(books: &Books, counts: &Counts, began: Instant) {
    let mut rows: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for (told, reason) in &counts.told {
        let cause = reason.cause.map_or("NO CAUSE", |cause| cause.name());
        let round = books.rounds.iter().find(|round| (round.from..=round.to).contains(&told.at));
        let round = round.map_or_else(
            || "no fault".to_owned(),
            |round| format!("{} {}", clock(began, round.from), round.faults),
        );
        let (all, needless) = rows.entry((told.word, cause, round)).or_default();
        *all += 1;
        *needless += usize::from(reason.is_without_need());
    }
    let needless: usize = rows.values().map(|(_, needless)| needless).sum();
    let explained = needless - counts.without_cause.len();
    println!(
        "told: {} times, {needless} without need, of which explained {explained}",
        counts.told.len()
    );
    for ((word, cause, round), (all, needless)) in rows {
        println!(
            "    {all} × {}: {cause} ({needless} without need; under way: {round})",
            word.name()
        );
    }
}
