//! The client library, served to any page: `<script src="http://gateway/myxi.js">`. The file
//! is in the binary, so that a page's library is always the one of its gateway.

use std::{
    hash::{DefaultHasher, Hasher},
    sync::LazyLock,
};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use http_body_util::Full;

use crate::net::small_http;

/// Beside the WebSocket's paths.
pub(super) const PATH: &str = "/myxi.js";

static FILE: &[u8] = include_bytes!("../../clients/js/dist/myxi.js");

/// The same for every replica of a build.
static ETAG: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    hasher.write(FILE);
    format!("\"{:016x}\"", hasher.finish())
});

/// What every answer about the file says.
const HEADERS: [(HeaderName, &str); 3] = [
    // Asked about each time, answered from the cache unless the gateway is another.
    (header::CACHE_CONTROL, "no-cache"),
    // It is public: an application's page may check its integrity, or import it.
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    // Browsers connect their WebSocket anew. Kept open, each page that loads the file would
    // hold one of the places for those who are still in their handshake.
    (header::CONNECTION, "close"),
];

/// Whatever the `Origin`: reading the library is not connecting. Nothing for other paths.
pub(super) fn answer<B>(request: &Request<B>) -> Option<Response<Full<Bytes>>> {
    (request.uri().path() == PATH).then(|| match *request.method() {
        // Of an answer to HEAD the body is dropped on its way out.
        Method::GET | Method::HEAD => file(request.headers()),
        _ => not_allowed(),
    })
}

fn file(asked: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = if has_it(asked) {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let content_type = "text/javascript; charset=utf-8";
        small_http::response(StatusCode::OK, content_type, Bytes::from_static(FILE))
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.extend(HeaderValue::try_from(ETAG.as_str()).map(|etag| (header::ETAG, etag)));
    response
}

/// Whether one of the versions that the client names is this one (RFC 9110, 13.1.2).
fn has_it(asked: &HeaderMap) -> bool {
    let named = asked.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = named.filter_map(|value| value.to_str().ok()).flat_map(|tags| tags.split(','));
    tags.any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == *ETAG)
}

fn not_allowed() -> Response<Full<Bytes>> {
    let text = "the library is for reading\n";
    let mut response =
        small_http::response(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", text);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}
