//! Whether a page may connect. Lines: the `Host`, the allow-list with spaces between, then
//! one `Origin` header each.

use http::{HeaderMap, HeaderValue, header};
use myxi::internals::net::origin::{Origin, OriginPolicy, OriginRefused};

use super::is_one_line;

/// What a refusal may say: it is logged, whoever asked.
const REFUSAL_MAX: usize = 1_200;

pub fn origin(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let (host, allowed) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let Ok(allowed) = std::str::from_utf8(allowed) else { return };
    let allowed: Vec<_> = allowed.split(' ').filter_map(check_origin).collect();
    let Ok(host) = HeaderValue::from_bytes(host) else { return };
    let mut headers: HeaderMap = [(header::HOST, host.clone())].into_iter().collect();
    for line in lines {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(header::ORIGIN, value);
    }
    assert_eq!(OriginPolicy::Any.check(&headers), Ok(()));

    let policy = OriginPolicy::SameHostOr(allowed.clone());
    let origins: Vec<_> = headers.get_all(header::ORIGIN).iter().collect();
    let text = match origins[..] {
        [] => return assert_eq!(policy.check(&headers), Ok(())),
        [origin] => origin.to_str().ok(),
        _ => return assert_eq!(policy.check(&headers), Err(OriginRefused::Several)),
    };
    let origin = text.and_then(check_origin);
    let same_host = text.and_then(web_host).is_some_and(|page| {
        host.to_str().ok().and_then(host_of).is_some_and(|own| own.eq_ignore_ascii_case(page))
    });
    let may = origin.as_ref().is_some_and(|origin| same_host || allowed.contains(origin));
    let checked = policy.check(&headers);
    assert_eq!(checked.is_ok(), may, "{headers:?}: {checked:?}");
    let Err(refused) = checked else { return };
    let said = refused.to_string();
    assert!(is_one_line(&said) && said.len() <= REFUSAL_MAX, "{said:?}");
    match (refused, origin) {
        (OriginRefused::NotAllowed(refused), Some(origin)) => {
            assert_eq!(refused, origin);
            // The flag that the refusal names is the one that helps.
            let (_, flag) = said.rsplit_once("--allow-origin ").expect("a flag to paste");
            let policy = OriginPolicy::SameHostOr(vec![flag.parse().expect("an origin")]);
            assert_eq!(policy.check(&headers), Ok(()), "{flag}");
        }
        (OriginRefused::Malformed(_), None) => {}
        (refused, origin) => panic!("{origin:?} was refused as {refused:?}"),
    }
}

/// An origin is safe to log and to paste, and reads the same when it is written out.
fn check_origin(text: &str) -> Option<Origin> {
    let origin: Origin = text.parse().ok()?;
    let written = origin.to_string();
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"+-._:/[]".contains(&b);
    assert!(written.bytes().all(harmless), "{written:?}");
    assert!(written.len() <= text.len() && written == written.to_ascii_lowercase(), "{written}");
    assert_eq!(written.parse(), Ok(origin.clone()));
    assert_eq!(text.to_ascii_uppercase().replace("NULL", "null").parse(), Ok(origin.clone()));
    if text != "null" {
        let (scheme, rest) = text.split_once("://").expect("scheme://");
        let web = ["http", "https", "ws", "wss"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
        let opaque = rest.is_empty() && !web;
        assert!(!scheme.is_empty() && (opaque || host_of(rest).is_some()), "{text:?}");
    }
    Some(origin)
}

fn web_host(origin: &str) -> Option<&str> {
    let (scheme, rest) = origin.split_once("://")?;
    let web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    host_of(rest).filter(|_| web)
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_is_valid = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
    };
    let bare = host.strip_prefix('[').and_then(|v6| v6.strip_suffix(']'));
    let valid = match bare {
        Some(v6) => v6.bytes().all(|b| b.is_ascii_hexdigit() || b":.".contains(&b)),
        None => host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    let full = !bare.unwrap_or(host).is_empty() && host.len() <= 253;
    (valid && full && port_is_valid).then_some(host)
}
