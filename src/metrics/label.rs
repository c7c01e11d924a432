//! The values that labels may have: every one is known when the metrics are made, and is
//! counted by its place among them. Who counts something of its own converts it to one of
//! these.

use strum::{Display, IntoStaticStr, VariantArray};
use tonic::Code;

/// One label of a metric, as a type.
pub trait Label: Place {
    const NAME: &'static str;
}

/// What metrics are kept by: a label's value, or those of two.
pub trait Place: Copy {
    /// Among all values.
    fn place(self) -> usize;
}

/// The values of a label whose type names them all, each in its place.
pub(super) fn values<L: VariantArray + Copy + Into<&'static str>>()
-> impl Iterator<Item = &'static str> {
    L::VARIANTS.iter().map(|label| (*label).into())
}

macro_rules! labels {
    ($($label:ident: $name:literal),* $(,)?) => {$(
        impl Label for $label {
            const NAME: &'static str = $name;
        }

        impl Place for $label {
            fn place(self) -> usize {
                self as usize
            }
        }
    )*};
}

labels! {
    Refused: "reason",
    CallRefused: "reason",
    Closed: "reason",
    ActionKind: "kind",
    Rpc: "rpc",
    CallStatus: "status",
    CheckedFor: "reason",
    Decided: "decision",
    Pushed: "result",
    Asked: "asked",
    Resumed: "result",
    Source: "source",
}

impl<A: Place, B: Place + VariantArray> Place for (A, B) {
    fn place(self) -> usize {
        self.0.place() * B::VARIANTS.len() + self.1.place()
    }
}

/// Why a connection became no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
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

/// Why a call of the Gateway service got no answer from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CallRefused {
    /// It bore no `authorization` at all.
    NoToken,
    WrongToken,
    /// It was no gRPC and a browser's.
    WebPage,
    /// It was no gRPC and for a name that a web page may have chosen.
    Host,
    /// It was neither gRPC nor a POST.
    Method,
    /// It was neither gRPC nor what else is read.
    ContentType,
    /// The calls under way are as many as there may be.
    Overload,
    NoService,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
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

/// Who carries an action out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ActionKind {
    /// Forwarded.
    Application,
    /// The gateway, which asks the application first.
    Subscribe,
    /// The gateway alone.
    Gateway,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray, Display)]
pub enum Rpc {
    HandleAction,
    CheckSubscriptions,
    SessionOpened,
    SessionClosed,
}

/// How a call ended: the application's gRPC status in capitals, or in small letters
/// what kept it from answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CheckedFor {
    Subscribe,
    Recheck,
    Resume,
}

/// What became of that question, for each topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Decided {
    Allow,
    Deny,
    UnknownExchange,
    /// There was no answer, or none that makes sense.
    Failed,
}

/// What became of an event that was to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Pushed {
    Ok,
    Invalid,
    UnknownExchange,
    Unavailable,
    Overloaded,
    Unconfirmed,
}

/// What a client that comes back gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Asked {
    /// A position.
    After,
    /// A number of events.
    Last,
}

/// What became of its wish for what it missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Resumed {
    /// It was sent all of it.
    Recovered,
    Expired,
    Unknown,
    TooMany,
    NoLog,
    /// It is to ask again.
    Unavailable,
    /// On the way it was seen that something is not there any more.
    Gap,
    /// It, or the application, wanted it no more.
    Unsubscribed,
    /// Its session ended before.
    CutOff,
}

/// Where an event was found that a client had missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Source {
    /// `--resume-buffer`.
    Buffer,
    Log,
}

/// An error that a client was told, by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorLabel {
    /// One of the application's own codes.
    Application,
    /// One of the gateway's: its place among those that the metrics were made with.
    Gateway(usize),
}

impl ErrorLabel {
    /// Each in its place.
    pub(super) fn values(codes: &[&'static str]) -> impl Iterator<Item = &'static str> {
        ["application"].into_iter().chain(codes.iter().copied())
    }
}

impl Label for ErrorLabel {
    const NAME: &'static str = "code";
}

impl Place for ErrorLabel {
    fn place(self) -> usize {
        match self {
            Self::Application => 0,
            Self::Gateway(code) => 1 + code,
        }
    }
}

/// How an action ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeLabel {
    Ok,
    Error(ErrorLabel),
}

impl OutcomeLabel {
    /// Each in its place.
    pub(super) fn values(codes: &[&'static str]) -> impl Iterator<Item = &'static str> {
        ["ok"].into_iter().chain(ErrorLabel::values(codes))
    }
}

impl Label for OutcomeLabel {
    const NAME: &'static str = "outcome";
}

impl Place for OutcomeLabel {
    fn place(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Error(error) => 1 + error.place(),
        }
    }
}
