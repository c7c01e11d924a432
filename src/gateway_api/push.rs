//! Pushing events, whoever asks for it: they are checked, handed to the bus, and counted by
//! what became of them.

use super::GatewayApi;
use crate::{
    bus::PublishError,
    event::{EventBody, Exchange, InvalidEvent, OutgoingEvent, Topic},
    ids::random_id,
    metrics::Pushed,
};

/// An event as whoever pushes it wrote it.
#[derive(Debug)]
pub struct NewEvent {
    pub exchange: String,
    pub routing_key: String,
    pub name: String,
    /// JSON text; empty stands for `{}`.
    pub payload: String,
    /// Absent: one is drawn, which says nothing of other pushes.
    pub id: Option<String>,
}

/// Why an event was not pushed, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error(transparent)]
    Invalid(#[from] InvalidEvent),
    #[error(transparent)]
    NotPublished(#[from] PublishError),
}

impl GatewayApi {
    /// Publishes one event, and answers its id once the bus has it.
    pub async fn push(&self, event: NewEvent) -> Result<String, PushError> {
        let (id, checked) = self.check(event);
        let published = self.bus.publish(vec![checked?]).await.pop();
        self.published(published).map(|()| id)
    }

    /// Publishes what is valid of the events, in one go, and tells each one's id and fate by
    /// index.
    pub(super) async fn push_all(
        &self,
        events: Vec<NewEvent>,
    ) -> Vec<(String, Result<(), PushError>)> {
        let mut outgoing = Vec::with_capacity(events.len());
        let mut results: Vec<_> = events
            .into_iter()
            .map(|event| {
                let (id, checked) = self.check(event);
                (id, checked.map(|event| outgoing.push(event)))
            })
            .collect();
        if outgoing.is_empty() {
            return results;
        }
        let mut published = self.bus.publish(outgoing).await.into_iter();
        for (_, result) in results.iter_mut().filter(|(_, result)| result.is_ok()) {
            *result = self.published(published.next());
        }
        results
    }

    /// The event's id, and the event where it is valid.
    fn check(&self, event: NewEvent) -> (String, Result<OutgoingEvent, PushError>) {
        let NewEvent { exchange, routing_key, name, payload, id } = event;
        let deduplicate = id.is_some();
        let id = id.unwrap_or_else(random_id);
        let checked = Exchange::new(&exchange)
            .and_then(|exchange| Topic::new(exchange, &routing_key))
            .and_then(|topic| Ok((topic, EventBody::new(&name, &payload)?)))
            .and_then(|(topic, body)| OutgoingEvent::new(topic, body, &id, self.max_event_size))
            .map(|event| OutgoingEvent { deduplicate, ..event });
        if checked.is_err() {
            self.metrics.events_published[Pushed::Invalid].inc();
        }
        (id, checked.map_err(PushError::from))
    }

    /// Of an event that the bus says nothing of, it is not known where it is.
    fn published(&self, result: Option<Result<(), PublishError>>) -> Result<(), PushError> {
        let result = result.unwrap_or(Err(PublishError::Unconfirmed));
        self.metrics.events_published[(&result).into()].inc();
        Ok(result?)
    }
}

impl From<&Result<(), PublishError>> for Pushed {
    fn from(published: &Result<(), PublishError>) -> Self {
        match published {
            Ok(()) => Self::Ok,
            Err(PublishError::UnknownExchange(_)) => Self::UnknownExchange,
            Err(PublishError::Unavailable(_)) => Self::Unavailable,
            Err(PublishError::Overloaded(_)) => Self::Overloaded,
            Err(PublishError::Unconfirmed) => Self::Unconfirmed,
        }
    }
}
