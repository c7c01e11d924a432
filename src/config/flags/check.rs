//! What `myxi check` is told: what to check, and what is valid there. All flags of `serve` are
//! taken, too, for `--config`; those that matter without it are shown.

use clap::{Arg, Args};

use super::ServeFlags;
use crate::config::given::Given;

const SHOWN: [&str; 7] = [
    "action_handler",
    "action_handler_token",
    "action_timeout",
    "session_opened",
    "exchange",
    "max_event_size",
    "max_outbox",
];

const AFTER: &str = "\
Example:
  myxi check --action-handler http://127.0.0.1:50051 --full

With --config every flag and variable of `myxi serve` is taken, see its --help, and nobody is asked
unless --handler or --broker is written, too.
Where none of --action-handler, --broker and --config is written, what MYXI_ACTION_HANDLER and
RABBITMQ_URL name is checked.

Exit code: 0 where nothing failed (there may be warnings), 1 where something did, 2 where the
command line or, with --config, the configuration is wrong.";

#[derive(Args)]
#[command(mut_args(hidden_of_serve), after_help = AFTER)]
pub(in crate::config) struct CheckFlags {
    #[command(flatten)]
    pub faces: FaceFlags,
    #[command(flatten)]
    pub handler: HandlerFlags,
    #[command(flatten)]
    pub report: ReportFlags,
    #[command(flatten)]
    pub serve: ServeFlags,
}

#[derive(Args)]
#[command(next_help_heading = "What to check")]
pub(in crate::config) struct FaceFlags {
    /// The handler that --action-handler names: to be written beside --config only
    #[arg(long)]
    pub handler: bool,
    /// A RabbitMQ broker, or all nodes of a cluster; without a URL those of RABBITMQ_URL
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub broker: Option<Given>,
    /// The broker's management API, http://user:password@host:15672 or https: policies and bounds
    /// are seen there only [default: not looked at]
    #[arg(long, value_name = "URL")]
    pub management_url: Option<Given>,
    /// The configuration that `myxi serve` would have with these flags and variables
    #[arg(long)]
    pub config: bool,
}

#[derive(Args)]
#[command(next_help_heading = "What is valid for the handler")]
pub(in crate::config) struct HandlerFlags {
    /// An action that it knows, with a payload that is right. Repeat it: one session says them in
    /// turn, and again with payloads that are odd. Name none that does harm [default: none]
    #[arg(long, value_name = "NAME[=JSON]")]
    pub action: Vec<Given>,
    /// What its sessions have for auth, before the first action [default: none]
    #[arg(long, value_name = "JSON")]
    pub auth: Option<Given>,
    /// A topic that it allows after the actions. Repeat it [default: none]
    #[arg(long, value_name = "EXCHANGE:KEY")]
    pub allow: Vec<Given>,
    /// A topic that it denies. Repeat it [default: none]
    #[arg(long, value_name = "EXCHANGE:KEY")]
    pub deny: Vec<Given>,
    /// Also what leaves traces: SessionOpened, SessionClosed, and 100 calls at once
    #[arg(long)]
    pub full: bool,
    /// How long to wait until it can be reached: in CI it may just have been started
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub wait: Given,
}

#[derive(Args)]
#[command(next_help_heading = "Report")]
pub(in crate::config) struct ReportFlags {
    /// Write the report as JSON to this file; - is stdout, in place of the text
    #[arg(long, value_name = "FILE")]
    pub json: Option<Given>,
    /// The same as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<Given>,
}

fn hidden_of_serve(arg: Arg) -> Arg {
    let of_serve = arg.get_env().is_some();
    let shown = SHOWN.contains(&arg.get_id().as_str());
    arg.hide(of_serve && !shown)
}
