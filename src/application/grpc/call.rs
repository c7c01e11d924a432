//! One unary gRPC call over HTTP/2.
//!
//! Written here because what failed, and whether the application can have seen the call,
//! must be known exactly: clients are told `retryable` only for what certainly did not
//! happen. A general client also reads HTTP 404 as `UNIMPLEMENTED`, and may panic on a
//! malformed `grpc-status-details-bin`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, TE, USER_AGENT},
    uri::{Authority, PathAndQuery, Scheme},
};
use prost::Message;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tonic::{Code, Status};

use super::{
    connection::{Call, Connector, Link, Live, NotConnected},
    message::{self, PREFIX},
};
use crate::{
    metrics::{CallStatus, Rpc},
    net::token::BearerToken,
};

/// The application sees the same deadline and may be a little earlier to end the call.
/// What fails this close to it failed of it.
const DEADLINE_SLACK: Duration = Duration::from_millis(20);

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// Certainly never reached the application.
    Unreached(String),
    Timeout,
    /// Sent, and then the connection or the call was cut off.
    Lost(String),
    /// Answered with something that is no gRPC reply.
    Unreadable(String),
    /// The application's own answer; never `Ok`.
    Status(Code, String),
}

impl CallError {
    pub(super) fn status(&self) -> CallStatus {
        match self {
            Self::Unreached(_) => CallStatus::Unreached,
            Self::Timeout => CallStatus::Timeout,
            Self::Lost(_) => CallStatus::Lost,
            Self::Unreadable(_) => CallStatus::Unreadable,
            Self::Status(code, _) => (*code).into(),
        }
    }

    /// What came with the status, or why there is none.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Timeout => "no answer before the deadline",
            Self::Unreached(words)
            | Self::Lost(words)
            | Self::Unreadable(words)
            | Self::Status(_, words) => words,
        }
    }
}

impl From<NotConnected> for CallError {
    fn from(NotConnected(why): NotConnected) -> Self {
        Self::Unreached(why)
    }
}

/// One method of the application, ready to be called.
#[derive(Debug, Clone)]
pub(super) struct Method {
    pub(super) rpc: Rpc,
    uri: Uri,
}

impl Method {
    pub(super) fn new(authority: Authority, rpc: Rpc, path: &'static str) -> Self {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority);
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        Self { rpc, uri: Uri::from_parts(parts).expect("all three parts are there") }
    }
}

/// Makes calls over whatever connection there is.
#[derive(Debug)]
pub(super) struct Caller {
    connector: Connector,
    timeout: Duration,
    max_reply_size: usize,
    /// What every call carries.
    headers: HeaderMap,
}

impl Caller {
    pub(super) fn new(
        connector: Connector,
        timeout: Duration,
        max_reply_size: usize,
        token: Option<&BearerToken>,
    ) -> Self {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(GRPC_ACCEPT_ENCODING, message::ACCEPTED);
        let agent = concat!("myxi/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.header());
        }
        Self { connector, timeout, max_reply_size, headers }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Link> {
        self.connector.watch()
    }

    /// One call under one deadline. Sent a second time only if the first certainly did
    /// not reach the application.
    pub(super) async fn call<Reply: Message + Default>(
        &self,
        method: &Method,
        message: &impl Message,
    ) -> Result<Reply, CallError> {
        self.call_within(self.timeout, method, message).await
    }

    /// The same under a deadline of the caller's choice.
    pub(super) async fn call_within<Reply: Message + Default>(
        &self,
        time: Duration,
        method: &Method,
        message: &impl Message,
    ) -> Result<Reply, CallError> {
        let deadline = Instant::now() + time;
        let body = message::encode(message);
        let mut retried = false;
        let reply = loop {
            let live = self.connector.live(deadline).await?;
            let request = self.request(method, deadline);
            match self.exchange(&live, request, body.clone(), deadline).await {
                Err(CallError::Unreached(_)) if !retried => retried = true,
                outcome => break outcome?,
            }
        };
        Reply::decode(reply).map_err(|error| CallError::Unreadable(error.to_string()))
    }

    /// One call on this very connection, whose reply is not looked at.
    pub(super) async fn ask(
        &self,
        live: &Live,
        method: &Method,
        message: &impl Message,
    ) -> Result<(), CallError> {
        let deadline = Instant::now() + self.timeout;
        let request = self.request(method, deadline);
        self.exchange(live, request, message::encode(message), deadline).await.map(drop)
    }

    /// Sends the request and reads the bytes of its reply.
    async fn exchange(
        &self,
        live: &Live,
        request: Request<()>,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let call = live.call();
        match timeout_at(deadline, exchange(&call, request, body, self.max_reply_size)).await {
            Ok(outcome) => outcome.map_err(|error| error.at(deadline)),
            Err(_) => {
                call.timed_out();
                Err(CallError::Timeout)
            }
        }
    }

    fn request(&self, method: &Method, deadline: Instant) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = method.uri.clone();
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        let left = deadline.saturating_duration_since(Instant::now());
        request.headers_mut().insert(GRPC_TIMEOUT, grpc_timeout(left));
        request.headers_mut().insert(TRACEPARENT, traceparent());
        request
    }
}

impl CallError {
    fn at(self, deadline: Instant) -> Self {
        let cut_off = matches!(self, Self::Lost(_) | Self::Status(Code::Cancelled, _));
        if cut_off && Instant::now() + DEADLINE_SLACK >= deadline { Self::Timeout } else { self }
    }
}

async fn exchange(
    call: &Call<'_>,
    request: Request<()>,
    body: Bytes,
    max_size: usize,
) -> Result<Bytes, CallError> {
    let unreached = |error: h2::Error| CallError::Unreached(error.to_string());
    let mut requests = call.ready().await.map_err(unreached)?;
    let (response, mut sending) = requests.send_request(request, false).map_err(unreached)?;
    // A call that is reset already says why in its response.
    let _ = sending.send_data(body, true);
    let response = response.await.map_err(|error| cut_off(call, error))?;
    call.heard();
    read(response, max_size).await
}

/// What an error on a call that was sent says of it. A peer that refuses a stream, or
/// closes the connection naming an earlier one as its last, vouches that it did nothing.
fn cut_off(call: &Call<'_>, error: h2::Error) -> CallError {
    let closing = error.is_remote() && error.is_go_away();
    if closing {
        call.retire(&error);
    }
    let refused = error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    if closing || refused {
        CallError::Unreached(error.to_string())
    } else {
        CallError::Lost(error.to_string())
    }
}

async fn read(response: Response<RecvStream>, max_size: usize) -> Result<Bytes, CallError> {
    let lost = |error: h2::Error| CallError::Lost(error.to_string());
    let (head, mut body) = response.into_parts();
    check_is_grpc(head.status, &head.headers)?;
    if let Some(outcome) = outcome(&head.headers) {
        outcome?;
    }
    let mut reply = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(lost)?;
        if reply.len() + chunk.len() > max_size + PREFIX {
            return Err(CallError::Unreadable(message::too_large(max_size)));
        }
        // Fails only for more than was received.
        let _ = body.flow_control().release_capacity(chunk.len());
        reply.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await.map_err(lost)?;
    trailers
        .as_ref()
        .and_then(outcome)
        .unwrap_or_else(|| Err(CallError::Unreadable("the reply has no grpc-status".into())))?;
    let encoding = head.headers.get(GRPC_ENCODING);
    message::decode(reply.freeze(), encoding, max_size).map_err(CallError::Unreadable)
}

/// Tells a gRPC server from whatever else may listen there.
fn check_is_grpc(status: StatusCode, headers: &HeaderMap) -> Result<(), CallError> {
    let grpc = headers
        .get(CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"));
    if grpc {
        return Ok(());
    }
    let problem = format!("HTTP status {}, not a gRPC reply", status.as_u16());
    match status {
        // A proxy lost the application; how far the call got it does not say.
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Err(CallError::Lost(problem))
        }
        _ => Err(CallError::Unreadable(problem)),
    }
}

/// The call's status, if these headers or trailers have it.
fn outcome(headers: &HeaderMap) -> Option<Result<(), CallError>> {
    if headers.get(Status::GRPC_STATUS)?.as_bytes() == b"0" {
        return Some(Ok(()));
    }
    let mut known = HeaderMap::with_capacity(2);
    for name in [Status::GRPC_STATUS, Status::GRPC_MESSAGE] {
        if let Some(value) = headers.get(&name) {
            known.insert(name, value.clone());
        }
    }
    let status = Status::from_header_map(&known)?;
    Some(match status.code() {
        Code::Ok => Ok(()),
        code => Err(CallError::Status(code, status.message().into())),
    })
}

/// At most 8 digits and a unit. In whole milliseconds it is the same for nearly every call, and
/// one byte to HPACK.
fn grpc_timeout(left: Duration) -> HeaderValue {
    const DIGITS_MAX: u128 = 99_999_999;
    let text = match left.as_micros().div_ceil(1_000) {
        millis if millis <= DIGITS_MAX => format!("{millis}m"),
        _ => format!("{}S", left.as_secs().min(DIGITS_MAX as u64)),
    };
    HeaderValue::try_from(text).expect("digits and a letter")
}

/// W3C trace context: a trace of its own for each call, so that the application's spans
/// have a common parent.
///
/// The gateway records nothing and would leave the choice to the application, but the
/// header has no "undecided". Samplers that follow their parent, as OpenTelemetry's do by
/// default, record nothing of what says `00`: handlers would vanish from their traces.
/// `01` records everything instead, unless the application samples by trace id, which is
/// why all of its bits are random.
fn traceparent() -> HeaderValue {
    let (trace, span): (u128, u64) = (rand::random(), rand::random());
    // All zeroes mean "none".
    let (trace, span) = (trace.max(1), span.max(1));
    let mut text = *b"00-________________________________-________________-01";
    write_hex(trace, &mut text[3..35]);
    write_hex(span.into(), &mut text[36..52]);
    let mut header = HeaderValue::from_bytes(&text).expect("hex and dashes");
    // No secret, but never the same twice: in HPACK's table it would only be in the way.
    header.set_sensitive(true);
    header
}

/// What a format would do, at a tenth of the price: it is done for each call.
fn write_hex(mut number: u128, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[number as usize % 16];
        number >>= 4;
    }
}
