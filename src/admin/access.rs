//! Who may ask what. The listener shows what clients are told and pushes to all of them: it
//! is for whoever knows the token, or without one for this machine alone, and never for a
//! web page of somebody else that runs in an operator's browser.

use std::net::IpAddr;

use http::{HeaderMap, StatusCode, header};

use super::answer::Refusal;
use crate::{
    complaints::{Complaint, Complaints},
    net::{host, origin::Origin, token::BearerToken},
};

/// A browser that is told this asks its user for the token.
const CHALLENGE: &str = r#"Basic realm="myxi", charset="UTF-8""#;

pub(crate) struct Access {
    pub token: Option<BearerToken>,
    /// Names besides localhost and IP addresses that a request may give as its `Host`.
    pub hosts: Vec<String>,
    /// Whether only this machine reaches the listener.
    pub on_loopback: bool,
    pub complaints: Complaints,
}

impl Access {
    /// A web page can make a browser ask under a name of its own (DNS rebinding), but not
    /// under an address or under `localhost`.
    pub(crate) fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let allowed = host::requested(headers).is_some_and(|name| {
            name.eq_ignore_ascii_case("localhost")
                || host::without_brackets(name).parse::<IpAddr>().is_ok()
                || self.hosts.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
        });
        allowed.then_some(()).ok_or_else(|| {
            let text = "this Host is not served here; name it with --admin-host";
            Refusal::new(StatusCode::FORBIDDEN, text)
        })
    }

    /// For everything but health.
    pub(crate) fn check_caller(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), Refusal> {
        match &self.token {
            Some(token) if token.authorizes_browser(headers) => Ok(()),
            Some(_) => {
                if headers.contains_key(header::AUTHORIZATION) {
                    let what = "the admin listener was asked with a wrong token";
                    self.complaints.hear(Complaint { peer: Some(peer), ..Complaint::new(what) });
                }
                let text = "the token (--admin-token) is missing or wrong";
                let refusal = Refusal::new(StatusCode::UNAUTHORIZED, text);
                Err(refusal.with(header::WWW_AUTHENTICATE, CHALLENGE))
            }
            None if self.on_loopback && peer.is_loopback() => Ok(()),
            None => {
                let text = "without --admin-token (MYXI_ADMIN_TOKEN) this is only for the machine \
                            itself, and only while --admin-listen is a loopback address";
                Err(Refusal::new(StatusCode::FORBIDDEN, text))
            }
        }
    }

    /// For whatever does something. Forms and scripts of other pages can send a POST, with
    /// what the browser knows of tokens, but not without their origin nor as JSON.
    pub(crate) fn check_post(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if !is_same_origin(headers) {
            let text = "this needs an Origin header that is the listener's own";
            return Err(Refusal::new(StatusCode::FORBIDDEN, text));
        }
        if !is_json(headers) {
            let text = "the Content-Type must be application/json";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        Ok(())
    }
}

/// A proxy in front may speak TLS, so the scheme is the page's own.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None, Some(host)) =
        (origins.next(), origins.next(), headers.get(header::HOST))
    else {
        return false;
    };
    let Some((scheme @ ("http" | "https"), authority)) =
        origin.to_str().ok().and_then(|origin| origin.split_once("://"))
    else {
        return false;
    };
    let parsed = |authority| format!("{scheme}://{authority}").parse::<Origin>().ok();
    let Ok(host) = host.to_str() else { return false };
    parsed(authority).is_some_and(|page| Some(page) == parsed(host))
}

fn is_json(headers: &HeaderMap) -> bool {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = sent.and_then(|sent| sent.split(';').next());
    media_type.is_some_and(|name| name.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().expect("a header"));
        headers.insert(header::HOST, host.parse().expect("a header"));
        is_same_origin(&headers)
    }

    #[test]
    fn an_origin_is_the_same_where_host_and_port_are() {
        assert!(same("http://localhost:5007", "localhost:5007"));
        assert!(same("https://Admin.internal", "admin.internal:443"));
        assert!(same("http://[::1]:5007", "[::1]:5007"));
        for origin in [
            "http://localhost:5008",
            "http://localhost",
            "http://127.0.0.1:5007",
            "http://localhost:5007.attacker.example",
            "http://attacker.example/localhost:5007",
            "ftp://localhost:5007",
            "localhost:5007",
            "null",
        ] {
            assert!(!same(origin, "localhost:5007"), "{origin}");
        }
    }
}
