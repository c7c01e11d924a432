//! From the books to the counts; [`super`] says what each of them means.

mod causes;
mod order;
mod rehearsal;
mod subscription;
mod totals;
mod witness;

use std::{collections::BTreeMap, time::Instant};

pub use self::rehearsal::rehearse;
use self::{
    causes::{Cause, Reason},
    order::Order,
    subscription::{Hearing, Missing},
    witness::around,
};
use super::{
    books::{Books, Heard, Outcome, Send, Session, Told},
    clock,
};
use crate::{client::Gone, verdict::Verdicts};

/// Slow consumer.
const CUT_OFF: u16 = 3008;

/// So many rounds are named.
const ROUNDS_NAMED: usize = 8;

/// When it was, and what.
type Findings = Vec<(Instant, String)>;

#[derive(Default)]
struct Counts {
    lost: Findings,
    duplicated: Findings,
    reordered: Findings,
    told: Vec<(Told, Reason)>,
    without_cause: Findings,
    heard_by_nobody: Findings,
}

pub fn judge(books: &Books, began: Instant, verdicts: &mut Verdicts) {
    let counts = heard(books);
    totals::print(books, &counts, began);
    let rows = [
        ("lost in silence", &counts.lost),
        ("duplicated", &counts.duplicated),
        ("reordered", &counts.reordered),
        ("told without a cause", &counts.without_cause),
        ("refused and heard", &refused_and_heard(books)),
        ("wrong NOT_FOUND", &wrongly_not_found(books)),
        ("OK that nobody heard and nobody was told of", &counts.heard_by_nobody),
        ("SendEvent and DisconnectSession OK, in vain", &sent_in_vain(books)),
        ("sessions cut off while reading", &ended(books, true)),
        ("sessions ended without a cause", &ended(books, false)),
        ("tagged actions unanswered", &books.unanswered),
        ("deaf after a round of faults", &books.deaf),
        ("surprises", &books.surprises),
    ];
    for (what, findings) in rows {
        let reached = match findings.iter().min_by_key(|(at, _)| *at) {
            None => "0".into(),
            Some((at, first)) => {
                let rounds = by_round(books, began, findings);
                let at = clock(began, *at);
                format!("{}\n{rounds}    the first, at {at}: {first}", findings.len())
            }
        };
        verdicts.judge(what, "0", reached, findings.is_empty());
    }
}

/// How many there were in which round, a line each.
fn by_round(books: &Books, began: Instant, findings: &Findings) -> String {
    let mut rounds: BTreeMap<Option<usize>, usize> = BTreeMap::new();
    for (at, _) in findings {
        let round = books.rounds.iter().position(|round| (round.from..=round.to).contains(at));
        *rounds.entry(round).or_default() += 1;
    }
    let mut lines = String::new();
    for (round, count) in rounds.iter().take(ROUNDS_NAMED) {
        let round = round.map(|number| &books.rounds[number]);
        let round = round.map_or_else(
            || "in no round".into(),
            |round| format!("in the round of {}, {}", clock(began, round.from), round.faults),
        );
        lines += &format!("    {count} {round}\n");
    }
    if rounds.len() > ROUNDS_NAMED {
        lines += &format!("    and in {} further rounds\n", rounds.len() - ROUNDS_NAMED);
    }
    lines
}

/// What subscriptions heard, and did not.
fn heard(books: &Books) -> Counts {
    let order = Order::of(books);
    let mut counts = Counts::default();
    let mut anybody = vec![false; books.events.len()];
    let mut hearings = Vec::new();
    for subscription in &books.subscriptions {
        let hearing = Hearing::of(subscription);
        for number in hearing.events() {
            anybody[number] = true;
        }
        hearings.push(hearing);
    }

    // By number: whether somebody should have heard it and did not, and was told.
    let nobody = vec![false; anybody.len()];
    let (mut missed, mut told) = (nobody.clone(), nobody);
    for (subscription, hearing) in books.subscriptions.iter().zip(&hearings) {
        let finding = |number: usize, place: Option<usize>| -> (Instant, String) {
            let around = around(books, subscription, place.unwrap_or(number));
            (books.events[number].began, format!("event {number}, {around}"))
        };
        counts.duplicated.extend(hearing.twice.iter().map(|number| finding(*number, None)));
        let late = hearing.out_of_order(&order);
        counts.reordered.extend(late.into_iter().map(|number| finding(number, None)));
        let missing = hearing.missing(books, &order, &anybody);
        for one in missing.iter().filter(|one| one.owed) {
            missed[one.number] = true;
            if hearing.is_told_of(one) {
                told[one.number] = true;
            } else {
                counts.lost.push(finding(one.number, hearing.before(one)));
            }
        }
        for gap in &hearing.gaps {
            let behind: Vec<&Missing> = missing.iter().filter(|one| one.is_around(gap)).collect();
            let cause = Cause::of(books, subscription.topic, &gap.told, &behind, &anybody);
            let reason = Reason { cause, missed: !behind.is_empty() };
            if cause.is_none() {
                let around = witness::around_told(books, subscription, &gap.told);
                let missed = if reason.missed { "events were missed" } else { "none was missed" };
                let said = gap.told.word.name();
                counts.without_cause.push((gap.told.at, format!("{said}, {missed}, {around}")));
            }
            counts.told.push((gap.told, reason));
        }
    }
    for number in (0..anybody.len()).filter(|n| missed[*n] && !told[*n] && !anybody[*n]) {
        let event = &books.events[number];
        counts.heard_by_nobody.push((event.began, format!("event {number} of {}", event.topic)));
    }
    for number in order::in_two_orders(&hearings) {
        let event = &books.events[number];
        let what = format!("event {number} of {}, by two subscriptions", event.topic);
        counts.reordered.push((event.began, what));
    }
    counts
}

fn refused_and_heard(books: &Books) -> Findings {
    let heard = books.subscriptions.iter().flat_map(|subscription| &subscription.heard);
    let mut numbers: Vec<_> = heard
        .filter_map(|heard| match heard {
            Heard::Event(number) => Some(*number),
            Heard::Told(_) | Heard::Back(..) => None,
        })
        .filter(|number| {
            books.events.get(*number).is_some_and(|event| event.outcome == Outcome::Refused)
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let found = |number: &usize| {
        let event = &books.events[*number];
        (event.began, format!("event {number} of {}", event.topic))
    };
    numbers.iter().map(found).collect()
}

fn wrongly_not_found(books: &Books) -> Findings {
    let sends = books.sends.iter().filter(|send| send.outcome == Outcome::NotFound);
    let found = |send: &Send| {
        let (session, at) = (&books.sessions[send.session], send.ended?);
        (at < session.alive).then(|| (at, format!("{} on replica {}", session.id, session.replica)))
    };
    sends.filter_map(found).collect()
}

fn sent_in_vain(books: &Books) -> Findings {
    let sends = books.sends.iter().enumerate().filter(|(_, send)| send.outcome == Outcome::Ok);
    let found = |(number, send): (usize, &Send)| {
        let (session, at) = (&books.sessions[send.session], send.ended?);
        let in_vain = at < session.alive && (send.closes || !session.sent.contains(&number));
        let what = if send.closes { "closed" } else { "sent an event" };
        in_vain.then(|| (at, format!("{what}: {} on replica {}", session.id, session.replica)))
    };
    sends.filter_map(found).collect()
}

/// Sessions that were cut off, or the others that nothing explains.
fn ended(books: &Books, cut_off: bool) -> Findings {
    let found = |session: &Session| {
        let (at, gone) = session.ended.as_ref()?;
        let is_cut_off = matches!(gone, Gone::Closed(CUT_OFF));
        let what = format!("{} on replica {}: {gone}", session.id, session.replica);
        (is_cut_off == cut_off && (cut_off || !session.explained)).then_some((*at, what))
    };
    books.sessions.iter().filter_map(found).collect()
}
