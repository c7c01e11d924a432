//! Keeps web pages out. The listener is for programs, and trusts whoever reaches it where no
//! token is set: a page in a browser on this machine reaches it, too.

use std::net::IpAddr;

use http::{HeaderName, Request, header};

use crate::{metrics::CallRefused, net::host};

/// Every browser of the day sends it to every place that it trusts, as it does loopback.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a program may have sent this, and no page.
pub(super) fn check<B>(request: &Request<B>, have_token: bool) -> Result<(), CallRefused> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE) {
        return Err(CallRefused::WebPage);
    }
    // A page may make a name of its own lead here (DNS rebinding), and knows no token.
    if !have_token && !is_for_us(request) {
        return Err(CallRefused::Host);
    }
    Ok(())
}

/// By whatever names the request has for it: the URI's, which is HTTP/2's `:authority`, and
/// each `Host`.
fn is_for_us<B>(request: &Request<B>) -> bool {
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let hosts = request.headers().get_all(header::HOST).iter().map(|host| host.as_bytes());
    let mut named = authority.into_iter().chain(hosts).peekable();
    named.peek().is_some() && named.all(is_no_name)
}

/// Under an address or `localhost` no page can be but one of this machine.
fn is_no_name(authority: &[u8]) -> bool {
    let authority = str::from_utf8(authority).ok();
    let Some((host, _)) = authority.and_then(host::split_port) else { return false };
    host.eq_ignore_ascii_case("localhost") || host::without_brackets(host).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_hosts(uri: &str, hosts: &[&str]) -> Result<(), CallRefused> {
        let mut request = Request::post(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        check(&request.body(()).expect("a request"), false)
    }

    #[test]
    fn without_a_token_it_is_asked_by_address_or_as_localhost() {
        for host in
            ["localhost", "LocalHost:5006", "127.0.0.1:5006", "10.1.2.3", "[::1]:5006", "[::1]"]
        {
            assert_eq!(check_hosts("/x", &[host]), Ok(()), "{host}");
            assert_eq!(check_hosts(&format!("http://{host}/x"), &[]), Ok(()), "{host}");
        }
        for host in [
            "attacker.example:5006",
            "localhost.attacker.example",
            "localhost.",
            "localhost:x",
            "user@localhost",
            "127.0.0.1.attacker.example",
            "2130706433",
            "0x7f.1",
            "",
            "[localhost]",
        ] {
            assert_eq!(check_hosts("/x", &[host]), Err(CallRefused::Host), "{host}");
            assert_eq!(check_hosts("/x", &["localhost", host]), Err(CallRefused::Host), "{host}");
        }
        assert_eq!(check_hosts("/x", &[]), Err(CallRefused::Host));
        let foreign = check_hosts("http://attacker.example/x", &["localhost"]);
        assert_eq!(foreign, Err(CallRefused::Host));
    }
}
