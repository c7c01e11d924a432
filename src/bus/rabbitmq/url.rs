//! Where the broker is.

use std::{fmt, str::FromStr};

use lapin::uri::AMQPUri;

/// The broker counts as gone after two of these without a byte from it.
const HEARTBEAT_SECONDS: u16 = 10;

/// lapin allocates 64 of these for each connection.
const FRAME_MAX: u32 = 8 * 1024;

/// What may be set behind a `?`.
const SETTINGS: [&str; 5] =
    ["auth_mechanism", "channel_max", "connection_timeout", "frame_max", "heartbeat"];

/// A broker's address with its user and password, which are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(AMQPUri);

/// Never repeats the text: wherever a URL is broken, a part of the password may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBrokerUrl {
    #[error("it does not begin with amqp:// or amqps://")]
    Scheme,
    #[error("it is not a URL")]
    Form,
    #[error("behind the ? stands no setting that is known here ({})", SETTINGS.join(", "))]
    Setting,
}

impl FromStr for BrokerUrl {
    type Err = InvalidBrokerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBrokerUrl> {
        if !text.starts_with("amqp://") && !text.starts_with("amqps://") {
            return Err(InvalidBrokerUrl::Scheme);
        }
        // The parser would pass over some of these.
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(InvalidBrokerUrl::Form);
        }
        let mut uri: AMQPUri = text.parse().map_err(|_| InvalidBrokerUrl::Form)?;
        let (host, rest) = host_and_rest(text);
        // Behind the host an @ tells of a password with a / in it: what looks like host, port
        // and virtual host is the password.
        // And behind a # nobody reads on: it was meant to be a part of what stands before.
        if host.is_empty() || host.starts_with(':') || rest.contains(['@', '#']) {
            return Err(InvalidBrokerUrl::Form);
        }
        let (_, settings) = rest.split_once('?').unwrap_or_default();
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            let (name, _) = setting.split_once('=').ok_or(InvalidBrokerUrl::Setting)?;
            if !SETTINGS.contains(&name) {
                return Err(InvalidBrokerUrl::Setting);
            }
        }
        // The parser takes an IPv6 address, and no host at all, for localhost.
        match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((address, _)) => uri.authority.host = address.to_owned(),
            None if !uri.authority.host.chars().all(is_host_char) => {
                return Err(InvalidBrokerUrl::Form);
            }
            None => {}
        }
        if uri.vhost.is_empty() {
            // What a closing slash means by the letter is a virtual host without a name,
            // which nobody has.
            uri.vhost = "/".into();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        Ok(Self(uri))
    }
}

impl BrokerUrl {
    /// Contains the password; its `Display` too.
    pub fn uri(&self) -> &AMQPUri {
        &self.0
    }
}

/// `host:port` of a URL as written, and what stands behind it.
fn host_and_rest(url: &str) -> (&str, &str) {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    (authority.rsplit('@').next().unwrap_or_default(), rest)
}

fn is_host_char(c: char) -> bool {
    c.is_alphanumeric() || "-._".contains(c)
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.0;
        let (open, close) = if authority.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", authority.host, authority.port)?;
        if vhost != "/" {
            write!(f, "/{}", vhost.escape_debug())?;
        }
        Ok(())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_url_keeps_its_password_to_itself() {
        let url =
            "amqps://rabbit:s%2Ccret@broker.example/shop".parse::<BrokerUrl>().expect("valid");
        assert_eq!(url.uri().authority.userinfo.password, "s,cret");
        assert_eq!(url.to_string(), "amqps://broker.example:5671/shop");
        assert_eq!(format!("{url:?}"), "BrokerUrl(amqps://broker.example:5671/shop)");
        for broken in [
            "amqp://rabbit:s3cret",
            "http://rabbit:s3cret@host",
            "s3cret@host",
            "amqp://u:s3cret@/",
            "amqp://",
            "amqp://user:12/s3cret@host",
            "amqp://user:12?s3cret@host/v",
            "amqp://user:12#s3cret@host",
            "amqp://host/12#s3cret",
            "amqp://host/12?s3cret",
            "amqp://host/12?s3cret=1",
            "amqp://host%0As3cret/",
            "amqp://\t[::1]/s3cret",
        ] {
            let error = broken.parse::<BrokerUrl>().expect_err(broken);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_and_settings_are_taken() {
        let all = "%2550%23%3F%2F%40%3A%2C%20%C3%BC";
        let url = format!("amqp://{all}:{all}@host/{all}?heartbeat=7&frame_max=4096");
        let url = url.parse::<BrokerUrl>().expect("valid");
        let (uri, all) = (url.uri(), "%50#?/@:, \u{fc}");
        assert_eq!(uri.authority.userinfo.username, all);
        assert_eq!(uri.authority.userinfo.password, all);
        assert_eq!((uri.vhost.as_str(), uri.query.heartbeat), (all, Some(7)));
    }

    #[test]
    fn ipv6_and_the_default_virtual_host_are_understood() {
        let url = "amqp://user:p@[2001:db8::1]:5673/".parse::<BrokerUrl>().expect("valid");
        assert_eq!(url.uri().authority.host, "2001:db8::1");
        assert_eq!(url.uri().vhost, "/");
        assert_eq!(url.to_string(), "amqp://[2001:db8::1]:5673");
        let url = "amqp://10.0.0.1".parse::<BrokerUrl>().expect("valid");
        assert_eq!(url.to_string(), "amqp://10.0.0.1:5672");
    }
}
