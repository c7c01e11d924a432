//! Makes a configuration of what was given, or a list of everything that is wrong with it.
//!
//! Each function first looks at all its flags and only then puts their values together: a
//! wrong one must not hide the next.

use std::thread;

use super::{
    ApplicationConfig, BusConfig, Config, ConfigErrors, DemoConfig, DrainConfig, Limits, Note,
    exchanges,
    flags::{
        ApplicationFlags, BusFlags, ClientFlags, DemoFlags, LimitFlags, LogFlags, ProcessFlags,
        ServeFlags,
    },
    given::Given,
    listen::{self, Listeners, Variables},
    problems::Problems,
    units, values,
};
use crate::{
    bus::rabbitmq::ExchangeConfig,
    edge::forwarded::TrustedProxies,
    logging::LogConfig,
    net::{
        inherited::{Inherited, InvalidSockets},
        origin::OriginPolicy,
    },
};

/// With less room, one event of the largest kind would cut off a client that is only a
/// little behind.
const EVENTS_PER_OUTBOX: usize = 4;

/// What the `Gateway` service reads in one call, and about what brokers were made for.
const EVENT_SIZE_MAX: &str = "4MiB";

pub(super) fn serve(
    flags: &ServeFlags,
    variables: &Variables,
    inherited: Result<Inherited, InvalidSockets>,
) -> Result<Box<Config>, ConfigErrors> {
    let mut problems = Problems::default();
    let config = config(flags, variables, inherited, &mut problems).map(Box::new);
    problems.finish(config)
}

pub(super) fn demo(
    flags: &DemoFlags,
    variables: &Variables,
) -> Result<Box<DemoConfig>, ConfigErrors> {
    let mut problems = Problems::default();
    let config = demo_config(flags, variables, &mut problems).map(Box::new);
    problems.finish(config)
}

fn config(
    flags: &ServeFlags,
    variables: &Variables,
    inherited: Result<Inherited, InvalidSockets>,
    problems: &mut Problems,
) -> Option<Config> {
    let inherited = problems.sockets(inherited);
    let listeners = listen::listeners(&flags.listeners, None, variables, &inherited, problems);
    let asked = &flags.application;
    let application = application(asked, problems);
    let session_opened = problems.parse(&asked.session_opened, values::session_opened);
    let recheck_interval = problems.parse(&asked.recheck_interval, units::duration_above_zero);
    let forward_headers = problems.parse_list(&asked.forward_header, values::header_name);
    let bus = bus(&flags.bus, problems);
    let exchanges = exchanges(&flags.bus, problems);
    let ready_requires_bus = problems.parse(&flags.bus.ready_requires_bus, values::switch);
    let paths = problems.parse_list(&flags.clients.path, values::path);
    let compatibility = flags.clients.compatibility.as_ref();
    let compatibility = problems.parse_optional(compatibility, values::compatibility);
    let subprotocols = problems.parse_list(&flags.clients.subprotocol, values::subprotocol);
    let health_on_listen = problems.parse(&flags.clients.health_on_listen, values::switch);
    let origins = origins(&flags.clients, problems);
    let trusted_proxies = problems.parse_list(&flags.clients.trusted_proxy, values::network);
    let limits = limits(&flags.limits, &flags.clients, problems);
    let drain = drain(&flags.process, problems);
    let admin_hosts = problems.parse_list(&flags.process.admin_host, values::host_name);
    let worker_threads = worker_threads(&flags.process, problems);
    let log = log(&flags.log, problems);
    let Listeners { clients, grpc, admin } = listeners?;
    Some(Config {
        listen: clients,
        grpc,
        admin,
        inherited,
        admin_hosts: admin_hosts?,
        application: application?,
        session_opened: session_opened?,
        recheck_interval: recheck_interval?,
        forward_headers: forward_headers?,
        bus: bus?,
        exchanges: exchanges?,
        ready_requires_bus: ready_requires_bus?,
        paths: paths?,
        compatibility: compatibility?,
        subprotocols: subprotocols?,
        health_on_listen: health_on_listen?,
        origins: origins?,
        trusted_proxies: TrustedProxies::new(trusted_proxies?),
        limits: limits?,
        drain: drain?,
        worker_threads: worker_threads?,
        log: log?,
        notes: problems.take_notes(),
    })
}

fn demo_config(
    flags: &DemoFlags,
    variables: &Variables,
    problems: &mut Problems,
) -> Option<DemoConfig> {
    let page_listen = problems.parse(&flags.page_listen, listen::socket_address);
    let page = page_listen.map(|address| (&flags.page_listen, address));
    let none = Inherited::default();
    let listeners = listen::listeners(&flags.listeners, page, variables, &none, problems);
    let log = log(&flags.log, problems);
    let Listeners { clients, grpc, admin } = listeners?;
    Some(DemoConfig {
        listen: clients,
        grpc,
        admin,
        page_listen: page_listen?,
        log: log?,
        notes: problems.take_notes(),
    })
}

pub(super) fn application(
    flags: &ApplicationFlags,
    problems: &mut Problems,
) -> Option<ApplicationConfig> {
    let endpoint = match &flags.action_handler {
        Some(given) => problems.parse(given, values::action_handler),
        None => problems.missing(
            "--action-handler (MYXI_ACTION_HANDLER) is missing: say where the application is, for \
             example --action-handler http://127.0.0.1:50051 or unix:/run/app.sock",
        ),
    };
    let token = problems.parse_optional(flags.action_handler_token.as_ref(), values::token);
    let timeout = problems.parse(&flags.action_timeout, units::duration_above_zero);
    let max_in_flight = problems.count(&flags.max_in_flight);
    Some(ApplicationConfig {
        endpoint: endpoint?,
        token: token?,
        timeout: timeout?,
        max_in_flight: max_in_flight?,
    })
}

fn bus(flags: &BusFlags, problems: &mut Problems) -> Option<BusConfig> {
    let urls = problems.parse_list(&flags.rabbitmq_url, values::broker_url)?;
    if !urls.is_empty() {
        return Some(BusConfig::RabbitMq { urls });
    }
    problems.note(Note::Warning(
        "without --rabbitmq-url (RABBITMQ_URL) events stay inside this process: replicas do not \
         see what is pushed to each other, and a restart forgets everything"
            .into(),
    ));
    Some(BusConfig::Memory)
}

fn exchanges(flags: &BusFlags, problems: &mut Problems) -> Option<Vec<ExchangeConfig>> {
    let mut exchanges = Vec::new();
    let mut valid = true;
    for given in &flags.exchange {
        for problem in exchanges::parse_into(&mut exchanges, &given.text) {
            problems.add(given, &problem);
            valid = false;
        }
    }
    if exchanges.is_empty() && valid {
        return problems.missing(
            "--exchange (MYXI_EXCHANGES) is missing: name at least one exchange, for example \
             --exchange widgets",
        );
    }
    valid.then_some(exchanges)
}

fn origins(flags: &ClientFlags, problems: &mut Problems) -> Option<OriginPolicy> {
    let origins = problems.parse_list(&flags.allow_origin, values::origin)?;
    let listed: Option<Vec<_>> = origins.into_iter().collect();
    Some(listed.map_or(OriginPolicy::Any, OriginPolicy::SameHostOr))
}

pub(super) fn limits(
    flags: &LimitFlags,
    clients: &ClientFlags,
    problems: &mut Problems,
) -> Option<Limits> {
    let max_message_size = problems.size(&flags.max_message_size, "1KiB", "16MiB");
    let max_outbox = problems.size(&flags.max_outbox, "64KiB", "1GiB");
    let max_event_size = max_event_size(&flags.max_event_size, max_outbox, problems);
    let resume_buffer = problems.size(&flags.resume_buffer, "1MiB", "16GiB");
    let max_unread_actions = problems.count(&flags.max_unread_actions);
    let max_subscriptions = problems.count(&flags.max_subscriptions);
    let max_connections = problems.count(&flags.max_connections);
    let max_pending_handshakes = problems.count(&flags.max_pending_handshakes);
    let handshake_timeout = problems.parse(&clients.handshake_timeout, units::duration_above_zero);
    let ping_interval = problems.parse(&clients.ping_interval, units::duration_above_zero);
    Some(Limits {
        max_message_size: max_message_size?,
        max_event_size: max_event_size?,
        max_outbox: max_outbox?,
        resume_buffer: resume_buffer?,
        max_unread_actions: max_unread_actions?,
        max_subscriptions: max_subscriptions?,
        max_connections: max_connections?,
        max_pending_handshakes: max_pending_handshakes?,
        handshake_timeout: handshake_timeout?,
        ping_interval: ping_interval?,
    })
}

/// A smaller outbox makes the default smaller too; what somebody wrote is not touched.
fn max_event_size(
    given: &Given,
    max_outbox: Option<usize>,
    problems: &mut Problems,
) -> Option<usize> {
    let size = problems.size(given, "1KiB", EVENT_SIZE_MAX)?;
    let most = max_outbox? / EVENTS_PER_OUTBOX;
    if size > most && !given.is_default {
        let problem = format!(
            "{:?} is more than a quarter of --max-outbox; write {most} (bytes) or less, or a \
             larger --max-outbox",
            given.text
        );
        problems.add(given, &problem);
    }
    Some(size.min(most))
}

fn drain(flags: &ProcessFlags, problems: &mut Problems) -> Option<DrainConfig> {
    let shutdown_delay = problems.parse(&flags.shutdown_delay, units::duration);
    let drain_time = problems.parse(&flags.drain_time, units::duration);
    Some(DrainConfig { shutdown_delay: shutdown_delay?, drain_time: drain_time? })
}

fn worker_threads(flags: &ProcessFlags, problems: &mut Problems) -> Option<usize> {
    match &flags.worker_threads {
        Some(given) => problems.parse(given, |text| units::count_within(text, 1..=1024)),
        None => Some((thread::available_parallelism().map_or(1, usize::from) / 2).max(1)),
    }
}

fn log(flags: &LogFlags, problems: &mut Problems) -> Option<LogConfig> {
    let filter = problems.parse(&flags.log, values::log_filter);
    let format = problems.parse(&flags.log_format, values::log_format);
    Some(LogConfig { filter: filter?, format: format? })
}
