//! A small HTTP/1.1 server for a few readers: the operator's listener and the demo's page.

use std::{convert::Infallible, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::Semaphore, time::timeout};

use super::listener::{Bounds, Listener};

/// Probes, and some people with their browsers, each of which keeps half a dozen.
const CONNECTIONS_MAX: usize = 256;

/// Past this many, a connection is closed with its answer: those who keep theirs must not keep
/// a probe out.
const CONNECTIONS_KEPT: usize = 64;

/// Kept alive no longer than this, so that a forgotten connection frees its place. A request
/// that is being answered then may take so long.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
const FINISH_TIME: Duration = Duration::from_secs(15);
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// From the first look at a request's body to its end.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until it is dropped. Who asks is told by its address; nothing that `answer` waits
/// for may be without a bound.
pub(crate) async fn serve<F>(
    listener: Listener,
    answer: impl Fn(Request<Incoming>, IpAddr) -> F + Send + Sync + 'static,
) where
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    let permits = || Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let bounds = Bounds { handshakes: permits(), sockets: permits() };
    let answer = Arc::new(answer);
    loop {
        let accepted = bounds.accept(&listener).await;
        let answer = answer.clone();
        let places = bounds.sockets.clone();
        tokio::spawn(async move {
            let peer = accepted.connection.peer();
            let service = service_fn(|request| {
                let response = answer(request, peer);
                let crowded = CONNECTIONS_MAX - places.available_permits() > CONNECTIONS_KEPT;
                async move {
                    let mut response = response.await;
                    if crowded {
                        let close = HeaderValue::from_static("close");
                        response.headers_mut().insert(header::CONNECTION, close);
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(accepted.connection), service);
            let mut connection = pin!(connection);
            // What goes wrong with a reader's connection is the reader's to tell.
            if timeout(CONNECTION_TIME, connection.as_mut()).await.is_err() {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(FINISH_TIME, connection).await;
            }
            drop((accepted.handshake, accepted.socket));
        });
    }
}

/// Why a request's body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body did not come in time")]
    TooSlow,
    #[error("the body broke off")]
    Broken,
}

/// A request's body, if it is no longer than `max` bytes.
pub(crate) async fn read_body(body: Incoming, max: usize) -> Result<Bytes, BodyError> {
    // One that says so itself need not be read to know.
    if body.size_hint().lower() > max as u64 {
        return Err(BodyError::TooLarge);
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TooSlow),
    }
}

pub(crate) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
