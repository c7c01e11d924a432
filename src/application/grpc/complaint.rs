//! What the log is told of a call that failed, while its client is told no more than a code.
//! Whatever the application answers on purpose is no failure.

use super::{
    call::{CallError, Method},
    failure::CallFailure,
};
use crate::{
    application::{ApplicationError, SessionSnapshot},
    complaints::Complaint,
    metrics::CallStatus,
};

/// For whom the application was asked what.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) session: &'a SessionSnapshot,
    pub(super) action: Option<&'a str>,
}

/// How the call ended, before anybody decides what that means.
pub(super) struct Ended {
    status: CallStatus,
    /// That came with the application's status.
    message: Option<String>,
}

impl Ended {
    pub(super) fn of<T>(reply: &Result<T, CallFailure>) -> Self {
        let (status, message) = match reply {
            Ok(_) => (CallStatus::Ok, None),
            Err(CallFailure::NoTurn) => (CallStatus::NoTurn, None),
            Err(CallFailure::Call(error @ CallError::Status(_, message))) => {
                (error.status(), Some(message.clone()))
            }
            Err(CallFailure::Call(error)) => (error.status(), None),
        };
        Self { status, message }
    }
}

impl Asked<'_> {
    /// What an operator should know of it, if anything.
    pub(super) fn complaint(&self, ended: Ended, error: &ApplicationError) -> Option<Complaint> {
        let problem = match error {
            ApplicationError::Refused { .. }
            | ApplicationError::Unimplemented
            | ApplicationError::Unauthenticated
            | ApplicationError::PermissionDenied
            | ApplicationError::InvalidPayload(_) => return None,
            ApplicationError::Timeout => ended.message.unwrap_or_else(|| error.problem()),
            _ => error.problem(),
        };
        let what = match ended.status {
            CallStatus::Ok => Complaint::BROKEN_REPLY,
            _ => "a call to the application failed",
        };
        Some(Complaint {
            rpc: Some(self.method.rpc.to_string()),
            action: self.action.map(Into::into),
            session: Some(self.session.id),
            status: Some(ended.status.into()),
            problem: Some(problem),
            ..Complaint::new(what)
        })
    }
}
