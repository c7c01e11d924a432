//! One call of events on its way to the publishers: they gather by exchange, and each has its
//! own result, in its place.

use std::collections::{HashMap, hash_map::Entry};

use tokio::time::Instant;

use super::publisher::{Admitted, Publisher};
use crate::{
    bus::PublishError,
    event::{Exchange, OutgoingEvent},
};

/// What one call pushes to one exchange, and where in the call it stands.
struct Part<'a> {
    publisher: &'a Publisher,
    admitted: Vec<Admitted>,
    places: Vec<usize>,
}

/// Publishes the events in order; the results are in the same one.
pub(super) async fn push<'a>(
    events: Vec<OutgoingEvent>,
    publisher: impl Fn(&Exchange) -> Option<&'a Publisher>,
    deadline: Instant,
) -> Vec<Result<(), PublishError>> {
    let mut results = vec![Ok(()); events.len()];
    let mut parts = HashMap::new();
    // All are admitted before the first one waits: closing does not come between them.
    for (place, event) in events.into_iter().enumerate() {
        if let Err(refused) = admit(&mut parts, place, event, &publisher) {
            results[place] = Err(refused);
        }
    }
    let pending: Vec<_> = parts
        .into_values()
        .map(|Part { publisher, admitted, places }| (publisher.enqueue(admitted, deadline), places))
        .collect();
    for (pending, places) in pending {
        for (place, outcome) in places.into_iter().zip(pending.outcomes(deadline).await) {
            results[place] = outcome.map_err(Into::into);
        }
    }
    results
}

fn admit<'a>(
    parts: &mut HashMap<Exchange, Part<'a>>,
    place: usize,
    event: OutgoingEvent,
    publisher: impl Fn(&Exchange) -> Option<&'a Publisher>,
) -> Result<(), PublishError> {
    let part = match parts.entry(event.topic.exchange.clone()) {
        Entry::Occupied(part) => part.into_mut(),
        Entry::Vacant(vacant) => {
            let Some(publisher) = publisher(vacant.key()) else {
                return Err(PublishError::UnknownExchange(vacant.into_key()));
            };
            vacant.insert(Part { publisher, admitted: Vec::new(), places: Vec::new() })
        }
    };
    part.admitted.push(part.publisher.admit_event(event)?);
    part.places.push(place);
    Ok(())
}
