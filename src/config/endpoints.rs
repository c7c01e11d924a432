//! Where the gateway's partners are: the application and the broker.

use std::{fmt, path::PathBuf};

use lapin::uri::AMQPUri;

/// A unix socket's path must fit `sockaddr_un` with its closing NUL.
const SOCKET_PATH_MAX: usize = 107;

/// Where the application's `ActionHandler` listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionHandlerAddress {
    /// `http://host:port`.
    Http(String),
    /// An absolute path.
    Unix(PathBuf),
}

impl ActionHandlerAddress {
    pub fn parse(text: &str) -> Result<Self, String> {
        const ADVICE: &str = "write http://127.0.0.1:50051 or unix:/run/app.sock";
        if let Some(path) = text.strip_prefix("unix:") {
            // gRPC's own spelling of an absolute path is unix:///path.
            let path = path.strip_prefix("//").unwrap_or(path);
            return Self::unix(path).ok_or_else(|| {
                format!("{text:?} is not a socket's absolute path of at most 107 bytes; {ADVICE}")
            });
        }
        if text.starts_with("https:") {
            return Err(
                "https:// is not supported: run the gateway beside the application and write \
                 http://127.0.0.1:50051 or unix:/run/app.sock, or put a TLS proxy between them"
                    .into(),
            );
        }
        Self::http(text).ok_or_else(|| format!("{text:?} is not http://host:port; {ADVICE}"))
    }

    fn unix(path: &str) -> Option<Self> {
        let valid = path.starts_with('/') && path.len() > 1 && path.len() <= SOCKET_PATH_MAX;
        valid.then(|| Self::Unix(path.into()))
    }

    fn http(text: &str) -> Option<Self> {
        let uri: http::Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let plain = uri.scheme_str() == Some("http")
            && !authority.host().is_empty()
            && !authority.as_str().contains('@')
            && authority.port_u16().is_some_and(|port| port > 0)
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none();
        plain.then(|| Self::Http(format!("http://{authority}")))
    }
}

impl fmt::Display for ActionHandlerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A broker's address with its user and password, which are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl(AMQPUri);

impl AmqpUrl {
    /// An error never repeats the text: wherever a URL is broken, a part of the password
    /// may be.
    pub fn parse(text: &str) -> Result<Self, String> {
        const ADVICE: &str = "write amqp://user:password@host:5672/vhost, or amqps:// for TLS \
                              (inside a password , is %2C, / is %2F and @ is %40)";
        if !text.starts_with("amqp://") && !text.starts_with("amqps://") {
            return Err(format!("it does not begin with amqp:// or amqps://; {ADVICE}"));
        }
        let mut uri: AMQPUri = text.parse().map_err(|_| format!("it is not a URL; {ADVICE}"))?;
        if let Some(address) = ipv6_host(text) {
            // The parser would take a bare IPv6 address for the default, localhost.
            uri.authority.host = address.to_owned();
        }
        if uri.vhost.is_empty() {
            // What a closing slash means by the letter is a virtual host without a name,
            // which nobody has.
            uri.vhost = "/".into();
        }
        Ok(Self(uri))
    }

    /// Contains the password; its `Display` too.
    pub fn uri(&self) -> &AMQPUri {
        &self.0
    }
}

fn ipv6_host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    Some(host.strip_prefix('[')?.split_once(']')?.0)
}

impl fmt::Display for AmqpUrl {
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

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_reached_by_http_or_a_unix_socket() {
        for (text, shown) in [
            ("http://127.0.0.1:50051", "http://127.0.0.1:50051"),
            ("http://app:80/", "http://app:80"),
            ("http://[::1]:1", "http://[::1]:1"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("unix:///run/app.sock", "unix:/run/app.sock"),
        ] {
            assert_eq!(ActionHandlerAddress::parse(text).expect(text).to_string(), shown);
        }
    }

    #[test]
    fn a_wrong_handler_says_what_to_write() {
        let long_path = format!("unix:/{}", "x".repeat(107));
        for text in [
            "",
            "127.0.0.1:50051",
            "http://app",
            "http://app:0",
            "http://:80",
            "http://user@app:80",
            "http://app:80/path",
            "http://app:80?x=1",
            "ftp://app:80",
            "unix:run/app.sock",
            "unix:/",
            &long_path,
        ] {
            let error = ActionHandlerAddress::parse(text).expect_err(text);
            assert!(error.ends_with("write http://127.0.0.1:50051 or unix:/run/app.sock"));
        }
        let error = ActionHandlerAddress::parse("https://app:443").expect_err("TLS");
        assert!(error.contains("https:// is not supported"), "{error}");
    }

    #[test]
    fn a_broker_url_keeps_its_password_to_itself() {
        let url = AmqpUrl::parse("amqps://rabbit:s%2Ccret@broker.example/shop").expect("valid");
        assert_eq!(url.uri().authority.userinfo.password, "s,cret");
        assert_eq!(url.to_string(), "amqps://broker.example:5671/shop");
        assert_eq!(format!("{url:?}"), "AmqpUrl(amqps://broker.example:5671/shop)");
        for broken in ["amqp://rabbit:s3cret", "http://rabbit:s3cret@host", "s3cret@host"] {
            let error = AmqpUrl::parse(broken).expect_err(broken);
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn ipv6_and_the_default_virtual_host_are_understood() {
        let url = AmqpUrl::parse("amqp://user:p@[2001:db8::1]:5673/").expect("valid");
        assert_eq!(url.uri().authority.host, "2001:db8::1");
        assert_eq!(url.uri().vhost, "/");
        assert_eq!(url.to_string(), "amqp://[2001:db8::1]:5673");
        let url = AmqpUrl::parse("amqp://10.0.0.1").expect("valid");
        assert_eq!(url.to_string(), "amqp://10.0.0.1:5672");
    }
}
