//! Asking the admin listener.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

use super::Failure;
use crate::{
    config::hand::AdminAt,
    net::{
        get::{self, Bounds, GetError},
        remote::Remote,
        token::BearerToken,
    },
};

/// 200 events or sessions have all that is shown of each.
const BOUNDS: Bounds = Bounds { bytes: 4 << 20, time: Duration::from_secs(10) };

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It may be there later.
    Unreachable(String),
    /// It does not do as asked.
    Refused(String),
}

/// The status and the body of a GET of this path.
pub(super) async fn ask(at: &AdminAt, path: &str) -> Result<(StatusCode, Bytes), GetError> {
    let token = at.token.as_ref().map(BearerToken::header);
    let answer = get::get(&at.remote, path, token, BOUNDS).await?;
    Ok((answer.status(), answer.into_body()))
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

pub(super) fn unreachable(remote: &Remote, reason: &GetError) -> String {
    format!(
        "the admin listener is not reachable at {remote} ({reason}): does the gateway run? --admin \
         (MYXI_ADMIN) says where it is"
    )
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
