//! What `myxi check` makes of its flags. What is wrong with them is told as for any command; what
//! is wrong with those of `serve` is what `--config` asks about.

use std::{path::PathBuf, time::Duration};

use serde_json::value::RawValue;

use super::{
    ApplicationConfig, Config, ConfigErrors, SessionOpened, check, exchanges,
    flags::{CheckFlags, HandlerFlags},
    given::Given,
    listen::Variables,
    problems::Problems,
    units, values,
};
use crate::{
    bus::rabbitmq::{BrokerUrl, ExchangeConfig},
    event::{Exchange, Topic},
    net::{
        inherited::{Inherited, InvalidSockets},
        remote::Remote,
    },
    protocol::BuiltIn,
};

/// What to check, and where to write what was found.
#[derive(Debug, Clone)]
pub struct CheckConfig {
    pub settings: Option<Result<Box<Config>, ConfigErrors>>,
    pub handler: Option<HandlerToCheck>,
    pub broker: Option<BrokerToCheck>,
    /// `-` is stdout.
    pub json: Option<PathBuf>,
    pub junit: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub struct HandlerToCheck {
    pub application: ApplicationConfig,
    pub session_opened: SessionOpened,
    pub max_event_size: usize,
    pub max_outbox: usize,
    pub wait: Duration,
    pub full: bool,
    /// Names and payloads, which are JSON.
    pub actions: Vec<(String, String)>,
    pub auth: Option<String>,
    pub allow: Vec<Topic>,
    pub deny: Vec<Topic>,
    /// Those of the gateway, where they are told.
    pub exchanges: Vec<Exchange>,
}

#[derive(Debug, Clone)]
pub struct BrokerToCheck {
    /// At least one.
    pub urls: Vec<BrokerUrl>,
    pub management: Option<ManagementUrl>,
    /// Those of the gateway, where they are told.
    pub exchanges: Vec<ExchangeConfig>,
}

/// Where RabbitMQ's management API is, and as whom. Never shown whole.
#[derive(Clone, PartialEq, Eq)]
pub struct ManagementUrl {
    /// `http://host:port`, or `https`.
    pub remote: Remote,
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for ManagementUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ManagementUrl({})", self.remote)
    }
}

pub(super) fn config(
    flags: &CheckFlags,
    variables: &Variables,
    inherited: Result<Inherited, InvalidSockets>,
) -> Result<Box<CheckConfig>, ConfigErrors> {
    let settings = flags.faces.config.then(|| check::serve(&flags.serve, variables, inherited));
    // Those that `--config` tells need not be told twice.
    let told = settings.as_ref().is_some_and(Result::is_err);
    let (mut problems, mut of_serve) = (Problems::default(), Problems::default());
    let exchanges = known_exchanges(&flags.serve.bus.exchange, &mut of_serve);
    let (handler, broker) = wanted(flags, &mut problems);
    let names: Vec<_> = exchanges.iter().map(|exchange| exchange.name.clone()).collect();
    let handler =
        handler.then(|| handler_to_check(flags, names, &mut problems, &mut of_serve)).flatten();
    let broker = broker.then(|| broker_to_check(flags, exchanges, &mut problems)).flatten();
    let path = |given: &Option<Given>| given.as_ref().map(|given| PathBuf::from(&given.text));
    let (json, junit) = (path(&flags.report.json), path(&flags.report.junit));
    if !told {
        problems.append(of_serve);
    }
    problems.finish(Some(Box::new(CheckConfig { settings, handler, broker, json, junit })))
}

/// Whether a handler is to be checked, and whether a broker.
fn wanted(flags: &CheckFlags, problems: &mut Problems) -> (bool, bool) {
    let handler = flags.serve.application.action_handler.as_ref();
    let faces = &flags.faces;
    // Beside `--config` it is a setting.
    let named = handler.is_some_and(|given| given.name.starts_with("--")) && !faces.config;
    let written = (faces.handler || named, faces.broker.is_some());
    if faces.config || written != (false, false) {
        return written;
    }
    let named = (handler.is_some(), !flags.serve.bus.rabbitmq_url.is_empty());
    if named == (false, false) {
        problems.missing::<()>(
            "there is nothing to check: write --action-handler http://127.0.0.1:50051, \
             --broker amqp://user:password@host, or --config",
        );
    }
    named
}

/// Some are wanted only to know more; none need be given.
fn known_exchanges(given: &[Given], problems: &mut Problems) -> Vec<ExchangeConfig> {
    let mut known = Vec::new();
    for given in given {
        for problem in exchanges::parse_into(&mut known, &given.text) {
            problems.add(given, &problem);
        }
    }
    known
}

fn handler_to_check(
    flags: &CheckFlags,
    exchanges: Vec<Exchange>,
    problems: &mut Problems,
    of_serve: &mut Problems,
) -> Option<HandlerToCheck> {
    let CheckFlags { handler, serve, .. } = flags;
    let application = check::application(&serve.application, of_serve);
    let session_opened = of_serve.parse(&serve.application.session_opened, values::session_opened);
    let limits = check::limits(&serve.limits, &serve.clients, of_serve);
    let HandlerFlags { action, auth, allow, deny, full, wait } = handler;
    let actions = each(action, problems, self::action);
    let auth = problems.parse_optional(auth.as_ref(), json);
    let topic = |text: &str| topic(&exchanges, text);
    let (allow, deny) = (each(allow, problems, topic), each(deny, problems, topic));
    let wait = problems.parse(wait, units::duration);
    let limits = limits?;
    Some(HandlerToCheck {
        application: application?,
        session_opened: session_opened?,
        max_event_size: limits.max_event_size,
        max_outbox: limits.max_outbox,
        wait: wait?,
        full: *full,
        actions,
        auth: auth?,
        allow,
        deny,
        exchanges,
    })
}

fn broker_to_check(
    flags: &CheckFlags,
    exchanges: Vec<ExchangeConfig>,
    problems: &mut Problems,
) -> Option<BrokerToCheck> {
    let written = flags.faces.broker.as_ref().filter(|given| !given.text.is_empty());
    let given = written.map_or(&flags.serve.bus.rabbitmq_url[..], std::slice::from_ref);
    if given.is_empty() {
        return problems.missing(
            "--broker: neither a URL nor RABBITMQ_URL is there; write --broker \
             amqp://user:password@host:5672/vhost",
        );
    }
    let urls = problems.parse_list(given, values::broker_url);
    let management = flags.faces.management_url.as_ref();
    let management = problems.parse_optional(management, management_url);
    Some(BrokerToCheck { urls: urls?, management: management?, exchanges })
}

/// Without commas between values: JSON and routing keys have some of their own.
fn each<T>(
    given: &[Given],
    problems: &mut Problems,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    given.iter().filter_map(|given| problems.parse(given, &parse)).collect()
}

fn action(text: &str) -> Result<(String, String), String> {
    let (name, payload) = text.split_once('=').unwrap_or((text, "{}"));
    if name.is_empty() {
        return Err("it has no name; write for example --action 'Say={\"text\":\"hi\"}'".into());
    }
    if BuiltIn::named(name).is_some() {
        return Err(format!("{name} is the gateway's own and never reaches the handler"));
    }
    json(payload).map(|payload| (name.into(), payload))
}

fn json(text: &str) -> Result<String, String> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Ok(text.into()),
        // It may hold a secret, and is not repeated.
        Err(error) => Err(format!("what is given is not JSON ({error}); mind the shell's quotes")),
    }
}

/// A name may have a colon in it, and is known then if it is one of the gateway's.
fn topic(exchanges: &[Exchange], text: &str) -> Result<Topic, String> {
    let known = exchanges.iter().find_map(|exchange| {
        let key = text.strip_prefix(exchange.as_str())?.strip_prefix(':')?;
        Some((exchange.as_str(), key))
    });
    let (exchange, key) = known
        .or_else(|| text.split_once(':'))
        .ok_or_else(|| format!("{text:?} has no colon; write EXCHANGE:KEY, as rooms:lobby"))?;
    let topic = Exchange::new(exchange).and_then(|exchange| Topic::new(exchange, key));
    topic.map_err(|error| format!("{text:?}: {error}"))
}

/// Does not repeat what it refuses.
fn management_url(text: &str) -> Result<ManagementUrl, String> {
    let wrong = || "write http://user:password@host:15672, or https://".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let rest = rest.trim_end_matches('/');
    let (userinfo, authority) = rest.rsplit_once('@').ok_or_else(wrong)?;
    let (user, password) = userinfo.split_once(':').ok_or_else(wrong)?;
    let uri: http::uri::Authority = authority.parse().map_err(|_| wrong())?;
    let known = ["http", "https"].contains(&scheme) && uri.port_u16().is_some();
    if !known || [user, password].iter().any(|part| part.contains('/')) {
        return Err(wrong());
    }
    Ok(ManagementUrl {
        remote: format!("{scheme}://{authority}").parse().map_err(|_| wrong())?,
        user: decoded(user).ok_or_else(wrong)?,
        password: decoded(password).ok_or_else(wrong)?,
    })
}

/// Percent-encoding undone.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_split_where_its_exchange_ends() {
        let colon = [Exchange::new("a:b").expect("a name")];
        let split = |exchanges: &[_], text| {
            let topic = topic(exchanges, text).expect("a topic");
            (topic.exchange.to_string(), topic.routing_key().to_owned())
        };
        assert_eq!(split(&[], "rooms:lobby:2"), ("rooms".into(), "lobby:2".into()));
        assert_eq!(split(&colon, "a:b:c"), ("a:b".into(), "c".into()));
        assert_eq!(split(&colon, "a:b"), ("a".into(), "b".into()));
        assert!(topic(&[], "rooms").is_err() && topic(&[], "no room:1").is_err());
    }

    #[test]
    fn a_management_url_keeps_its_password_to_itself() {
        let url = management_url("http://me:s%403cret@[::1]:15672/").expect("valid");
        assert_eq!((&*url.user, &*url.password), ("me", "s@3cret"));
        assert_eq!(url.remote.to_string(), "http://[::1]:15672/");
        assert!(!format!("{url:?}").contains("s@3cret"));
        for wrong in ["ftp://me:s3cret@host:1", "http://host:1", "http://me:s3cret@host"] {
            assert!(!management_url(wrong).expect_err(wrong).contains("s3cret"));
        }
    }
}
