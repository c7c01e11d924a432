//! Hosts as they stand in headers and URLs.

use http::{HeaderMap, header};

/// Of a name in the DNS; also keeps a hostile header's line in the log short.
pub(crate) const HOST_MAX: usize = 253;

/// The host that a request is for, as its header says.
pub(crate) fn requested(headers: &HeaderMap) -> Option<&str> {
    let (host, _) = split_port(headers.get(header::HOST)?.to_str().ok()?)?;
    Some(host)
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`; a v6 host keeps its brackets.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(host_end);
    let port = match rest {
        "" => None,
        _ => Some(rest.strip_prefix(':').filter(|port| is_decimal(port))?.parse().ok()?),
    };
    let bare = without_brackets(host);
    let valid = !bare.is_empty()
        && host.len() <= HOST_MAX
        && if bare.len() < host.len() { bare.bytes().all(is_v6_byte) } else { is_name(bare) };
    valid.then_some((host, port))
}

/// An address of IPv6 as it is when no port may follow.
pub(crate) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Made of what names and addresses of IPv4 are made of; also nothing at all is.
pub(crate) fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

fn is_v6_byte(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || b":.".contains(&byte)
}

/// `u16::from_str` would take a plus sign.
fn is_decimal(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_split_off() {
        assert_eq!(split_port("app.example:80"), Some(("app.example", Some(80))));
        assert_eq!(split_port("app_1"), Some(("app_1", None)));
        assert_eq!(split_port("[::1]:5"), Some(("[::1]", Some(5))));
        assert_eq!(split_port("[::ffff:1.2.3.4]"), Some(("[::ffff:1.2.3.4]", None)));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in
            ["", ":80", "a:+80", "a:65536", "a:80:80", "::1", "[::1", "[]", "[app]", "a/b", "a b"]
        {
            assert_eq!(split_port(text), None, "{text}");
        }
        assert_eq!(split_port(&"a".repeat(HOST_MAX + 1)), None);
    }
}
