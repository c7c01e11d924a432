//! What a subscription heard around some place, for whoever looks for the fault.

use super::super::{
    books::{Books, Heard, Subscription, Told},
    positions,
};

/// So much before the place and behind it.
const AROUND: usize = 6;

/// Around this event.
pub fn around(books: &Books, subscription: &Subscription, number: usize) -> String {
    // Where it was heard twice, the second time.
    let place = subscription.heard.iter().rposition(|heard| *heard == Heard::Event(number));
    describe(books, subscription, place)
}

pub fn around_told(books: &Books, subscription: &Subscription, told: &Told) -> String {
    let place = subscription.heard.iter().position(|heard| *heard == Heard::Told(*told));
    let look = told.place.map(|place| {
        let head = told.head.and_then(|number| books.heads[number]);
        format!("; it stood behind {place}, and the log then: {head:?}")
    });
    describe(books, subscription, place) + &look.unwrap_or_default()
}

fn describe(books: &Books, subscription: &Subscription, place: Option<usize>) -> String {
    let Subscription { client, session, topic, heard, .. } = subscription;
    let session = &books.sessions[*session];
    let place = place.unwrap_or(heard.len());
    let range = place.saturating_sub(AROUND)..heard.len().min(place + AROUND + 1);
    let lines: Vec<_> = range.map(|at| describe_one(books, &heard[at], at == place)).collect();
    format!(
        "client {client}, {topic}, last session {} on replica {}: … {} …",
        session.id,
        session.replica,
        lines.join(", "),
    )
}

fn describe_one(books: &Books, heard: &Heard, is_it: bool) -> String {
    let what = match heard {
        Heard::Event(number) => {
            let position = books.events[*number].position.as_deref().and_then(positions::read);
            let (offset, place) = position.unwrap_or_default();
            format!("{number} at {offset}:{place}")
        }
        Heard::Told(told) => format!("[{} by replica {}]", told.word.name(), told.replica),
        Heard::Back(session, place) => {
            let (session, place) = (&books.sessions[*session], place.unwrap_or_default());
            format!("[back behind {place} on replica {} as {}]", session.replica, session.id)
        }
    };
    if is_it { format!("> {what} <") } else { what }
}
