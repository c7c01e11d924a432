//! Closing a session by hand: the same as the application's `DisconnectSession`, as JSON over
//! HTTP.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tonic::Request;

use super::{
    answer::Refusal,
    body::{self, refused, required, text},
};
use crate::{
    gateway_api::GatewayApi,
    proto::{DisconnectSessionRequest, gateway_server::Gateway},
};

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
pub struct Closed {
    session_id: String,
}

pub async fn disconnect(api: &GatewayApi, body: &Bytes) -> Result<Closed, Refusal> {
    let request = read(body)?;
    let session_id = request.session_id.clone();
    let code = request.code;
    api.disconnect_session(Request::new(request)).await.map_err(|status| refused(&status))?;
    tracing::info!(session = session_id, code, "a session was closed from the console");
    Ok(Closed { session_id })
}

fn read(body: &[u8]) -> Result<DisconnectSessionRequest, Refusal> {
    let body: Body = body::read(body)?;
    let not_a_code = |_| Refusal::bad_request("code must be a number");
    let code = body.code.map(|sent| serde_json::from_str(sent.get()).map_err(not_a_code));
    Ok(DisconnectSessionRequest {
        session_id: required("session_id", body.session_id)?,
        code: code.transpose()?.unwrap_or_default(),
        reason: body.reason.map(|sent| text("reason", sent)).transpose()?.unwrap_or_default(),
    })
}
