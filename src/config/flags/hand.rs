//! What the commands are told that are given by hand to a gateway that runs.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

use crate::config::given::Given;

const PUSH_EXAMPLES: &str = "\
Examples:
  myxi push widgets 1 WidgetChanged '{\"quantity\":7}'
  jq -c '.widgets[]' stock.json | myxi push widgets 1 WidgetChanged -
  echo '{\"exchange\":\"widgets\",\"routing_key\":1,\"event\":\"WidgetChanged\"}' | myxi push

Prints the event_id of each event that was pushed. Exit code 0: all were; 1: not all, and
stderr says of each whether it may have been pushed; 2: the command line is wrong.";

const TAIL_EXAMPLES: &str = "\
Examples:
  myxi tail widgets 1 2 --login 'Authenticate={\"password\":\"sesame\"}'
  myxi tail widgets --json | jq .payload

With keys it is a client like any other, and connects again, by itself, from where it was.
Without, it reads what the console shows: some of a busy gateway's events, long payloads cut.";

const SESSIONS_EXAMPLE: &str = "\
Example:
  myxi sessions adam --sort outbox

Shows those of the one replica that is asked.";

const SEND_EXAMPLE: &str = "\
Example:
  myxi send 5edab4db47677f46 Notice '{\"text\":\"we close at noon\"}'";

const DISCONNECT_EXAMPLE: &str = "\
Example:
  myxi disconnect 5edab4db47677f46 --code 4000 --reason 'sign in again'";

const HEALTH_EXAMPLE: &str = "\
Examples:
  myxi health
  HEALTHCHECK CMD [\"myxi\", \"health\"]

Exit code 0: ready, or degraded without --strict; 1: neither, or there is no answer within 3 s.";

#[derive(Subcommand)]
pub(in crate::config) enum HandFlags {
    /// Push an event, or one for each line of standard input
    Push(Box<PushFlags>),
    /// Show events as they come
    Tail(Box<TailFlags>),
    /// List the clients that are connected
    Sessions(Box<SessionsFlags>),
    /// Send an event to one session
    Send(Box<SendFlags>),
    /// Close one session
    Disconnect(Box<DisconnectFlags>),
    /// Ask a gateway whether it is well, as a probe does
    Health(Box<HealthFlags>),
}

#[derive(Args)]
#[command(after_help = PUSH_EXAMPLES)]
pub(in crate::config) struct PushFlags {
    /// Of the event. Without EXCHANGE, ROUTING_KEY and EVENT, each line of standard input is an
    /// event: {"exchange":…,"routing_key":…,"event":…,"payload":…,"event_id":…}, the last two
    /// where there is one
    pub exchange: Option<Given>,
    /// Of the event; may be empty
    #[arg(allow_negative_numbers = true)]
    pub routing_key: Option<Given>,
    /// The event's name
    pub event: Option<Given>,
    /// JSON, or - for standard input: each line is the payload of an event [default: {}]
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub payload: Option<Given>,
    /// Of the one event: pushed again under the same, it is not delivered again [default: drawn]
    #[arg(long, value_name = "ID")]
    pub event_id: Option<Given>,
    #[command(flatten)]
    pub gateway: GatewayFlags,
}

#[derive(Args)]
#[command(after_help = TAIL_EXAMPLES)]
pub(in crate::config) struct TailFlags {
    /// Whose events
    pub exchange: Given,
    /// To subscribe to. Without one, events of all keys are read at the admin listener
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    pub keys: Vec<Given>,
    /// With keys, where clients connect: ws:// or wss:// [default: where `serve` would listen]
    #[arg(long, env = "MYXI_URL", value_name = "URL")]
    pub url: Option<Given>,
    /// With keys, an action that is sent first, and must not be answered with an Error. What is
    /// secret in it is better off in the variable
    #[arg(long, env = "MYXI_LOGIN", value_name = "NAME=JSON")]
    pub login: Option<Given>,
    /// Begin with so many of the latest events of each key, as far as the gateway has them (with
    /// keys at most 100)
    #[arg(long, value_name = "COUNT", conflicts_with = "after")]
    pub last: Option<Given>,
    /// With keys, begin behind this position
    #[arg(long, value_name = "POSITION")]
    pub after: Option<Given>,
    /// End after so many events
    #[arg(long, value_name = "COUNT")]
    pub count: Option<Given>,
    /// A line of JSON for each event, also on a terminal; elsewhere it always is
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub admin: AdminFlags,
}

#[derive(Args)]
#[command(after_help = SESSIONS_EXAMPLE)]
pub(in crate::config) struct SessionsFlags {
    /// Those whose id, identity or address holds this text
    pub search: Option<Given>,
    /// What is the most comes first: age, subscriptions or outbox
    #[arg(long, value_name = "BY", default_value = "age")]
    pub sort: Given,
    /// So many, at most 200
    #[arg(long, value_name = "COUNT", default_value = "50")]
    pub limit: Given,
    /// Without so many of the first
    #[arg(long, value_name = "COUNT", default_value = "0")]
    pub offset: Given,
    /// A line of JSON for each session, as /api/sessions has it
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub admin: AdminFlags,
}

#[derive(Args)]
#[command(after_help = SEND_EXAMPLE)]
pub(in crate::config) struct SendFlags {
    /// Its id, as Welcome, the application and `myxi sessions` have it
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub session: String,
    /// The event's name
    pub event: String,
    /// The payload
    #[arg(value_name = "JSON", default_value = "{}", allow_negative_numbers = true)]
    pub payload: String,
    #[command(flatten)]
    pub gateway: GatewayFlags,
}

#[derive(Args)]
#[command(after_help = DISCONNECT_EXAMPLE)]
pub(in crate::config) struct DisconnectFlags {
    /// Its id, as Welcome, the application and `myxi sessions` have it
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub session: String,
    /// 4000 to 4499: the client may come back; 4500 to 4999 and 1000: it is to stay away
    #[arg(long, value_name = "CODE", default_value = "4500")]
    pub code: Given,
    /// For the client; at most 123 bytes
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    #[command(flatten)]
    pub gateway: GatewayFlags,
}

#[derive(Args)]
#[command(after_help = HEALTH_EXAMPLE)]
pub(in crate::config) struct HealthFlags {
    /// Ask whether the process runs, instead of whether it should get clients
    #[arg(long)]
    pub live: bool,
    /// Call degraded unwell, too: as a startup probe does, which waits for the application
    #[arg(long, conflicts_with = "live")]
    pub strict: bool,
    /// Where health is asked: the admin listener, or the clients' with --health-on-listen
    /// [default: http:// and --admin-listen of `serve`, by its variable]
    #[arg(long, env = "MYXI_ADMIN", value_name = "URL", visible_alias = "url")]
    pub admin: Option<Given>,
}

#[derive(Args)]
#[command(next_help_heading = "Gateway")]
pub(in crate::config) struct GatewayFlags {
    /// Where the Gateway service is: http:// or https:// [default: http:// and --grpc-listen of
    /// `serve`, by its variable]
    #[arg(long, env = "MYXI_GATEWAY", value_name = "URL")]
    pub gateway: Option<Given>,
    /// The bearer token that it asks for. Prefer the variable: other users of the machine can
    /// read command lines
    #[arg(long, env = "MYXI_GRPC_TOKEN", value_name = "TOKEN")]
    pub grpc_token: Option<Given>,
}

#[derive(Args)]
#[command(next_help_heading = "Admin listener")]
pub(in crate::config) struct AdminFlags {
    /// Where it is: http:// or https:// [default: http:// and --admin-listen of `serve`, by its
    /// variable]
    #[arg(long, env = "MYXI_ADMIN", value_name = "URL")]
    pub admin: Option<Given>,
    /// The token that it asks for. Prefer the variable
    #[arg(long, env = "MYXI_ADMIN_TOKEN", value_name = "TOKEN")]
    pub admin_token: Option<Given>,
}
