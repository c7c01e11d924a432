//! What a request's head says: which call it is, how its body is written, and how long an
//! answer is waited for.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use tokio::time::Instant;
use tonic::Status;

use super::codec::Codec;
use crate::{gateway_api::serve::REQUEST_TIMEOUT, proto::gateway_server::SERVICE_NAME};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT_MS: HeaderName = HeaderName::from_static("connect-timeout-ms");

/// As many as Connect allows: some months.
const TIMEOUT_DIGITS: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rpc {
    PushEvent,
    PushEvents,
    SendEvent,
    DisconnectSession,
}

impl Rpc {
    /// Under the path that gRPC has for it, too.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path.strip_prefix('/')?.strip_prefix(SERVICE_NAME)?.strip_prefix('/')? {
            "PushEvent" => Some(Self::PushEvent),
            "PushEvents" => Some(Self::PushEvents),
            "SendEvent" => Some(Self::SendEvent),
            "DisconnectSession" => Some(Self::DisconnectSession),
            _ => None,
        }
    }
}

pub(super) struct Head {
    /// With gzip.
    pub compressed: bool,
    /// Of the body, in bytes, also when it is decompressed.
    pub size_max: usize,
    pub deadline: Instant,
}

impl Head {
    pub(super) fn read(headers: &HeaderMap, codec: Codec) -> Result<Self, Status> {
        if headers.get(PROTOCOL_VERSION).is_some_and(|version| version != "1") {
            return Err(Status::invalid_argument("Connect-Protocol-Version must be 1"));
        }
        let deadline = Instant::now() + timeout(headers)?;
        Ok(Self { compressed: is_gzip(headers)?, size_max: codec.size_max(), deadline })
    }
}

fn timeout(headers: &HeaderMap) -> Result<Duration, Status> {
    let Some(sent) = headers.get(TIMEOUT_MS) else { return Ok(REQUEST_TIMEOUT) };
    let digits = sent.to_str().ok().filter(|text| {
        text.len() <= TIMEOUT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
    });
    let milliseconds = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
        let problem =
            format!("Connect-Timeout-Ms must be a number of 1 to {TIMEOUT_DIGITS} digits");
        Status::invalid_argument(problem)
    })?;
    Ok(Duration::from_millis(milliseconds).min(REQUEST_TIMEOUT))
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Status> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None => Ok(false),
        Some(name) if name.eq_ignore_ascii_case(b"identity") => Ok(false),
        Some(name) if name.eq_ignore_ascii_case(b"gzip") => Ok(true),
        Some(_) => Err(Status::unimplemented("the Content-Encoding must be gzip or identity")),
    }
}
