//! Asking the admin listener.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::time::timeout;

use super::Failure;
use crate::{
    config::hand::AdminAt,
    net::remote::{HTTP1, Remote},
};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// 200 events or sessions with all that is shown of each.
const ANSWER_MAX: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It may be there later.
    Unreachable(String),
    /// It does not do as asked.
    Refused(String),
}

/// The status and the body of a GET of this path.
pub(super) async fn ask(at: &AdminAt, path: &str) -> Result<(StatusCode, Bytes), String> {
    let late = |_| format!("no answer within {ANSWER_TIMEOUT:?}");
    timeout(ANSWER_TIMEOUT, exchange(at, path)).await.map_err(late)?
}

/// The body of a GET, if it is what is asked for.
pub(super) async fn get(at: &AdminAt, path: &str) -> Result<Bytes, Unanswered> {
    let remote = &at.remote;
    let (status, body) = ask(at, path)
        .await
        .map_err(|reason| Unanswered::Unreachable(unreachable(remote, &reason)))?;
    match status {
        StatusCode::OK => Ok(body),
        _ if status.is_server_error() => {
            Err(Unanswered::Unreachable(format!("{remote} answered {status}")))
        }
        _ => Err(Unanswered::Refused(format!("{remote} refuses: {}", reason(status, &body)))),
    }
}

pub(super) fn unreachable(remote: &Remote, reason: &str) -> String {
    format!(
        "the admin listener is not reachable at {remote} ({reason}): does the gateway run? --admin \
         (MYXI_ADMIN) says where it is"
    )
}

async fn exchange(at: &AdminAt, path: &str) -> Result<(StatusCode, Bytes), String> {
    let io = at.remote.connect(HTTP1).await.map_err(|error| error.to_string())?;
    let handshake = http1::handshake(TokioIo::new(io)).await;
    let (mut requests, connection) = handshake.map_err(|error| error.to_string())?;
    let mut request = Request::get(at.remote.path(path))
        .header(header::HOST, at.remote.authority())
        .header(header::CONNECTION, "close");
    if let Some(token) = &at.token {
        request = request.header(header::AUTHORIZATION, token.header());
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = async {
        let answer = requests.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    // It ends with the answer, and without it what it says is the reason.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

/// What the admin listener says of it, if it is one.
fn reason(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    match serde_json::from_slice(body) {
        Ok(Refusal { error }) if status == StatusCode::UNAUTHORIZED => {
            format!("{error}; set MYXI_ADMIN_TOKEN")
        }
        Ok(Refusal { error }) => error,
        Err(_) => format!("{status}; is this the admin listener?"),
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Unreachable(reason) | Unanswered::Refused(reason) => Self(reason),
        }
    }
}
