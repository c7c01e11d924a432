//! Reaching one session, whichever replica holds it: what may be asked of it is checked here.

use super::{GatewayApi, peers::PeerError};
use crate::{
    event::{EventBody, InvalidEvent},
    ids::SessionId,
    protocol::Close,
    session::directory::SessionCommand,
};

/// Why nothing was done to a session, or is not known to be. Worded for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("session_id must be 16 hex digits")]
    SessionId,
    #[error(transparent)]
    Event(#[from] InvalidEvent),
    #[error("code must be 1000, 4000 to 4999, or 0 for 4500")]
    Code,
    #[error("reason must be at most 123 bytes")]
    Reason,
    #[error(transparent)]
    Peer(#[from] PeerError),
}

impl GatewayApi {
    /// Sends an event to one session. `payload` is JSON text.
    pub(super) async fn send(
        &self,
        session_id: &str,
        name: &str,
        payload: &str,
    ) -> Result<(), CommandError> {
        let body = EventBody::new(name, payload)?;
        let (size, max) = (body.json_size(), self.max_event_size);
        if size > max {
            return Err(InvalidEvent::TooBig { size, max }.into());
        }
        self.command(session_id, SessionCommand::Send(body)).await
    }

    /// Closes one session; code 0 stands for [`Close::APPLICATION`].
    pub async fn disconnect(
        &self,
        session_id: &str,
        code: u32,
        reason: &str,
    ) -> Result<(), CommandError> {
        if code != 0 && Close::chosen(code).is_none() {
            return Err(CommandError::Code);
        }
        let close = Close::by_application(code, reason);
        if close.reason.len() < reason.len() {
            return Err(CommandError::Reason);
        }
        self.command(session_id, SessionCommand::Disconnect(close)).await
    }

    async fn command(&self, session_id: &str, command: SessionCommand) -> Result<(), CommandError> {
        let id = SessionId::parse(session_id).ok_or(CommandError::SessionId)?;
        Ok(self.peers.command(id, &command).await?)
    }
}
