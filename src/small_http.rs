//! A small HTTP/1.1 server for a few readers: the operator's listener and the demo's page.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::accept::Bounds;

/// Probes, and a person or two with their browsers.
const CONNECTIONS_MAX: usize = 64;

/// Kept alive no longer than this, so that a forgotten connection frees its place.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until it is dropped.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
) {
    let permits = || Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let bounds = Bounds { handshakes: permits(), sockets: permits() };
    let answer = Arc::new(answer);
    loop {
        let accepted = bounds.accept(&listener).await;
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(accepted.stream), service);
            // What goes wrong with a reader's connection is the reader's to tell.
            let _ = timeout(CONNECTION_TIME, connection).await;
            drop((accepted.handshake, accepted.socket));
        });
    }
}

pub fn response(
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
