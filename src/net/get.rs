//! One question to somebody else's HTTP server, and its answer, of which all is bounded.

use std::time::Duration;

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

/// A GET of this path; fails with the reason.
pub(crate) async fn get(
    remote: &Remote,
    path: &str,
    authorization: Option<HeaderValue>,
    bounds: Bounds,
) -> Result<Response<Bytes>, String> {
    let late = |_| format!("no answer within {:?}", bounds.time);
    let asking = exchange(remote, path, authorization, bounds.bytes);
    timeout(bounds.time, asking).await.map_err(late)?
}

async fn exchange(
    remote: &Remote,
    path: &str,
    authorization: Option<HeaderValue>,
    bytes: usize,
) -> Result<Response<Bytes>, String> {
    let io = remote.connect(HTTP1).await.map_err(|error| error.to_string())?;
    let handshake = http1::handshake(TokioIo::new(io)).await;
    let (mut requests, connection) = handshake.map_err(|error| error.to_string())?;
    let mut request = Request::get(remote.path(path))
        .header(header::HOST, remote.authority())
        .header(header::CONNECTION, "close");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = async {
        let answer = requests.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, bytes).collect().await.map_err(|error| error.to_string())?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    // It ends with the answer, and without it what it says is the reason.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
