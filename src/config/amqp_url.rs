//! Where the broker is.

use std::fmt;

use lapin::uri::AMQPUri;

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
