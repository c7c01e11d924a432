//! The values that labels may have: every one is known when this is compiled.

use tonic::Code;

use crate::{
    action_handler::{CheckReason, Decision},
    bus::PublishError,
    protocol::{CloseReason, ErrorCode},
};

/// One label of a metric, as a type.
pub trait Label: Copy {
    /// Its name in Prometheus.
    const NAME: &'static str;

    /// Every value, in the order of [`Label::index`].
    fn all() -> impl Iterator<Item = Self>;

    fn index(self) -> usize;

    fn as_str(self) -> &'static str;
}

/// An enum that is a label: its name, and the text of each value.
macro_rules! label {
    ($(#[$doc:meta])* $type:ident($name:literal) {
        $($(#[$value_doc:meta])* $value:ident = $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type {
            $($(#[$value_doc])* $value,)*
        }

        impl Label for $type {
            const NAME: &'static str = $name;

            fn all() -> impl Iterator<Item = Self> {
                [$(Self::$value),*].into_iter()
            }

            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }
        }
    };
}

label! {
    /// Why a connection became no WebSocket.
    Refused("reason") {
        NotFound = "not_found",
        Method = "method",
        NoWebSocket = "no_websocket",
        Origin = "origin",
        /// `--max-connections`.
        Full = "full",
        /// No finished handshake within `--handshake-timeout`.
        Timeout = "timeout",
        /// No HTTP, or cut off in the middle.
        Failed = "failed",
    }
}

label! {
    /// Why a session ended.
    Closed("reason") {
        /// The client sent a close frame, whatever its code.
        Client = "client",
        /// The connection broke, or pings went unanswered.
        Lost = "lost",
        ProtocolError = "protocol_error",
        TooBig = "too_big",
        /// The gateway is ending.
        Drain = "drain",
        /// The application could not be asked for admission.
        TryLater = "try_later",
        SlowConsumer = "slow_consumer",
        /// The application refused or closed it.
        Application = "application",
        Other = "other",
    }
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
            4000..5000 => Self::Application,
            _ => Self::Other,
        }
    }
}

label! {
    /// Who carries an action out.
    ActionKind("kind") {
        /// Forwarded.
        Application = "application",
        /// The gateway, which asks the application first.
        Subscribe = "subscribe",
        /// The gateway alone.
        Gateway = "gateway",
    }
}

label! {
    Rpc("rpc") {
        HandleAction = "HandleAction",
        CheckSubscriptions = "CheckSubscriptions",
        SessionOpened = "SessionOpened",
        SessionClosed = "SessionClosed",
    }
}

label! {
    /// How a call ended: the application's gRPC status in capitals, or in small letters
    /// what kept it from answering.
    CallStatus("status") {
        Ok = "OK",
        Cancelled = "CANCELLED",
        Unknown = "UNKNOWN",
        InvalidArgument = "INVALID_ARGUMENT",
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        NotFound = "NOT_FOUND",
        AlreadyExists = "ALREADY_EXISTS",
        PermissionDenied = "PERMISSION_DENIED",
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        FailedPrecondition = "FAILED_PRECONDITION",
        Aborted = "ABORTED",
        OutOfRange = "OUT_OF_RANGE",
        Unimplemented = "UNIMPLEMENTED",
        Internal = "INTERNAL",
        Unavailable = "UNAVAILABLE",
        DataLoss = "DATA_LOSS",
        Unauthenticated = "UNAUTHENTICATED",
        /// `--max-in-flight` others were under way for too long.
        NoTurn = "no_turn",
        Unreached = "unreached",
        Timeout = "timeout",
        Lost = "lost",
        Unreadable = "unreadable",
    }
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

label! {
    /// Why the application was asked about a subscription.
    CheckedFor("reason") {
        Subscribe = "subscribe",
        Recheck = "recheck",
    }
}

impl From<CheckReason> for CheckedFor {
    fn from(reason: CheckReason) -> Self {
        match reason {
            CheckReason::Subscribe => Self::Subscribe,
            CheckReason::Recheck => Self::Recheck,
        }
    }
}

label! {
    /// What became of that question, for each topic.
    Decided("decision") {
        Allow = "allow",
        Deny = "deny",
        UnknownExchange = "unknown_exchange",
        /// There was no answer, or none that makes sense.
        Failed = "failed",
    }
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

label! {
    /// What became of an event that was to be published.
    Pushed("result") {
        Ok = "ok",
        Invalid = "invalid",
        UnknownExchange = "unknown_exchange",
        Unavailable = "unavailable",
        Overloaded = "overloaded",
        Unconfirmed = "unconfirmed",
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

/// A code of an error that a client was told. `None`: one of the application's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorLabel(pub Option<ErrorCode>);

impl Label for ErrorLabel {
    const NAME: &'static str = "code";

    fn all() -> impl Iterator<Item = Self> {
        ErrorCode::ALL.into_iter().map(Some).chain([None]).map(Self)
    }

    fn index(self) -> usize {
        self.0.map_or(ErrorCode::ALL.len(), |code| code as usize)
    }

    fn as_str(self) -> &'static str {
        self.0.map_or("application", ErrorCode::as_str)
    }
}

/// How an action ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

impl Label for Outcome {
    const NAME: &'static str = "outcome";

    fn all() -> impl Iterator<Item = Self> {
        [Self::Ok].into_iter().chain(ErrorLabel::all().map(Self::Error))
    }

    fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Error(error) => 1 + error.index(),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error(error) => error.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<L: Label + std::fmt::Debug>() {
        let texts: std::collections::HashSet<_> = L::all().map(Label::as_str).collect();
        assert_eq!(texts.len(), L::all().count(), "{}: a text stands twice", L::NAME);
        for (index, value) in L::all().enumerate() {
            assert_eq!(value.index(), index, "{value:?}");
        }
    }

    #[test]
    fn every_value_has_its_place_and_a_text_of_its_own() {
        check::<Refused>();
        check::<Closed>();
        check::<ActionKind>();
        check::<Rpc>();
        check::<CallStatus>();
        check::<CheckedFor>();
        check::<Decided>();
        check::<Pushed>();
        check::<ErrorLabel>();
        check::<Outcome>();
    }

    #[test]
    fn a_client_that_borrows_a_code_is_still_the_client() {
        let reason = CloseReason::new(CloseReason::SLOW_CONSUMER, "");
        assert_eq!(Closed::of(&reason, true), Closed::Client);
        assert_eq!(Closed::of(&reason, false), Closed::SlowConsumer);
    }
}
