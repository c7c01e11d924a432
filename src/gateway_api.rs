//! The `Gateway` service: how the application pushes events, and reaches single sessions.
//!
//! It knows the bus and the peers only: even a single replica publishes through the bus,
//! so that there is one path for every event.

mod callers;
mod connection;
mod load;
pub mod peers;
mod serve;

use std::sync::Arc;

use prost::Message;
use tonic::{Code, Request, Response, Status};

use self::peers::{PeerError, Peers};
pub use self::serve::serve;
use crate::{
    bus::{EventBus, PublishError},
    event::{EventBody, Exchange, InvalidEvent, OutgoingEvent, Topic},
    ids::{SessionId, random_id},
    metrics::{Metrics, Pushed},
    proto::{self, gateway_server::Gateway},
    protocol::Close,
    session::directory::SessionCommand,
};

/// What one `PushEvents` may hold, as its proto file promises.
const EVENTS_MAX: usize = 1_000;
const EVENTS_BYTES_MAX: usize = 4 << 20;

/// What an application may ask of the gateway.
#[derive(Clone)]
pub struct GatewayApi {
    pub bus: Arc<dyn EventBus>,
    pub peers: Peers,
    /// Of an event's JSON, in bytes.
    pub max_event_size: usize,
    pub metrics: Arc<Metrics>,
}

impl GatewayApi {
    /// Publishes one event, and answers its id once the bus has it.
    pub async fn push_event_now(&self, event: proto::PushEventRequest) -> Result<String, Status> {
        let pushed = self.push(vec![event]).await.pop();
        let lost = || Status::internal("the bus lost track of the event");
        let (event_id, result) = pushed.ok_or_else(lost)?;
        result.map(|()| event_id)
    }

    /// Publishes what is valid of the events, in one go, and tells each one's fate by
    /// index.
    async fn push(
        &self,
        events: Vec<proto::PushEventRequest>,
    ) -> Vec<(String, Result<(), Status>)> {
        let mut outgoing = Vec::with_capacity(events.len());
        let count = |fate: Pushed| {
            self.metrics.events_published[fate].inc();
        };
        let mut results: Vec<_> = events
            .into_iter()
            .map(|mut event| {
                let id = event.event_id.take().unwrap_or_else(random_id);
                let checked = self.check(&event, &id).map(|event| outgoing.push(event));
                (id, checked.inspect_err(|_| count(Pushed::Invalid)))
            })
            .collect();
        if outgoing.is_empty() {
            return results;
        }
        let mut published = self.bus.publish(outgoing).await.into_iter();
        for (_, result) in results.iter_mut().filter(|(_, result)| result.is_ok()) {
            *result = match published.next() {
                Some(outcome) => {
                    count((&outcome).into());
                    outcome.map_err(|error| refused_publish(&error))
                }
                None => Err(Status::internal("the bus lost track of the event")),
            };
        }
        results
    }

    fn check(&self, event: &proto::PushEventRequest, id: &str) -> Result<OutgoingEvent, Status> {
        let exchange = Exchange::new(&event.exchange).map_err(invalid)?;
        let topic = Topic::new(exchange, &event.routing_key).map_err(invalid)?;
        let body = EventBody::new(&event.event, &event.payload).map_err(invalid)?;
        OutgoingEvent::new(topic, body, id, self.max_event_size).map_err(invalid)
    }

    async fn command(&self, session_id: &str, command: &SessionCommand) -> Result<(), Status> {
        let id = SessionId::parse(session_id)
            .ok_or_else(|| Status::invalid_argument("session_id must be 16 hex digits"))?;
        self.peers.command(id, command).await.map_err(|error| match error {
            PeerError::NoSuchSession(_) => Status::not_found(error.to_string()),
            PeerError::Unreachable | PeerError::Unavailable(_) | PeerError::NoAnswer => {
                Status::unavailable(error.to_string())
            }
        })
    }
}

#[tonic::async_trait]
impl Gateway for GatewayApi {
    async fn push_event(
        &self,
        request: Request<proto::PushEventRequest>,
    ) -> Result<Response<proto::PushEventResponse>, Status> {
        let event_id = self.push_event_now(load::message(request)).await?;
        Ok(Response::new(proto::PushEventResponse { event_id }))
    }

    async fn push_events(
        &self,
        request: Request<proto::PushEventsRequest>,
    ) -> Result<Response<proto::PushEventsResponse>, Status> {
        let request = load::message(request);
        if !(1..=EVENTS_MAX).contains(&request.events.len()) {
            let problem = format!("events must hold 1 to {EVENTS_MAX} events");
            return Err(Status::invalid_argument(problem));
        }
        if request.encoded_len() > EVENTS_BYTES_MAX {
            let problem = format!("events must be at most {EVENTS_BYTES_MAX} bytes together");
            return Err(Status::invalid_argument(problem));
        }
        let results = self
            .push(request.events)
            .await
            .into_iter()
            .map(|(event_id, result)| {
                let (code, message) = match result {
                    Ok(()) => (Code::Ok, String::new()),
                    Err(status) => (status.code(), status.message().into()),
                };
                proto::PushResult { event_id, code: code.into(), message }
            })
            .collect();
        Ok(Response::new(proto::PushEventsResponse { results }))
    }

    async fn send_event(
        &self,
        request: Request<proto::SendEventRequest>,
    ) -> Result<Response<proto::SendEventResponse>, Status> {
        let request = load::message(request);
        let body = EventBody::new(&request.event, &request.payload).map_err(invalid)?;
        let size = body.json_size();
        if size > self.max_event_size {
            return Err(invalid(InvalidEvent::TooBig { size, max: self.max_event_size }));
        }
        self.command(&request.session_id, &SessionCommand::Send(body)).await?;
        Ok(Response::new(proto::SendEventResponse {}))
    }

    async fn disconnect_session(
        &self,
        request: Request<proto::DisconnectSessionRequest>,
    ) -> Result<Response<proto::DisconnectSessionResponse>, Status> {
        let request = load::message(request);
        if request.code != 0 && Close::chosen(request.code).is_none() {
            let problem = "code must be 1000, 4000 to 4999, or 0 for 4500";
            return Err(Status::invalid_argument(problem));
        }
        let close = Close::by_application(request.code, &request.reason);
        if close.reason.len() < request.reason.len() {
            return Err(Status::invalid_argument("reason must be at most 123 bytes"));
        }
        self.command(&request.session_id, &SessionCommand::Disconnect(close)).await?;
        Ok(Response::new(proto::DisconnectSessionResponse {}))
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

fn invalid(error: InvalidEvent) -> Status {
    Status::invalid_argument(error.to_string())
}

fn refused_publish(error: &PublishError) -> Status {
    let code = match error {
        PublishError::UnknownExchange(_) => Code::NotFound,
        PublishError::Unavailable(_) => Code::Unavailable,
        PublishError::Overloaded(_) => Code::ResourceExhausted,
        PublishError::Unconfirmed => Code::Unknown,
    };
    Status::new(code, error.to_string())
}
