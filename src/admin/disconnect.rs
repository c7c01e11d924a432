//! Closing a session by hand: the same as the application's `DisconnectSession`, as JSON over
//! HTTP.

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    answer::Refusal,
    body::{self, required, text},
};
use crate::gateway_api::{CommandError, GatewayApi, peers::PeerError};

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
}

#[derive(Debug, Serialize)]
pub(super) struct Closed {
    session_id: String,
}

pub(super) async fn disconnect(api: &GatewayApi, body: &Bytes) -> Result<Closed, Refusal> {
    let Request { session_id, code, reason } = read(body)?;
    api.disconnect(&session_id, code, &reason).await?;
    tracing::info!(session = session_id, code, "a session was closed from the console");
    Ok(Closed { session_id })
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        let status = match &error {
            CommandError::SessionId
            | CommandError::Event(_)
            | CommandError::Code
            | CommandError::Reason => StatusCode::BAD_REQUEST,
            CommandError::Peer(PeerError::NoSuchSession(_)) => StatusCode::NOT_FOUND,
            CommandError::Peer(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

struct Request {
    session_id: String,
    code: u32,
    reason: String,
}

fn read(body: &[u8]) -> Result<Request, Refusal> {
    let body: Body = body::read(body)?;
    let not_a_code = |_| Refusal::bad_request("code must be a number");
    let code = body.code.map(|sent| serde_json::from_str(sent.get()).map_err(not_a_code));
    Ok(Request {
        session_id: required("session_id", body.session_id)?,
        code: code.transpose()?.unwrap_or_default(),
        reason: body.reason.map(|sent| text("reason", sent)).transpose()?.unwrap_or_default(),
    })
}
