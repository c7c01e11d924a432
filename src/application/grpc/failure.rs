//! What it means that a call failed: one of an action, or a question of the gateway's own.

use tonic::Code;

use super::call::CallError;
use crate::{application::ApplicationError, metrics::CallStatus};

#[derive(Debug)]
pub(super) enum CallFailure {
    /// Too many calls were in flight for too long: this one was not sent.
    NoTurn,
    Call(CallError),
}

impl CallFailure {
    /// To the gateway's own questions a status is never an answer, least of all a denial.
    pub(super) fn of_question(self) -> ApplicationError {
        match self {
            Self::NoTurn => ApplicationError::Busy,
            Self::Call(error) => match error {
                CallError::Unreached(problem) => ApplicationError::Unreachable(problem),
                CallError::Timeout | CallError::Status(Code::DeadlineExceeded, _) => {
                    ApplicationError::Timeout
                }
                CallError::Lost(problem) => ApplicationError::Lost(problem),
                CallError::Unreadable(problem) => ApplicationError::Failed(problem),
                CallError::Status(code, message) => {
                    let status: &str = CallStatus::from(code).into();
                    let answer = format!("it answered {status}: {message}");
                    match code {
                        // The last is what gRPC's core answers to calls that come while its
                        // server is being stopped.
                        Code::Unavailable
                        | Code::Unimplemented
                        | Code::Unauthenticated
                        | Code::Cancelled => ApplicationError::Unavailable(answer),
                        Code::ResourceExhausted => ApplicationError::Exhausted(answer),
                        _ => ApplicationError::Failed(answer),
                    }
                }
            },
        }
    }

    /// The application answers `HandleAction` with statuses that mean something to the client.
    pub(super) fn of_action(self) -> ApplicationError {
        match self {
            Self::Call(CallError::Status(code, message)) => match code {
                Code::Unimplemented => ApplicationError::Unimplemented,
                Code::Unauthenticated => ApplicationError::Unauthenticated,
                Code::PermissionDenied => ApplicationError::PermissionDenied,
                Code::InvalidArgument => ApplicationError::InvalidPayload(message),
                code => Self::Call(CallError::Status(code, message)).of_question(),
            },
            failure => failure.of_question(),
        }
    }

    /// The application's status, if it sent one.
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Call(CallError::Status(code, _)) => Some(*code),
            _ => None,
        }
    }
}
