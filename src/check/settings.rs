//! The configuration that `myxi serve` would have: what is wrong with it, or what it comes to in
//! short, without a secret.

use super::report::{Face, Finding, Outcome, Report};
use crate::{
    bus::rabbitmq::ExchangeConfig,
    config::{BusConfig, Config, ConfigErrors, Note},
};

pub(super) fn check(settings: Result<Box<Config>, ConfigErrors>, report: &mut Report) {
    let mut add = |name: &str, outcome, asked: &str, came: String| {
        report.add(Finding::new(Face::Config, name, outcome, asked, came));
    };
    let config = match settings {
        Ok(config) => config,
        Err(ConfigErrors(problems)) => {
            for problem in problems {
                let (flag, said) = problem.split_once(": ").unwrap_or(("required", &problem));
                let asked = "the flags and variables of myxi serve";
                report.add(
                    Finding::new(Face::Config, flag, Outcome::Failed, asked, said)
                        .client("nothing: myxi serve does not start"),
                );
            }
            return;
        }
    };
    let Config { listen, grpc, admin, application, limits, drain, .. } = &*config;
    let token = |there: bool| if there { "with a token" } else { "without a token" };
    add(
        "listeners",
        Outcome::Ok,
        "where it listens",
        format!(
            "clients {listen}; the Gateway service {} {}; admin {} {}",
            grpc.listen,
            token(grpc.token.is_some()),
            admin.listen,
            token(admin.token.is_some()),
        ),
    );
    add(
        "application",
        Outcome::Ok,
        "whom it asks",
        format!(
            "{} {}, {:?} a call, {} calls at once, SessionOpened {:?}",
            application.endpoint,
            token(application.token.is_some()),
            application.timeout,
            application.max_in_flight,
            config.session_opened,
        ),
    );
    let bus = match &config.bus {
        BusConfig::Memory => "this process's memory".to_owned(),
        BusConfig::RabbitMq { urls } => {
            urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    };
    let exchanges: Vec<_> = config.exchanges.iter().map(exchange).collect();
    add("bus", Outcome::Ok, "how events travel", format!("{bus}; {}", exchanges.join(", ")));
    add(
        "limits",
        Outcome::Ok,
        "what clients may cost",
        format!(
            "messages {} bytes, events {} bytes, outboxes {} bytes, {} subscriptions each, {} \
         connections",
            limits.max_message_size,
            limits.max_event_size,
            limits.max_outbox,
            limits.max_subscriptions,
            limits.max_connections,
        ),
    );
    add(
        "process",
        Outcome::Ok,
        "how it runs",
        format!(
            "{} threads for sessions; a drain takes {:?} after {:?}",
            config.worker_threads, drain.drain_time, drain.shutdown_delay
        ),
    );
    for note in &config.notes {
        match note {
            Note::Info(said) => add("note", Outcome::Ok, "what it would log", said.clone()),
            Note::Warning(said) => add("note", Outcome::Warning, "what it would log", said.clone()),
        }
    }
}

fn exchange(exchange: &ExchangeConfig) -> String {
    match exchange.kind.has_log() {
        true => format!(
            "{} ({:?}, {:?}, {} bytes)",
            exchange.name, exchange.kind, exchange.max_age, exchange.max_bytes
        ),
        false => format!("{} ({:?})", exchange.name, exchange.kind),
    }
}
