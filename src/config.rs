//! Flags and environment → checked [`Config`]. Every problem is reported at once, with
//! what to write instead; past this point nobody checks a setting again.

mod check;
mod checking;
mod default;
pub mod exchanges;
mod flags;
mod given;
pub mod hand;
mod listen;
mod problems;
mod units;
mod values;

use std::{env, net::SocketAddr, time::Duration};

use http::HeaderName;

pub use self::checking::{BrokerToCheck, CheckConfig, HandlerToCheck, ManagementUrl};
use self::{
    flags::{CommandFlags, Flags},
    hand::{HandCommand, Reader},
    listen::Variables,
};
use crate::{
    application::grpc::Endpoint,
    bus::rabbitmq::{BrokerUrl, ExchangeConfig},
    edge::forwarded::TrustedProxies,
    logging::LogConfig,
    net::{
        inherited::{Inherited, InvalidSockets},
        origin::OriginPolicy,
        token::BearerToken,
    },
    protocol::Dialect,
};

/// What the process was asked to do.
#[derive(Debug, Clone)]
pub enum Command {
    Serve(Box<Config>),
    Demo(Box<DemoConfig>),
    Check(Box<CheckConfig>),
    Hand(Box<HandCommand>),
    /// To print this.
    Print(Vec<u8>),
}

/// Everything that `myxi serve` needs to know. Secrets do not show in its `Debug`.
#[derive(Debug, Clone)]
pub struct Config {
    /// For WebSocket clients. As for every address here, port 0 lets the system choose.
    pub listen: SocketAddr,
    pub grpc: GrpcConfig,
    pub admin: AdminConfig,
    /// Sockets that listen already, at the addresses above.
    pub inherited: Inherited,
    /// Names besides localhost and IP addresses under which the admin listener may be asked.
    pub admin_hosts: Vec<String>,
    pub application: ApplicationConfig,
    pub session_opened: SessionOpened,
    pub recheck_interval: Duration,
    /// Handshake headers that the application gets to see.
    pub forward_headers: Vec<HeaderName>,
    pub bus: BusConfig,
    /// At least one, each name once.
    pub exchanges: Vec<ExchangeConfig>,
    pub ready_requires_bus: bool,
    /// Where else the WebSocket is, without a slash at the end.
    pub paths: Vec<Box<str>>,
    /// What is spoken at every path but `/`; without one the WebSocket is at a few.
    pub compatibility: Option<Dialect>,
    pub subprotocols: Vec<Box<str>>,
    /// Whether the clients' listener tells its health, too.
    pub health_on_listen: bool,
    pub origins: OriginPolicy,
    pub trusted_proxies: TrustedProxies,
    pub limits: Limits,
    pub drain: DrainConfig,
    /// Runtimes that serve sessions; at least 1.
    pub worker_threads: usize,
    pub log: LogConfig,
    /// To be logged once logging is up.
    pub notes: Vec<Note>,
}

/// The Gateway service that the application calls.
#[derive(Debug, Clone)]
pub struct GrpcConfig {
    pub listen: SocketAddr,
    /// Always there unless `listen` is loopback.
    pub token: Option<BearerToken>,
}

/// The operator's listener.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    pub listen: SocketAddr,
    /// Without one, strangers are told about health only.
    pub token: Option<BearerToken>,
}

/// The application's `ActionHandler`.
#[derive(Debug, Clone)]
pub struct ApplicationConfig {
    pub endpoint: Endpoint,
    pub token: Option<BearerToken>,
    pub timeout: Duration,
    pub max_in_flight: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOpened {
    Off,
    /// The application is asked about every connection; no answer refuses it.
    Required,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusConfig {
    Memory,
    /// The nodes of one cluster, the first one first; at least one.
    RabbitMq {
        urls: Vec<BrokerUrl>,
    },
}

/// What one client, and all of them together, may cost. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub max_message_size: usize,
    /// At most a quarter of `max_outbox`.
    pub max_event_size: usize,
    pub max_outbox: usize,
    /// At least a MiB of each exchange, whatever this is.
    pub resume_buffer: usize,
    pub max_unread_actions: usize,
    pub max_subscriptions: usize,
    pub max_connections: usize,
    pub max_pending_handshakes: usize,
    pub handshake_timeout: Duration,
    pub ping_interval: Duration,
}

/// How the process stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainConfig {
    /// Go on accepting for so long; may be zero.
    pub shutdown_delay: Duration,
    /// Send the sessions away over so long; may be zero.
    pub drain_time: Duration,
}

/// What `myxi demo` lets one choose.
#[derive(Debug, Clone)]
pub struct DemoConfig {
    pub listen: SocketAddr,
    pub grpc: GrpcConfig,
    pub admin: AdminConfig,
    pub page_listen: SocketAddr,
    pub log: LogConfig,
    pub notes: Vec<Note>,
}

/// Something about the configuration that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    Info(String),
    Warning(String),
}

impl Note {
    pub fn log(&self) {
        match self {
            Self::Info(text) => tracing::info!("{text}"),
            Self::Warning(text) => tracing::warn!("{text}"),
        }
    }
}

/// Everything that is wrong: each line names a flag or a variable and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

impl Command {
    /// Reads the process's arguments and variables. Prints and exits where that is all
    /// there is to do: help, the version, a flag that does not exist. Takes the sockets that
    /// were handed over: to be called once, before there are other threads.
    pub fn from_process() -> Result<Self, ConfigErrors> {
        let variables = |name: &str| Some(env::var_os(name)?.to_string_lossy().into_owned());
        Self::check(Flags::from_process(), &variables, Inherited::take())
    }

    fn check(
        flags: Flags,
        variables: &Variables,
        inherited: Result<Inherited, InvalidSockets>,
    ) -> Result<Self, ConfigErrors> {
        match flags.command {
            CommandFlags::Serve(flags) => {
                check::serve(&flags, variables, inherited).map(Self::Serve)
            }
            CommandFlags::Demo(flags) => check::demo(&flags, variables).map(Self::Demo),
            CommandFlags::Check(flags) => {
                checking::config(&flags, variables, inherited).map(Self::Check)
            }
            CommandFlags::Completions(flags) => Ok(Self::Print(Flags::paper().completions(flags))),
            CommandFlags::Man(flags) => Flags::paper().man(flags).map(Self::Print),
            CommandFlags::Hand(flags) => {
                Reader::new(variables).read(flags).map(Box::new).map(Self::Hand)
            }
        }
    }
}

impl Config {
    /// What `myxi serve` makes of these flags alone, whatever the environment says. For
    /// programs that bring a gateway with them: the demo, tests.
    pub fn from_flags<'a>(flags: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigErrors> {
        let args = std::iter::once("serve").chain(flags);
        let flags =
            Flags::from_args(args).map_err(|error| ConfigErrors(vec![error.to_string()]))?;
        match Command::check(flags, &|_| None, Ok(Inherited::default()))? {
            Command::Serve(config) => Ok(*config),
            _ => unreachable!("the first argument is serve"),
        }
    }
}
