//! Which web pages may connect. A browser sends the page's origin with the handshake; a
//! page elsewhere must not use the visitor's network position or cookies. Programs that
//! are no browsers send none and are let through.

use std::{fmt, str::FromStr};

use http::{HeaderMap, HeaderValue, header};

use super::host::{self, HOST_MAX};

/// As much of a broken header as is worth logging.
const SHOWN_MAX: usize = 64;

/// What a browser calls an origin: scheme, host and port, in lower case, the scheme's own
/// port left out. Made of harmless characters only: safe to log and to paste.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A page without an origin of its own: a file, a sandboxed frame.
    Null,
    /// With a scheme alone, as of a file on a device: `file://`.
    Opaque {
        scheme: Box<str>,
    },
    Page {
        scheme: Box<str>,
        host: Box<str>,
        port: Option<u16>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not of the form scheme://host, scheme://host:port or file://")]
pub struct InvalidOrigin;

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        if text == "null" {
            return Ok(Self::Null);
        }
        let (scheme, authority) = text.split_once("://").ok_or(InvalidOrigin)?;
        let scheme_byte = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.len() <= HOST_MAX
            && scheme.bytes().all(scheme_byte);
        if !valid {
            return Err(InvalidOrigin);
        }
        let scheme = scheme.to_ascii_lowercase();
        if authority.is_empty() && !matches!(&*scheme, "http" | "https" | "ws" | "wss") {
            return Ok(Self::Opaque { scheme: scheme.into() });
        }
        let (host, port) = host::split_port(authority).ok_or(InvalidOrigin)?;
        let own_port = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = port.filter(|_| port != own_port);
        Ok(Self::Page { scheme: scheme.into(), host: host.to_ascii_lowercase().into(), port })
    }
}

impl Origin {
    /// The host of a page that came over HTTP. Other schemes have hosts that mean nothing
    /// outside an app: `capacitor://localhost` is not ours because we are `localhost`.
    fn web_host(&self) -> Option<&str> {
        match self {
            Self::Page { scheme, host, .. } if matches!(&**scheme, "http" | "https") => Some(host),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Opaque { scheme } => write!(f, "{scheme}://"),
            Self::Page { scheme, host, port: None } => write!(f, "{scheme}://{host}"),
            Self::Page { scheme, host, port: Some(port) } => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

/// Which origins besides the gateway's own host may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPolicy {
    Any,
    SameHostOr(Vec<Origin>),
}

/// Why a handshake was refused; the text is safe to log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginRefused {
    #[error("the origin {0} is not allowed; allow it with --allow-origin {0}")]
    NotAllowed(Origin),
    /// Escaped and cut.
    #[error("the Origin header is not an origin: {0}")]
    Malformed(String),
    #[error("there is more than one Origin header")]
    Several,
}

impl OriginPolicy {
    /// Judges a handshake by its `Origin` and `Host` headers. Ports do not matter: the page
    /// and the gateway may stand beside each other on one host.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), OriginRefused> {
        let Self::SameHostOr(allowed) = self else { return Ok(()) };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(header) = origins.next() else { return Ok(()) };
        if origins.next().is_some() {
            return Err(OriginRefused::Several);
        }
        let text = header.to_str().map_err(|_| OriginRefused::Malformed(shown(header)))?;
        let origin: Origin = text.parse().map_err(|_| OriginRefused::Malformed(shown(header)))?;
        let same_host = match (origin.web_host(), host::requested(headers)) {
            (Some(page), Some(own)) => page.eq_ignore_ascii_case(own),
            _ => false,
        };
        if same_host || allowed.contains(&origin) {
            return Ok(());
        }
        Err(OriginRefused::NotAllowed(origin))
    }
}

fn shown(header: &HeaderValue) -> String {
    let bytes = header.as_bytes();
    let cut = &bytes[..bytes.len().min(SHOWN_MAX)];
    let dots = if cut.len() < bytes.len() { "…" } else { "" };
    format!("\"{}\"{dots}", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str]) -> OriginPolicy {
        OriginPolicy::SameHostOr(allowed.iter().map(|text| text.parse().expect(text)).collect())
    }

    fn headers(host: &str, origins: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a header"));
        for origin in origins {
            let value = HeaderValue::from_bytes(origin).expect("a header");
            headers.append(header::ORIGIN, value);
        }
        headers
    }

    fn check(policy: &OriginPolicy, host: &str, origin: &str) -> Result<(), OriginRefused> {
        policy.check(&headers(host, &[origin.as_bytes()]))
    }

    #[test]
    fn the_own_host_is_allowed_on_any_port() {
        for (host, origin) in [
            ("app.example.com", "https://app.example.com"),
            ("APP.example.com:5005", "http://app.EXAMPLE.com:3000"),
            ("[::1]:5005", "http://[::1]:3000"),
            ("127.0.0.1", "http://127.0.0.1:80"),
            ("my_host:1", "http://my_host"),
        ] {
            assert_eq!(check(&policy(&[]), host, origin), Ok(()), "{host} {origin}");
        }
    }

    #[test]
    fn another_host_is_refused_with_the_flag_to_paste() {
        for (host, origin) in [
            ("app.example.com", "https://example.com"),
            ("app.example.com", "https://app.example.com.evil.example"),
            ("localhost", "capacitor://localhost"),
            ("[::1]", "http://[::2]"),
            ("", "https://app.example.com"),
            ("a b", "https://a"),
        ] {
            let refused = check(&policy(&[]), host, origin).expect_err(origin);
            assert!(refused.to_string().ends_with(&format!("--allow-origin {origin}")));
        }
    }

    #[test]
    fn the_allow_list_is_exact_but_for_case_and_the_schemes_own_port() {
        let policy = policy(&["https://App.example.com:443", "http://localhost:3000", "app://x"]);
        for origin in ["https://app.example.com", "http://localhost:3000", "app://x"] {
            assert_eq!(check(&policy, "gateway", origin), Ok(()), "{origin}");
        }
        for origin in [
            "http://app.example.com",
            "https://app.example.com:8443",
            "http://localhost",
            "app://y",
        ] {
            assert!(check(&policy, "gateway", origin).is_err(), "{origin}");
        }
    }

    #[test]
    fn an_absent_origin_is_allowed_and_null_only_when_listed() {
        assert_eq!(policy(&[]).check(&headers("gateway", &[])), Ok(()));
        assert_eq!(
            check(&policy(&[]), "null", "null"),
            Err(OriginRefused::NotAllowed(Origin::Null))
        );
        assert_eq!(check(&policy(&["null"]), "gateway", "null"), Ok(()));
        assert_eq!(check(&OriginPolicy::Any, "gateway", "null"), Ok(()));
        assert_eq!(check(&OriginPolicy::Any, "gateway", "garbage"), Ok(()));
    }

    #[test]
    fn an_origin_without_a_host_is_refused_with_the_flag_that_allows_it() {
        for origin in ["file://", "content://", "app.shell+x://"] {
            for host in ["gateway", "", "file"] {
                let refused = check(&policy(&[]), host, origin).expect_err(origin);
                assert!(refused.to_string().ends_with(&format!("--allow-origin {origin}")));
            }
            assert_eq!(check(&policy(&[origin]), "gateway", origin), Ok(()));
            assert!(check(&policy(&["other://", "null"]), "gateway", origin).is_err());
        }
        assert_eq!(check(&policy(&["file://"]), "gateway", "FILE://"), Ok(()));
        assert!(check(&policy(&["file://"]), "gateway", "file://x").is_err());
    }

    #[test]
    fn hostile_text_is_refused_and_cannot_harm_the_log() {
        let long = format!("https://{}", "x".repeat(100_000));
        let hostile: [&[u8]; 16] = [
            b"://",
            b"wss://",
            b"file:///x",
            b"",
            b"https://a]",
            b"https://[[::1]",
            b"https://",
            b"https://a b",
            b"https://a/",
            b"https://a:",
            b"https://a:+80",
            b"https://a:65536",
            b"https://user@app.example.com",
            b"https://a;$(reboot)\t\"",
            b"\xff\xfe\xe2\x80\xae",
            long.as_bytes(),
        ];
        for origin in hostile {
            let refused = policy(&[]).check(&headers("a", &[origin])).expect_err("hostile");
            let text = refused.to_string();
            assert!(matches!(refused, OriginRefused::Malformed(_)), "{text}");
            assert!(!text.contains(|c: char| c.is_control()) && text.len() < 400, "{text}");
        }
        let two = headers("a", &[b"http://a", b"http://evil.example"]);
        assert_eq!(policy(&[]).check(&two), Err(OriginRefused::Several));
    }
}
