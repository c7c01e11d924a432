//! What `myxi serve` and `myxi demo` are told: every flag with its variable, its default and what
//! it means.

use clap::Args;

use crate::config::{default, given::Given};

const UNITS: &str = "\
Example:
  myxi serve --action-handler http://127.0.0.1:50051 --exchange widgets

DURATION: 1500ms, 3s, 1m, 1h or 1d; a number alone is seconds.
SIZE: 64KiB, 1MiB, 200MB or 512B; a number alone is bytes.
A flag wins over its variable. An empty variable counts as not set.";

#[derive(Args)]
#[command(after_help = UNITS)]
pub(in crate::config) struct ServeFlags {
    #[command(flatten)]
    pub listeners: ListenerFlags,
    #[command(flatten)]
    pub application: ApplicationFlags,
    #[command(flatten)]
    pub bus: BusFlags,
    #[command(flatten)]
    pub clients: ClientFlags,
    #[command(flatten)]
    pub limits: LimitFlags,
    #[command(flatten)]
    pub process: ProcessFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

const DEMO_EXAMPLE: &str = "\
Example:
  myxi demo --page-listen 127.0.0.1:8080";

/// Those of `serve`, but for where clients connect.
#[derive(Args)]
#[command(after_help = DEMO_EXAMPLE)]
#[command(mut_arg("listen", |listen| listen.default_value(default::DEMO_LISTEN)))]
pub(in crate::config) struct DemoFlags {
    #[command(flatten)]
    pub listeners: ListenerFlags,
    /// Where the page to try it is served
    #[arg(long, env = "MYXI_PAGE_LISTEN", value_name = "IP:PORT")]
    #[arg(default_value = default::PAGE_LISTEN)]
    pub page_listen: Given,
    #[command(flatten)]
    pub log: LogFlags,
}

#[derive(Args)]
#[command(next_help_heading = "Listeners")]
pub(in crate::config) struct ListenerFlags {
    /// Where WebSocket clients connect. Without it, the port is also taken from MYXI_PORT,
    /// MIXI_PORT or PORT (the first that is set) and the address from MYXI_BIND_ADDRESS. A socket
    /// that is handed over (LISTEN_FDS), by the name clients in LISTEN_FDNAMES, goes before all
    /// of them; gateway and admin are those of the other two
    #[arg(long, env = "MYXI_LISTEN", value_name = "IP:PORT")]
    #[arg(default_value = default::LISTEN)]
    pub listen: Given,
    /// Where the application pushes events (gRPC, or JSON by HTTP). Anything but loopback needs --grpc-token
    #[arg(long, env = "MYXI_GRPC_LISTEN", value_name = "IP:PORT")]
    #[arg(default_value = default::GRPC_LISTEN)]
    pub grpc_listen: Given,
    /// The bearer token that the application must send with its calls. Prefer the
    /// variable: other users of the machine can read command lines
    #[arg(long, env = "MYXI_GRPC_TOKEN", value_name = "TOKEN")]
    pub grpc_token: Option<Given>,
    /// Where the console, /metrics, /health/live and /health/ready are served. Without
    /// --admin-token all but health is only for this machine
    #[arg(long, env = "MYXI_ADMIN_LISTEN", value_name = "IP:PORT")]
    #[arg(default_value = default::ADMIN_LISTEN)]
    pub admin_listen: Given,
    /// The token to be given for everything there but health, as a bearer token or as the
    /// password that a browser asks for. Prefer the variable
    #[arg(long, env = "MYXI_ADMIN_TOKEN", value_name = "TOKEN")]
    pub admin_token: Option<Given>,
}

#[derive(Args)]
#[command(next_help_heading = "Application")]
pub(in crate::config) struct ApplicationFlags {
    /// The application's ActionHandler: http://host:port or unix:/path (required)
    #[arg(long, env = "MYXI_ACTION_HANDLER", value_name = "ADDRESS")]
    pub action_handler: Option<Given>,
    /// The bearer token that the gateway sends with its calls. Prefer the variable
    #[arg(long, env = "MYXI_ACTION_HANDLER_TOKEN", value_name = "TOKEN")]
    pub action_handler_token: Option<Given>,
    /// How long a call to the application may take
    #[arg(long, env = "MYXI_ACTION_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = default::ACTION_TIMEOUT)]
    pub action_timeout: Given,
    /// Calls to the application at once; further ones wait their turn for up to 1s
    #[arg(long, env = "MYXI_MAX_IN_FLIGHT", value_name = "COUNT")]
    #[arg(default_value = default::MAX_IN_FLIGHT)]
    pub max_in_flight: Given,
    /// Whether the application is asked about every new connection: off or required
    #[arg(long, env = "MYXI_SESSION_OPENED", value_name = "WHEN")]
    #[arg(default_value = default::SESSION_OPENED)]
    pub session_opened: Given,
    /// How often the application is asked whether a session's subscriptions may stay
    #[arg(long, env = "MYXI_RECHECK_INTERVAL", value_name = "DURATION")]
    #[arg(default_value = default::RECHECK_INTERVAL)]
    pub recheck_interval: Given,
    /// A header of the handshake that the application gets to see, for example cookie.
    /// Repeat it or separate names by commas [default: none]
    #[arg(long, env = "MYXI_FORWARD_HEADER", value_name = "NAME")]
    pub forward_header: Vec<Given>,
}

#[derive(Args)]
#[command(next_help_heading = "Bus")]
pub(in crate::config) struct BusFlags {
    /// An exchange that clients may subscribe to (at least one is required), with the bounds
    /// of its log: NAME[;max-age=1h][;max-bytes=200MB][;segment-bytes=10MB], and with
    /// ;batch=off where programs read it that know single events only. NAME;kind=direct is one
    /// without a log, as the Ruby original publishes to; a log with ;also-direct=true is fed from
    /// such a one, too. Repeat it or separate exchanges by
    /// commas
    #[arg(long, env = "MYXI_EXCHANGES", value_name = "EXCHANGE")]
    pub exchange: Vec<Given>,
    /// A RabbitMQ broker: amqp://user:password@host:5672/vhost or amqps://…. Repeat it or
    /// separate the nodes of a cluster by commas [default: none, events stay in this process]
    #[arg(long, env = "RABBITMQ_URL", value_name = "URL")]
    pub rabbitmq_url: Vec<Given>,
    /// Report not ready while the broker is away, instead of degraded
    #[arg(long, env = "MYXI_READY_REQUIRES_BUS", value_name = "true|false")]
    #[arg(default_value = default::READY_REQUIRES_BUS)]
    #[arg(default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub ready_requires_bus: Given,
}

#[derive(Args)]
#[command(next_help_heading = "Clients")]
pub(in crate::config) struct ClientFlags {
    /// An origin whose pages may connect besides those of the gateway's own host:
    /// scheme://host[:port], file://, null, or * for any. Repeat it or separate origins by commas
    /// [default: none]
    #[arg(long, env = "MYXI_ALLOW_ORIGIN", value_name = "ORIGIN")]
    pub allow_origin: Vec<Given>,
    /// A path at which clients may connect, besides / and /pushwss. Repeat it or separate paths
    /// by commas [default: none]
    #[arg(long, env = "MYXI_PATH", value_name = "PATH")]
    pub path: Vec<Given>,
    /// Speak the wire of the Ruby original at every path but /, so that pages written for it need
    /// no change: myxi [default: none]
    #[arg(long, env = "MYXI_COMPATIBILITY", value_name = "myxi")]
    pub compatibility: Option<Given>,
    /// A WebSocket subprotocol that is selected for clients that ask for it. Repeat it or
    /// separate names by commas [default: none]
    #[arg(long, env = "MYXI_SUBPROTOCOL", value_name = "NAME")]
    pub subprotocol: Vec<Given>,
    /// Answer /health/live and /health/ready here, too, with the word alone: for balancers
    /// that can ask only the port of the clients
    #[arg(long, env = "MYXI_HEALTH_ON_LISTEN", value_name = "true|false")]
    #[arg(default_value = default::HEALTH_ON_LISTEN)]
    #[arg(default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub health_on_listen: Given,
    /// A proxy whose X-Forwarded-For is believed: an IP address or a network such as
    /// 10.0.0.0/8. Repeat it or separate networks by commas [default: none]
    #[arg(long, env = "MYXI_TRUSTED_PROXY", value_name = "NETWORK")]
    pub trusted_proxy: Vec<Given>,
    /// How long a client may take from connecting to the end of the WebSocket handshake
    #[arg(long, env = "MYXI_HANDSHAKE_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = default::HANDSHAKE_TIMEOUT)]
    pub handshake_timeout: Given,
    /// How often a client is pinged; after 2 unanswered pings it is gone
    #[arg(long, env = "MYXI_PING_INTERVAL", value_name = "DURATION")]
    #[arg(default_value = default::PING_INTERVAL)]
    pub ping_interval: Given,
}

#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::config) struct LimitFlags {
    /// The largest message of a client
    #[arg(long, env = "MYXI_MAX_MESSAGE_SIZE", value_name = "SIZE")]
    #[arg(default_value = default::MAX_MESSAGE_SIZE)]
    pub max_message_size: Given,
    /// The largest event that may be pushed; at most 4MiB and a quarter of --max-outbox
    #[arg(long, env = "MYXI_MAX_EVENT_SIZE", value_name = "SIZE")]
    #[arg(default_value = default::MAX_EVENT_SIZE)]
    pub max_event_size: Given,
    /// What may wait to be sent to one client; past it the client is closed (3008)
    #[arg(long, env = "MYXI_MAX_OUTBOX", value_name = "SIZE")]
    #[arg(default_value = default::MAX_OUTBOX)]
    pub max_outbox: Given,
    /// The latest events, kept in memory for clients that come back; of all exchanges together
    #[arg(long, env = "MYXI_RESUME_BUFFER", value_name = "SIZE")]
    #[arg(default_value = default::RESUME_BUFFER)]
    pub resume_buffer: Given,
    /// Unread actions of one client; past it its socket is not read
    #[arg(long, env = "MYXI_MAX_UNREAD_ACTIONS", value_name = "COUNT")]
    #[arg(default_value = default::MAX_UNREAD_ACTIONS)]
    pub max_unread_actions: Given,
    /// Subscriptions of one client
    #[arg(long, env = "MYXI_MAX_SUBSCRIPTIONS", value_name = "COUNT")]
    #[arg(default_value = default::MAX_SUBSCRIPTIONS)]
    pub max_subscriptions: Given,
    /// Connections of clients at once
    #[arg(long, env = "MYXI_MAX_CONNECTIONS", value_name = "COUNT")]
    #[arg(default_value = default::MAX_CONNECTIONS)]
    pub max_connections: Given,
    /// Connections whose handshake is not finished
    #[arg(long, env = "MYXI_MAX_PENDING_HANDSHAKES", value_name = "COUNT")]
    #[arg(default_value = default::MAX_PENDING_HANDSHAKES)]
    pub max_pending_handshakes: Given,
}

#[derive(Args)]
#[command(next_help_heading = "Process")]
pub(in crate::config) struct ProcessFlags {
    /// How long to go on accepting clients after the signal to stop; 5s is right in
    /// Kubernetes
    #[arg(long, env = "MYXI_SHUTDOWN_DELAY", value_name = "DURATION")]
    #[arg(default_value = default::SHUTDOWN_DELAY)]
    pub shutdown_delay: Given,
    /// Over how long the sessions are sent away after that
    #[arg(long, env = "MYXI_DRAIN_TIME", value_name = "DURATION")]
    #[arg(default_value = default::DRAIN_TIME)]
    pub drain_time: Given,
    /// A host name under which --admin-listen may be asked but for health, besides localhost and IP addresses.
    /// Repeat it or separate names by commas [default: none]
    #[arg(long, env = "MYXI_ADMIN_HOST", value_name = "NAME")]
    pub admin_host: Vec<Given>,
    /// Threads that serve sessions [default: half of the processor's cores, at least 1]
    #[arg(long, env = "MYXI_WORKER_THREADS", value_name = "COUNT")]
    pub worker_threads: Option<Given>,
}

#[derive(Args)]
#[command(next_help_heading = "Logs")]
pub(in crate::config) struct LogFlags {
    /// What is logged: off, error, warn, info, debug or trace, also by module:
    /// warn,myxi=debug
    #[arg(long, env = "MYXI_LOG", value_name = "FILTER")]
    #[arg(default_value = default::LOG)]
    pub log: Given,
    /// text, json, or auto: text on a terminal and JSON otherwise
    #[arg(long, env = "MYXI_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(default_value = default::LOG_FORMAT)]
    pub log_format: Given,
}
