//! The values that labels may have: every one is known when this is compiled.

use std::{fmt, hash::Hash};

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};
use strum::{Display, IntoStaticStr, VariantArray};
use tonic::Code;

use crate::{
    application::{CheckReason, Decision},
    bus::PublishError,
    protocol::{CloseReason, ErrorCode},
};

/// One label of a metric, as a type; its text is a value of the label.
pub trait Label: Copy + Eq + Hash + Into<&'static str> {
    const NAME: &'static str;
}

/// A label with its value, as the library wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct By<L>(pub L);

impl<L: Label> EncodeLabelSet for By<L> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let value: &'static str = self.0.into();
        (L::NAME, value).encode(encoder.encode_label())
    }
}

/// Why a connection became no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Refused {
    NotFound,
    Method,
    #[strum(serialize = "no_websocket")]
    NoWebSocket,
    Body,
    Origin,
    /// `--max-connections`.
    Full,
    /// No finished handshake within `--handshake-timeout`.
    Timeout,
    /// No HTTP, or cut off in the middle.
    Failed,
}

impl Label for Refused {
    const NAME: &'static str = "reason";
}

/// Why a call of the Gateway service got no answer from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CallRefused {
    /// It bore no `authorization` at all.
    NoToken,
    WrongToken,
    /// The calls under way are as many as there may be.
    Overload,
    NoService,
}

impl Label for CallRefused {
    const NAME: &'static str = "reason";
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Closed {
    /// The client sent a close frame, whatever its code.
    Client,
    /// The connection broke, or pings went unanswered.
    Lost,
    ProtocolError,
    TooBig,
    /// The gateway is ending.
    Drain,
    /// The application could not be asked for admission.
    TryLater,
    SlowConsumer,
    /// The application refused or closed it.
    Application,
    Other,
}

impl Label for Closed {
    const NAME: &'static str = "reason";
}

impl Closed {
    /// A client can close with any code: only who closed tells what it means.
    pub fn of(reason: &CloseReason, by_client: bool) -> Self {
        match reason.code {
            _ if by_client => Self::Client,
            CloseReason::ABNORMAL => Self::Lost,
            CloseReason::PROTOCOL_ERROR | CloseReason::INVALID_UTF8 => Self::ProtocolError,
            CloseReason::TOO_BIG => Self::TooBig,
            CloseReason::SERVICE_RESTART => Self::Drain,
            CloseReason::TRY_LATER => Self::TryLater,
            CloseReason::SLOW_CONSUMER => Self::SlowConsumer,
            CloseReason::NORMAL | 4000..5000 => Self::Application,
            _ => Self::Other,
        }
    }
}

/// Who carries an action out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ActionKind {
    /// Forwarded.
    Application,
    /// The gateway, which asks the application first.
    Subscribe,
    /// The gateway alone.
    Gateway,
}

impl Label for ActionKind {
    const NAME: &'static str = "kind";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray, Display)]
pub enum Rpc {
    HandleAction,
    CheckSubscriptions,
    SessionOpened,
    SessionClosed,
}

impl Label for Rpc {
    const NAME: &'static str = "rpc";
}

/// How a call ended: the application's gRPC status in capitals, or in small letters
/// what kept it from answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum CallStatus {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
    /// `--max-in-flight` others were under way for too long.
    #[strum(serialize = "no_turn")]
    NoTurn,
    #[strum(serialize = "unreached")]
    Unreached,
    #[strum(serialize = "timeout")]
    Timeout,
    #[strum(serialize = "lost")]
    Lost,
    #[strum(serialize = "unreadable")]
    Unreadable,
}

impl Label for CallStatus {
    const NAME: &'static str = "status";
}

impl From<Code> for CallStatus {
    fn from(code: Code) -> Self {
        match code {
            Code::Ok => Self::Ok,
            Code::Cancelled => Self::Cancelled,
            Code::Unknown => Self::Unknown,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Aborted,
            Code::OutOfRange => Self::OutOfRange,
            Code::Unimplemented => Self::Unimplemented,
            Code::Internal => Self::Internal,
            Code::Unavailable => Self::Unavailable,
            Code::DataLoss => Self::DataLoss,
            Code::Unauthenticated => Self::Unauthenticated,
        }
    }
}

/// Why the application was asked about a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CheckedFor {
    Subscribe,
    Recheck,
}

impl Label for CheckedFor {
    const NAME: &'static str = "reason";
}

impl From<CheckReason> for CheckedFor {
    fn from(reason: CheckReason) -> Self {
        match reason {
            CheckReason::Subscribe => Self::Subscribe,
            CheckReason::Recheck => Self::Recheck,
        }
    }
}

/// What became of that question, for each topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Decided {
    Allow,
    Deny,
    UnknownExchange,
    /// There was no answer, or none that makes sense.
    Failed,
}

impl Label for Decided {
    const NAME: &'static str = "decision";
}

impl From<Decision> for Decided {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Allow,
            Decision::Deny => Self::Deny,
            Decision::UnknownExchange => Self::UnknownExchange,
        }
    }
}

/// What became of an event that was to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Pushed {
    Ok,
    Invalid,
    UnknownExchange,
    Unavailable,
    Overloaded,
    Unconfirmed,
}

impl Label for Pushed {
    const NAME: &'static str = "result";
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

/// A code of an error that a client was told. `None`: one of the application's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorLabel(pub Option<ErrorCode>);

impl ErrorLabel {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        ErrorCode::VARIANTS.iter().copied().map(Some).chain([None]).map(Self)
    }
}

impl From<ErrorLabel> for &'static str {
    fn from(label: ErrorLabel) -> Self {
        label.0.map_or("application", ErrorCode::into)
    }
}

impl Label for ErrorLabel {
    const NAME: &'static str = "code";
}

/// How an action ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Ok,
    Error(ErrorLabel),
}

impl Outcome {
    /// This one, or where all was well so far the other.
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Ok => other,
            Self::Error(_) => self,
        }
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        [Self::Ok].into_iter().chain(ErrorLabel::all().map(Self::Error))
    }
}

impl From<Outcome> for &'static str {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => "ok",
            Outcome::Error(error) => error.into(),
        }
    }
}

impl Label for Outcome {
    const NAME: &'static str = "outcome";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_borrows_a_code_is_still_the_client() {
        let reason = CloseReason::new(CloseReason::SLOW_CONSUMER, "");
        assert_eq!(Closed::of(&reason, true), Closed::Client);
        assert_eq!(Closed::of(&reason, false), Closed::SlowConsumer);
        let reason = CloseReason::new(CloseReason::NORMAL, "");
        assert_eq!(Closed::of(&reason, true), Closed::Client);
        assert_eq!(Closed::of(&reason, false), Closed::Application);
    }
}
