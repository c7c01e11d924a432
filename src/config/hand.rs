//! What is asked of a gateway by hand: the commands, and all that each needs to know.

mod reader;

use std::fmt;

use serde_json::value::RawValue;

pub(super) use self::reader::Reader;
use crate::net::{remote::Remote, token::BearerToken};

/// What is to be done.
#[derive(Debug, Clone)]
pub enum HandCommand {
    Push(PushConfig),
    Tail(TailConfig),
    Sessions(SessionsConfig),
    Send(SendConfig),
    Disconnect(DisconnectConfig),
    Health(HealthConfig),
}

/// The `Gateway` service.
#[derive(Debug, Clone)]
pub struct GatewayAt {
    pub remote: Remote,
    pub token: Option<BearerToken>,
}

#[derive(Debug, Clone)]
pub struct AdminAt {
    pub remote: Remote,
    pub token: Option<BearerToken>,
}

#[derive(Debug, Clone)]
pub struct PushConfig {
    pub gateway: GatewayAt,
    pub events: Events,
}

/// Which events are pushed. What is wrong with one is the gateway's to say.
#[derive(Debug, Clone)]
pub enum Events {
    One {
        topic: NamedEvent,
        payload: String,
        id: Option<String>,
    },
    /// Each line of standard input is the payload of one.
    Payloads(NamedEvent),
    /// Each line of standard input is one.
    Lines,
}

#[derive(Debug, Clone)]
pub struct NamedEvent {
    pub exchange: String,
    pub routing_key: String,
    pub event: String,
}

#[derive(Debug, Clone)]
pub struct TailConfig {
    pub exchange: String,
    pub source: TailSource,
    /// End after so many events.
    pub count: Option<usize>,
    pub json: bool,
}

#[derive(Debug, Clone)]
pub enum TailSource {
    Client {
        url: Remote,
        /// At least one.
        keys: Vec<String>,
        login: Option<Login>,
        from: From,
    },
    Operator {
        admin: AdminAt,
        last: usize,
    },
}

/// Where a client's events begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    Now,
    Last(usize),
    After(String),
}

/// An action that is sent first. Its payload may be a secret, hence no `Debug`.
#[derive(Clone)]
pub struct Login {
    pub action: String,
    pub payload: Box<RawValue>,
}

#[derive(Debug, Clone)]
pub struct SessionsConfig {
    pub admin: AdminAt,
    pub search: String,
    pub sort: String,
    pub limit: usize,
    pub offset: usize,
    pub json: bool,
}

#[derive(Debug, Clone)]
pub struct SendConfig {
    pub gateway: GatewayAt,
    pub session: String,
    pub event: String,
    pub payload: String,
}

#[derive(Debug, Clone)]
pub struct DisconnectConfig {
    pub gateway: GatewayAt,
    pub session: String,
    pub code: u32,
    pub reason: String,
}

#[derive(Debug, Clone)]
pub struct HealthConfig {
    pub admin: Remote,
    /// Whether it runs is enough.
    pub live: bool,
    /// Degraded is not enough.
    pub strict: bool,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}, …)", self.action)
    }
}

impl HandCommand {
    /// As it is written on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Push(_) => "push",
            Self::Tail(_) => "tail",
            Self::Sessions(_) => "sessions",
            Self::Send(_) => "send",
            Self::Disconnect(_) => "disconnect",
            Self::Health(_) => "health",
        }
    }
}
