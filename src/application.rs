//! The application, as the gateway sees it: who is asked, what it may answer, and how
//! asking it fails. [`grpc`] is the one that calls a real one.

pub(crate) mod grpc;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::{
    event::{EventBody, Topic},
    ids::SessionId,
    metrics::{CheckedFor, Decided},
    protocol::{Close, Dialect},
};

/// The application's decisions. Every call is bounded by a deadline of its own.
#[async_trait]
pub trait Application: Send + Sync {
    async fn handle_action(
        &self,
        session: &SessionSnapshot,
        action: Action<'_>,
    ) -> Result<ActionReply, ApplicationError>;

    /// One decision for each topic, by index.
    async fn check_subscriptions(
        &self,
        session: &SessionSnapshot,
        topics: &[Topic],
        reason: CheckReason,
    ) -> Result<Vec<Decision>, ApplicationError>;

    async fn session_opened(
        &self,
        session: &SessionSnapshot,
    ) -> Result<Admission, ApplicationError>;

    /// Best effort: a failure is logged where it happens.
    async fn session_closed(&self, session: &SessionSnapshot, reason: &Close, lived: Duration);
}

/// Everything the application decides from.
#[derive(Debug, Clone)]
pub struct SessionSnapshot {
    pub id: SessionId,
    pub client: Arc<ClientInfo>,
    /// JSON, set by the application; absent: not authenticated.
    pub auth: Option<Box<str>>,
    /// JSON values, set by the application.
    pub data: BTreeMap<Box<str>, Box<str>>,
}

/// Who connected, as the handshake told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// An IP address, as text: it goes with every call.
    pub remote_address: Box<str>,
    pub path: Box<str>,
    pub query: Box<str>,
    /// The allow-listed headers, names in lower case.
    pub headers: Box<[(Box<str>, Box<str>)]>,
    /// What it speaks, which is nothing to the application.
    pub dialect: Dialect,
}

/// A client's message that is not built in.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    pub name: &'a str,
    pub payload: &'a str,
    pub tag: Option<&'a str>,
}

/// What follows from an action, in the order in which it is carried out.
#[derive(Debug, Default)]
pub struct ActionReply {
    pub update: SessionUpdate,
    pub unsubscribe: Vec<Topic>,
    /// (exchange, routing key) as the application wrote them: a wrong one is told to the client.
    pub subscribe: Vec<(String, String)>,
    pub events: Vec<EventBody>,
    pub disconnect: Option<Close>,
}

#[derive(Debug, Default)]
pub struct SessionUpdate {
    pub auth: AuthUpdate,
    pub set_data: Vec<(Box<str>, Box<str>)>,
    pub remove_data: Vec<Box<str>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub enum AuthUpdate {
    #[default]
    Keep,
    Set(Box<str>),
    Clear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckReason {
    Subscribe,
    Recheck,
    /// The client wants what was pushed before.
    Resume,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny,
    UnknownExchange,
}

impl From<CheckReason> for CheckedFor {
    fn from(reason: CheckReason) -> Self {
        match reason {
            CheckReason::Subscribe => Self::Subscribe,
            CheckReason::Recheck => Self::Recheck,
            CheckReason::Resume => Self::Resume,
        }
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

#[derive(Debug)]
pub enum Admission {
    Accept { update: SessionUpdate, events: Vec<EventBody> },
    Refuse(Close),
}

/// How asking the application failed. Written out, the application's words are escaped:
/// they may quote a client.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApplicationError {
    /// The application said no, with an error for the client.
    #[error("the application answered {code:?}")]
    Refused { code: Box<str>, details: BTreeMap<String, Box<RawValue>>, retryable: bool },
    /// `UNIMPLEMENTED`.
    #[error("the application does not know this call")]
    Unimplemented,
    #[error("the application asks for authentication")]
    Unauthenticated,
    #[error("the application denies permission")]
    PermissionDenied,
    #[error("the application refuses the payload: {0:?}")]
    InvalidPayload(String),
    /// The deadline passed: here, or as the application says.
    #[error("the application did not answer in time")]
    Timeout,
    /// It never got the call.
    #[error("the application cannot be reached: {0:?}")]
    Unreachable(String),
    /// The connection broke when the call was under way.
    #[error("the connection to the application was lost during the call: {0:?}")]
    Lost(String),
    /// `UNAVAILABLE`. Of what was done it says nothing: gRPC runtimes send it for calls that
    /// are under way when a server is stopped, and their handlers go on.
    #[error("the application is not available: {0:?}")]
    Unavailable(String),
    /// `RESOURCE_EXHAUSTED`. Nor does this: runtimes send it in place of a reply that is
    /// over a limit of theirs, when the handler is done.
    #[error("the application is out of something: {0:?}")]
    Exhausted(String),
    /// Too many calls were in flight for this one to be sent.
    #[error("too many calls to the application are in flight")]
    Busy,
    /// It failed, or what it answered makes no sense.
    #[error("the application failed: {0:?}")]
    Failed(String),
}

impl ApplicationError {
    /// In the words of whoever told of it, as they came: they may hold anything.
    pub fn problem(&self) -> String {
        match self {
            Self::InvalidPayload(problem)
            | Self::Unreachable(problem)
            | Self::Lost(problem)
            | Self::Unavailable(problem)
            | Self::Exhausted(problem)
            | Self::Failed(problem) => problem.clone(),
            Self::Refused { .. }
            | Self::Unimplemented
            | Self::Unauthenticated
            | Self::PermissionDenied
            | Self::Timeout
            | Self::Busy => self.to_string(),
        }
    }
}
