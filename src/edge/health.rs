//! Health on the clients' port (`--health-on-listen`), for balancers that can ask only there:
//! the word and its status, no reasons, as strangers can ask, too.

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{self, HeaderValue},
};
use http_body_util::Full;

use crate::{health::Health, net::small_http};

/// Nothing for other paths.
pub(super) fn answer<B>(health: &Health, request: &Request<B>) -> Option<Response<Full<Bytes>>> {
    let (status, word) = match request.uri().path() {
        "/health/live" => (StatusCode::OK, "live"),
        "/health/ready" => {
            let status = health.report().status;
            (status.http(), status.into())
        }
        _ => return None,
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, word) =
        if reads { (status, word) } else { (StatusCode::METHOD_NOT_ALLOWED, "only GET") };
    let mut response =
        small_http::response(status, "text/plain; charset=utf-8", format!("{word}\n"));
    let headers = response.headers_mut();
    if !reads {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Kept open, a probe's connection would hold a place of those in their handshake.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Some(response)
}
