//! How single values are read. An error says what was given and what to write instead.

use http::{HeaderName, uri::PathAndQuery};
use ipnet::IpNet;
use tracing_subscriber::filter::Targets;

use super::SessionOpened;
use crate::{
    application::grpc::{Endpoint, InvalidEndpoint},
    bus::rabbitmq::{BrokerUrl, InvalidBrokerUrl},
    edge::forwarded::TrustedProxies,
    logging::{self, LogFormat},
    net::{
        host,
        origin::Origin,
        token::{BearerToken, InvalidToken},
    },
    protocol::Dialect,
};

pub(super) fn action_handler(text: &str) -> Result<Endpoint, String> {
    text.parse().map_err(|error: InvalidEndpoint| {
        format!("{text:?}: {error}; write http://127.0.0.1:50051 or unix:/run/app.sock")
    })
}

/// Does not repeat what it refuses.
pub(super) fn token(text: &str) -> Result<BearerToken, String> {
    text.parse().map_err(|error: InvalidToken| {
        format!("{error}; write for example what `openssl rand -hex 32` prints")
    })
}

/// Does not repeat what it refuses.
pub(super) fn broker_url(text: &str) -> Result<BrokerUrl, String> {
    text.parse().map_err(|error: InvalidBrokerUrl| {
        format!(
            "{error}; write amqp://user:password@host:5672/vhost, or amqps:// for TLS. In user, \
             password and vhost write % as %25, # as %23, ? as %3F, / as %2F, @ as %40, : as \
             %3A, a comma as %2C and a space as %20: the password 50%#1 is 50%25%231"
        )
    })
}

pub(super) fn session_opened(text: &str) -> Result<SessionOpened, String> {
    match text {
        "off" => Ok(SessionOpened::Off),
        "required" => Ok(SessionOpened::Required),
        _ => Err(format!("{text:?} is unknown; write off or required")),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither; write true or false")),
    }
}

pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| format!("{text:?} is not a header's name; write for example cookie"))
}

pub(super) fn host_name(text: &str) -> Result<String, String> {
    host::is_name(text).then(|| text.to_owned()).ok_or_else(|| {
        format!("{text:?} is not a host name; write for example myxi.internal (without a port)")
    })
}

/// Without the slash that may stand at its end. What the gateway serves itself stays its own.
pub(super) fn path(text: &str) -> Result<Box<str>, String> {
    let advice = "write for example /ws (percent-encoded, without a query)";
    let bare = text.strip_suffix('/').unwrap_or(text);
    let valid = text.starts_with('/')
        && !text.contains(['?', '#', '"', '<', '>'])
        && PathAndQuery::try_from(text).is_ok_and(|path| path.path() == text);
    if !valid {
        return Err(format!("{text:?} is not a path; {advice}"));
    }
    match bare {
        "" | "/myxi.js" => Err(format!("{text:?} is taken; {advice}")),
        _ if bare.starts_with("/health") => Err(format!("{text:?} is taken; {advice}")),
        _ => Ok(bare.into()),
    }
}

/// Every wire has a name but the one that is documented, which is always there.
pub(super) fn compatibility(text: &str) -> Result<Dialect, String> {
    match text {
        "myxi" => Ok(Dialect::Original),
        _ => Err(format!("{text:?} is unknown; write myxi, or leave it out")),
    }
}

pub(super) fn subprotocol(text: &str) -> Result<Box<str>, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let valid = !text.is_empty() && text.bytes().all(token);
    valid.then(|| text.into()).ok_or_else(|| {
        format!("{text:?} is not a subprotocol's name; write for example actioncable-v1-json")
    })
}

/// `None` stands for every origin.
pub(super) fn origin(text: &str) -> Result<Option<Origin>, String> {
    if text == "*" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        format!(
            "{text:?} is {error}; write for example https://app.example.com (without a path), \
             file://, null, or * for any"
        )
    })
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    TrustedProxies::network(text)
        .map_err(|error| format!("{text:?} is {error}; write for example 10.0.0.0/8 or 192.0.2.7"))
}

pub(super) fn log_filter(text: &str) -> Result<Targets, String> {
    logging::parse_filter(text).ok_or_else(|| {
        format!("{text:?} is not a filter; write for example info, or warn,myxi=debug")
    })
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is unknown; write auto, text or json")),
    }
}
