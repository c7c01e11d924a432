//! Whether a request becomes a WebSocket, what is said to one that does not, and what the
//! application learns of one that does.

use std::net::IpAddr;

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::{Edge, headers};
use crate::{
    application::ClientInfo, complaints::Complaint, metrics::Refused, net::small_http,
    protocol::Dialect,
};

/// Where the WebSocket is, beside `/`: the Ruby original's path.
const PATH: &str = "/pushwss";

/// A request that may be upgraded.
pub(super) struct Handshake {
    pub response: Response<()>,
    pub place: OwnedSemaphorePermit,
    pub dialect: Dialect,
}

/// Why it may not, for the person who sent it.
pub(super) struct Refusal {
    pub reason: Refused,
    status: StatusCode,
    headers: &'static [(HeaderName, &'static str)],
    text: String,
}

/// What every WebSocket handshake needs, told to those that have none.
const UPGRADE: &[(HeaderName, &str)] = &[
    (header::UPGRADE, "websocket"),
    (header::CONNECTION, "Upgrade"),
    (header::SEC_WEBSOCKET_VERSION, "13"),
];

impl Refusal {
    fn new(
        reason: Refused,
        status: StatusCode,
        headers: &'static [(HeaderName, &'static str)],
        text: impl Into<String>,
    ) -> Self {
        Self { reason, status, headers, text: text.into() }
    }

    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let mut response =
            small_http::response(self.status, "text/plain; charset=utf-8", self.text + "\n");
        for (name, value) in self.headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

pub(super) fn check(edge: &Edge, request: &Request<Incoming>) -> Result<Handshake, Refusal> {
    let dialect = edge.dialect_at(request.uri().path()).ok_or_else(|| {
        let text = "nothing here; the WebSocket is at / and at /pushwss, its library at /myxi.js";
        Refusal::new(Refused::NotFound, StatusCode::NOT_FOUND, &[], text)
    })?;
    if request.method() != Method::GET {
        let allow = &[(header::ALLOW, "GET")];
        let text = "a WebSocket handshake is a GET";
        return Err(Refusal::new(Refused::Method, StatusCode::METHOD_NOT_ALLOWED, allow, text));
    }
    let mut response = headers::accept(request).map_err(|error| {
        let text =
            format!("this is a WebSocket endpoint, connect with ws:// (version 13): {error}");
        Refusal::new(Refused::NoWebSocket, StatusCode::UPGRADE_REQUIRED, UPGRADE, text)
    })?;
    if headers::has_body(request.headers()) {
        let close = &[(header::CONNECTION, "close")];
        let text = "a WebSocket handshake has no body";
        return Err(Refusal::new(Refused::Body, StatusCode::BAD_REQUEST, close, text));
    }
    if let Err(refused) = edge.origins.check(request.headers()) {
        edge.complaints.hear(Complaint::new(refused.to_string()));
        let text = "pages of this origin may not connect";
        return Err(Refusal::new(Refused::Origin, StatusCode::FORBIDDEN, &[], text));
    }
    let place = edge.connections.clone().try_acquire_owned().map_err(|_| {
        let retry = &[(header::RETRY_AFTER, "1")];
        Refusal::new(
            Refused::Full,
            StatusCode::SERVICE_UNAVAILABLE,
            retry,
            "too many connections, try again later",
        )
    })?;
    if let Some(subprotocol) = edge.subprotocols.select(request.headers()) {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    Ok(Handshake { response, place, dialect })
}

impl Edge {
    /// What is spoken at this path, if the WebSocket is there.
    fn dialect_at(&self, path: &str) -> Option<Dialect> {
        match self.elsewhere {
            Some(dialect) if path != "/" => Some(dialect),
            _ => self.is_at(path).then_some(Dialect::Documented),
        }
    }

    /// Whether the WebSocket is at this path; a slash at the end is a frequent slip.
    fn is_at(&self, path: &str) -> bool {
        let bare = path.strip_suffix('/').unwrap_or(path);
        path == "/" || bare == PATH || self.paths.iter().any(|known| **known == *bare)
    }
}

pub(super) fn client_info(
    edge: &Edge,
    peer: IpAddr,
    request: &Request<Incoming>,
    dialect: Dialect,
) -> ClientInfo {
    let address = edge.trusted_proxies.client_address(peer, request.headers());
    ClientInfo {
        remote_address: address.to_string().into(),
        path: request.uri().path().into(),
        query: request.uri().query().unwrap_or_default().into(),
        headers: edge
            .forward_headers
            .iter()
            .filter_map(|name| {
                Some((name.as_str().into(), headers::joined(request.headers(), name)?))
            })
            .collect(),
        dialect,
    }
}
