//! Where the broker is.

use std::{fmt, str::FromStr};

use lapin::uri::AMQPUri;

/// The broker counts as gone after two of these without a byte from it.
const HEARTBEAT_SECONDS: u16 = 10;

/// lapin allocates 64 of these for each connection.
const FRAME_MAX: u32 = 8 * 1024;

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
}

impl FromStr for BrokerUrl {
    type Err = InvalidBrokerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBrokerUrl> {
        if !text.starts_with("amqp://") && !text.starts_with("amqps://") {
            return Err(InvalidBrokerUrl::Scheme);
        }
        let mut uri: AMQPUri = text.parse().map_err(|_| InvalidBrokerUrl::Form)?;
        // The parser takes an IPv6 address, and no host at all, for localhost.
        match host(text) {
            "" => return Err(InvalidBrokerUrl::Form),
            host if host.starts_with(':') => return Err(InvalidBrokerUrl::Form),
            host => {
                if let Some((address, _)) = host.strip_prefix('[').and_then(|v6| v6.split_once(']'))
                {
                    uri.authority.host = address.to_owned();
                }
            }
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

/// `host:port` of a URL, as written.
fn host(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
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
        ] {
            let error = broken.parse::<BrokerUrl>().expect_err(broken);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
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
