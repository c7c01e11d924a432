//! Where the application listens.

use std::{fmt, path::PathBuf, str::FromStr};

use http::{Uri, uri::Authority};

/// A unix socket's path must fit `sockaddr_un` with its closing NUL.
const SOCKET_PATH_MAX: usize = 107;

/// `http://host:port`, or `unix:/path/to/socket`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Http(Authority),
    Unix(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    #[error(
        "https:// is not supported: put the gateway beside the application, or a TLS proxy \
         between them"
    )]
    Tls,
    #[error("a socket's path must be absolute and have at most 107 bytes")]
    SocketPath,
    #[error("neither http://host:port nor unix:/path")]
    Form,
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let valid = path.starts_with('/') && (2..=SOCKET_PATH_MAX).contains(&path.len());
            return valid.then(|| Self::Unix(path.into())).ok_or(InvalidEndpoint::SocketPath);
        }
        let uri: Uri = text.parse().or(Err(InvalidEndpoint::Form))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(InvalidEndpoint::Tls),
            _ => return Err(InvalidEndpoint::Form),
        }
        let plain = uri.path() == "/" && uri.query().is_none();
        uri.authority()
            .filter(|authority| plain && is_host_and_port(authority))
            .map(|authority| Self::Http(authority.clone()))
            .ok_or(InvalidEndpoint::Form)
    }
}

fn is_host_and_port(authority: &Authority) -> bool {
    !authority.host().is_empty()
        && !authority.as_str().contains('@')
        && authority.port_u16().is_some_and(|port| port > 0)
}

impl Endpoint {
    /// What HTTP/2 calls `:authority`. A socket file has no name of its own.
    pub(super) fn authority(&self) -> Authority {
        match self {
            Self::Http(authority) => authority.clone(),
            Self::Unix(_) => Authority::from_static("localhost"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["http://127.0.0.1:50051", "http://[::1]:1", "http://app:80", "unix:/run/app"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("unix:///run/app".parse(), Ok(Endpoint::Unix("/run/app".into())));
    }

    #[test]
    fn refuses_what_it_cannot_reach() {
        for (text, problem) in [
            ("https://app:443", InvalidEndpoint::Tls),
            ("unix:run/app", InvalidEndpoint::SocketPath),
            ("unix:", InvalidEndpoint::SocketPath),
            ("http://app", InvalidEndpoint::Form),
            ("http://app:0", InvalidEndpoint::Form),
            ("http://app:80/path", InvalidEndpoint::Form),
            ("http://user@app:80", InvalidEndpoint::Form),
            ("app:80", InvalidEndpoint::Form),
            ("", InvalidEndpoint::Form),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(problem), "{text}");
        }
    }
}
