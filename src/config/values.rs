//! How single values are read. An error says what was given and what to write instead.

use http::HeaderName;
use ipnet::IpNet;
use tracing_subscriber::filter::Targets;

use super::{Secret, SessionOpened};
use crate::{
    forwarded::TrustedProxies,
    logging::{self, LogFormat},
    origin::Origin,
};

/// Does not repeat what it refuses.
pub fn secret(text: &str) -> Result<Secret, String> {
    let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    valid.then(|| Secret(text.into())).ok_or_else(|| {
        "the token must be visible ASCII without spaces; write for example what `openssl rand \
         -hex 32` prints"
            .into()
    })
}

pub fn session_opened(text: &str) -> Result<SessionOpened, String> {
    match text {
        "off" => Ok(SessionOpened::Off),
        "required" => Ok(SessionOpened::Required),
        _ => Err(format!("{text:?} is unknown; write off or required")),
    }
}

pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither; write true or false")),
    }
}

pub fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| format!("{text:?} is not a header's name; write for example cookie"))
}

/// `None` stands for every origin.
pub fn origin(text: &str) -> Result<Option<Origin>, String> {
    if text == "*" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        format!(
            "{text:?} is {error}; write for example https://app.example.com (without a path), \
             null, or * for any"
        )
    })
}

pub fn network(text: &str) -> Result<IpNet, String> {
    TrustedProxies::network(text)
        .map_err(|error| format!("{text:?} is {error}; write for example 10.0.0.0/8 or 192.0.2.7"))
}

pub fn log_filter(text: &str) -> Result<Targets, String> {
    logging::parse_filter(text).ok_or_else(|| {
        format!("{text:?} is not a filter; write for example info, or warn,myxi=debug")
    })
}

pub fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is unknown; write auto, text or json")),
    }
}
