//! The `Gateway` service: what an application asks, out of gRPC's messages, and what it is
//! told, in gRPC's codes.

use prost::Message;
use tonic::{Code, Request, Response, Status};

use super::{CommandError, GatewayApi, NewEvent, PushError, load, peers::PeerError};
use crate::{
    bus::PublishError,
    proto::{self, EVENTS_BYTES_MAX, EVENTS_MAX, gateway_server::Gateway},
};

#[tonic::async_trait]
impl Gateway for GatewayApi {
    async fn push_event(
        &self,
        request: Request<proto::PushEventRequest>,
    ) -> Result<Response<proto::PushEventResponse>, Status> {
        let event_id = self.push(load::message(request).into()).await?;
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
        let events = request.events.into_iter().map(NewEvent::from).collect();
        let results = self.push_all(events).await.into_iter().map(proto::PushResult::from);
        Ok(Response::new(proto::PushEventsResponse { results: results.collect() }))
    }

    async fn send_event(
        &self,
        request: Request<proto::SendEventRequest>,
    ) -> Result<Response<proto::SendEventResponse>, Status> {
        let request = load::message(request);
        self.send(&request.session_id, &request.event, &request.payload).await?;
        Ok(Response::new(proto::SendEventResponse {}))
    }

    async fn disconnect_session(
        &self,
        request: Request<proto::DisconnectSessionRequest>,
    ) -> Result<Response<proto::DisconnectSessionResponse>, Status> {
        let request = load::message(request);
        self.disconnect(&request.session_id, request.code, &request.reason).await?;
        Ok(Response::new(proto::DisconnectSessionResponse {}))
    }
}

impl From<proto::PushEventRequest> for NewEvent {
    fn from(request: proto::PushEventRequest) -> Self {
        let proto::PushEventRequest { exchange, routing_key, event, payload, event_id } = request;
        Self { exchange, routing_key, name: event, payload, id: event_id }
    }
}

impl From<(String, Result<(), PushError>)> for proto::PushResult {
    fn from((event_id, result): (String, Result<(), PushError>)) -> Self {
        let (code, message) = match result {
            Ok(()) => (Code::Ok, String::new()),
            Err(error) => (code(&error), error.to_string()),
        };
        Self { event_id, code: code.into(), message }
    }
}

impl From<PushError> for Status {
    fn from(error: PushError) -> Self {
        Self::new(code(&error), error.to_string())
    }
}

fn code(error: &PushError) -> Code {
    match error {
        PushError::Invalid(_) => Code::InvalidArgument,
        PushError::NotPublished(error) => match error {
            PublishError::UnknownExchange(_) => Code::NotFound,
            PublishError::Unavailable(_) => Code::Unavailable,
            PublishError::Overloaded(_) => Code::ResourceExhausted,
            PublishError::Unconfirmed => Code::Unknown,
        },
    }
}

impl From<CommandError> for Status {
    fn from(error: CommandError) -> Self {
        let code = match &error {
            CommandError::SessionId
            | CommandError::Event(_)
            | CommandError::Code
            | CommandError::Reason => Code::InvalidArgument,
            CommandError::Peer(PeerError::NoSuchSession(_)) => Code::NotFound,
            CommandError::Peer(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}
