//! Reads a request as a WebSocket handshake (RFC 6455, 4.2.1). Proxies write its headers in
//! many ways: what may be a list is one over all its lines, split at commas.

use http::{
    HeaderMap, Request, Response,
    header::{self, HeaderName, HeaderValue},
};
use tungstenite::{Error, handshake::server::create_response};

/// The answer that accepts it, or why it is no handshake.
pub(super) fn accept<B>(request: &Request<B>) -> Result<Response<()>, Error> {
    let mut plain = Request::new(());
    *plain.method_mut() = request.method().clone();
    *plain.version_mut() = request.version();
    let headers = plain.headers_mut();
    headers.clone_from(request.headers());
    // The library reads the first line of each, and wants `Upgrade` to hold one name.
    for (name, wanted) in [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket")] {
        if list(request.headers(), &name).any(|word| word.eq_ignore_ascii_case(wanted)) {
            headers.insert(name, HeaderValue::from_static(wanted));
        }
    }
    create_response(&plain)
}

/// Whether more follows the head than the frames of a WebSocket. Bytes of a body would be
/// taken for frames, and carried out.
pub(super) fn has_body(headers: &HeaderMap) -> bool {
    let some = |length: &HeaderValue| length.as_bytes().iter().any(|digit| *digit != b'0');
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get_all(header::CONTENT_LENGTH).iter().any(some)
}

/// The members of a list header in their order; what is no text is left out.
pub(super) fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    let members = lines.flat_map(|line| line.split(',')).map(|one| one.trim_matches([' ', '\t']));
    members.filter(|member| !member.is_empty())
}

/// The values of one header, as one; bytes that are no text are replaced.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Box<str>> {
    // Cookies are no list (RFC 9113, 8.2.3): HTTP/2 splits them, and a proxy may pass on the parts.
    let separator = if name == header::COOKIE { "; " } else { ", " };
    let lines = headers.get_all(name).iter();
    let values: Vec<_> = lines.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(separator).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_over_all_lines_whatever_stands_around_them() {
        let mut headers = HeaderMap::new();
        for line in ["keep-alive,\tUpgrade ", "", " , ,", "x;q=1"] {
            headers.append(header::CONNECTION, line.parse().expect("a header"));
        }
        let members: Vec<_> = list(&headers, &header::CONNECTION).collect();
        assert_eq!(members, ["keep-alive", "Upgrade", "x;q=1"]);
    }
}
