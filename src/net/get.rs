//! One question to somebody else's HTTP server, and its answer, of which all is bounded.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::remote::{HTTP1, Remote};

/// How much of an answer is read, and how long it is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub bytes: usize,
    pub time: Duration,
}

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Connect(#[from] io::Error),
    /// The path, or what was to go with it.
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// It broke off, or is over its bound.
    #[error(transparent)]
    Body(#[from] Box<dyn Error + Send + Sync>),
}

/// A GET of this path.
pub(crate) async fn get(
    remote: &Remote,
    path: &str,
    authorization: Option<HeaderValue>,
    bounds: Bounds,
) -> Result<Response<Bytes>, GetError> {
    let late = |_| GetError::Late(bounds.time);
    let asking = exchange(remote, path, authorization, bounds.bytes);
    timeout(bounds.time, asking).await.map_err(late)?
}

async fn exchange(
    remote: &Remote,
    path: &str,
    authorization: Option<HeaderValue>,
    bytes: usize,
) -> Result<Response<Bytes>, GetError> {
    let io = remote.connect(HTTP1).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(io)).await?;
    let mut request = Request::get(remote.path(path))
        .header(header::HOST, remote.authority())
        .header(header::CONNECTION, "close");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let answer = async {
        let (head, body) = requests.send_request(request).await?.into_parts();
        let body = Limited::new(body, bytes).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    // It ends with the answer, and without it what it says is the reason.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
