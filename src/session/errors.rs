//! The errors of a session: what a call that failed means to the client, and what is wrong
//! with what it asked for.

use serde_json::value::RawValue;

use super::subscriptions::key;
use crate::{
    application::ApplicationError,
    event::{Exchange, InvalidEvent, Topic},
    protocol::{ClientError, ErrorCode, KeyForm},
};

/// What a failed `HandleAction` means to the client. `retryable` only where nothing was
/// sent, or the application says so in its own words: a status may be its runtime's, which
/// does not know how far the handler got.
pub(crate) fn action_error(error: ApplicationError) -> ClientError {
    match error {
        ApplicationError::Refused { code, details, retryable } => {
            ClientError::by_application(code, details, retryable)
        }
        ApplicationError::Unimplemented => ClientError::new(ErrorCode::InvalidAction),
        ApplicationError::Unauthenticated => ClientError::new(ErrorCode::AuthRequired),
        ApplicationError::PermissionDenied => ClientError::new(ErrorCode::PermissionDenied),
        ApplicationError::InvalidPayload(message) => {
            ClientError::new(ErrorCode::InvalidPayload).message(message)
        }
        ApplicationError::Timeout => ClientError::outcome_unknown(ErrorCode::ActionTimeout),
        ApplicationError::Unreachable(_) => {
            ClientError::retryable(ErrorCode::ApplicationUnavailable)
        }
        ApplicationError::Lost(_) | ApplicationError::Unavailable(_) => {
            ClientError::outcome_unknown(ErrorCode::ApplicationUnavailable)
        }
        ApplicationError::Busy => ClientError::busy(),
        ApplicationError::Exhausted(_) => ClientError::outcome_unknown(ErrorCode::Busy),
        ApplicationError::Failed(_) => ClientError::outcome_unknown(ErrorCode::InternalError),
    }
}

/// What a failed check means to the client that subscribes. It asked a question and changed
/// nothing, so nothing happened, however the call ended; but what broke the contract once
/// would do so again.
pub(crate) fn check_error(error: &ApplicationError) -> ClientError {
    match error {
        ApplicationError::Unreachable(_)
        | ApplicationError::Lost(_)
        | ApplicationError::Unavailable(_) => {
            ClientError::retryable(ErrorCode::ApplicationUnavailable)
        }
        ApplicationError::Timeout => ClientError::retryable(ErrorCode::ActionTimeout),
        ApplicationError::Busy | ApplicationError::Exhausted(_) => ClientError::busy(),
        ApplicationError::Failed(_)
        | ApplicationError::Refused { .. }
        | ApplicationError::Unimplemented
        | ApplicationError::Unauthenticated
        | ApplicationError::PermissionDenied
        | ApplicationError::InvalidPayload(_) => ClientError::new(ErrorCode::InternalError),
    }
}

pub(super) fn key_error(code: ErrorCode, topic: &Topic, form: KeyForm) -> ClientError {
    of_key(ClientError::new(code), topic, form)
}

pub(super) fn of_key(error: ClientError, topic: &Topic, form: KeyForm) -> ClientError {
    error.detail("exchange", &topic.exchange).detail("routing_key", &key(topic, form))
}

pub(super) fn invalid_key(
    exchange: &Exchange,
    sent: &RawValue,
    error: &InvalidEvent,
) -> ClientError {
    ClientError::new(ErrorCode::InvalidRoutingKey)
        .message(error.to_string())
        .detail("exchange", exchange)
        .detail("routing_key", sent)
}

pub(super) fn unknown_exchange(name: &str) -> ClientError {
    ClientError::new(ErrorCode::InvalidExchangeName).detail("exchange", name)
}

/// The bus has not attached to it, or not to what the client knows of it.
pub(super) fn unavailable_exchange(name: &str) -> ClientError {
    ClientError::retryable(ErrorCode::ExchangeUnavailable).detail("exchange", name)
}

pub(super) fn exchange_missing() -> ClientError {
    ClientError::new(ErrorCode::InvalidPayload).message("\"exchange\" is missing")
}
