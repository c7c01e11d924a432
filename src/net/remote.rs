//! Where somebody else listens, as its URL says, and a connection to it: in the clear, or with TLS
//! where the URL asks for that.

use std::{fmt, io, str::FromStr, sync::Arc, time::Duration};

use http::{
    Uri,
    uri::{PathAndQuery, Scheme},
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring::default_provider,
        pki_types::ServerName,
        version::{TLS12, TLS13},
    },
};

use super::{
    dial::{self, Io},
    host,
};

/// For the name, the socket and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a protocol calls itself with TLS, so that a proxy in front can lead several through one
/// port.
pub(crate) const HTTP1: &[u8] = b"http/1.1";
pub(crate) const HTTP2: &[u8] = b"h2";

/// `http://host[:port][/path]`, and the same with `https`, `ws` or `wss`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    uri: Uri,
    tls: bool,
    /// Without brackets.
    host: Box<str>,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a URL of the form scheme://host:port")]
pub struct InvalidRemote;

impl FromStr for Remote {
    type Err = InvalidRemote;

    fn from_str(text: &str) -> Result<Self, InvalidRemote> {
        let uri: Uri = text.parse().or(Err(InvalidRemote))?;
        let (tls, usual) = match uri.scheme_str() {
            Some("http" | "ws") => (false, 80),
            Some("https" | "wss") => (true, 443),
            _ => return Err(InvalidRemote),
        };
        let authority = uri.authority().map(|authority| authority.as_str());
        let (host, port) = authority.and_then(host::split_port).ok_or(InvalidRemote)?;
        let (host, port) = (host::without_brackets(host).into(), port.unwrap_or(usual));
        Ok(Self { uri, tls, host, port })
    }
}

/// Without its query, which may hold a secret.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.uri.path())
    }
}

impl Remote {
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn scheme(&self) -> &str {
        self.uri.scheme().map_or("", Scheme::as_str)
    }

    /// As `Host` says it.
    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// Another path of it, below its own.
    pub(crate) fn path(&self, path: &str) -> String {
        let own = self.uri.path_and_query().map_or("/", PathAndQuery::path);
        format!("{}{path}", own.trim_end_matches('/'))
    }

    /// Fails with the reason.
    pub(crate) async fn connect(&self, protocol: &[u8]) -> io::Result<Box<dyn Io>> {
        let late = |_| {
            let text = format!("no connection within {CONNECT_TIMEOUT:?}");
            io::Error::new(io::ErrorKind::TimedOut, text)
        };
        timeout(CONNECT_TIMEOUT, self.open(protocol)).await.map_err(late)?
    }

    async fn open(&self, protocol: &[u8]) -> io::Result<Box<dyn Io>> {
        let addresses = lookup_host((&*self.host, self.port)).await?;
        let connect = TcpStream::connect;
        let stream = dial::first_to_connect(addresses, 0, CONNECT_TIMEOUT, connect).await?;
        stream.set_nodelay(true)?;
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(self.host.to_string()).map_err(io::Error::other)?;
        Ok(Box::new(tls(protocol)?.connect(name, stream).await?))
    }
}

/// Trusts whom the system trusts (or `SSL_CERT_FILE` names).
fn tls(protocol: &[u8]) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_whether_with_tls() {
        for (text, tls, host, port) in [
            ("http://127.0.0.1:5006", false, "127.0.0.1", 5006),
            ("ws://[::1]:5005/pushwss?x=1", false, "::1", 5005),
            ("https://app.example", true, "app.example", 443),
            ("wss://app.example/ws", true, "app.example", 443),
            ("ws://app", false, "app", 80),
        ] {
            let remote: Remote = text.parse().expect(text);
            assert_eq!((remote.tls, &*remote.host, remote.port), (tls, host, port), "{text}");
        }
        for text in ["", "app", "app:80", "ftp://app", "http://", "http://user@app", "http://a:b"] {
            assert_eq!(text.parse::<Remote>(), Err(InvalidRemote), "{text}");
        }
    }

    #[test]
    fn a_path_is_below_its_own() {
        let path = |url: &str| url.parse::<Remote>().expect(url).path("/health/ready");
        assert_eq!(path("http://app:1"), "/health/ready");
        assert_eq!(path("http://app:1/myxi/"), "/myxi/health/ready");
    }
}
