//! A client's connection: made, written to and ended, each within a time; and what its end means.

use std::time::Duration;

use futures_util::SinkExt;
use serde::Serialize;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message,
        http::StatusCode,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::End;
use crate::{
    hand::Failure,
    net::{
        dial::Io,
        remote::{HTTP1, Remote},
    },
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const SEND_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest event there may be, with its names.
const MESSAGE_MAX: usize = 8 << 20;

pub(super) type Socket = WebSocketStream<Box<dyn Io>>;

#[derive(Serialize)]
pub(super) struct Action<'a, P> {
    pub action: &'a str,
    pub tag: &'a str,
    pub payload: &'a P,
}

/// How a connection ended.
pub(super) enum Ended {
    /// Another one may do better.
    Lost(String),
    /// For good.
    For(End),
}

impl Ended {
    pub(super) fn failed(reason: String) -> Self {
        Self::For(End::Failed(Failure(reason)))
    }
}

/// A WebSocket, or why there is none.
pub(super) async fn connect(url: &Remote) -> Result<Socket, Ended> {
    let lost = |reason: String| {
        Ended::Lost(format!(
            "no connection to {} ({reason}): does the gateway run? --url (MYXI_URL) says where \
             clients connect",
            url
        ))
    };
    let io = url.connect(HTTP1).await.map_err(|error| lost(error.to_string()))?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    let upgrading = client_async_with_config(url.uri(), io, Some(config));
    match timeout(HANDSHAKE_TIMEOUT, upgrading).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(answer))) if is_final(answer.status()) => {
            let status = answer.status();
            Err(Ended::failed(format!("{} refuses the connection: {status}", url)))
        }
        Ok(Err(error)) => Err(lost(error.to_string())),
        Err(_) => Err(lost(format!("no WebSocket within {HANDSHAKE_TIMEOUT:?}"))),
    }
}

/// A gateway that is full, or leaves, says so with these.
fn is_final(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
}

/// What the code says: come back, or stay away.
pub(super) fn closed(frame: Option<&CloseFrame>) -> Ended {
    let Some(CloseFrame { code, reason }) = frame else {
        return Ended::Lost("the gateway closed the connection".into());
    };
    let code = u16::from(*code);
    let text = format!("the gateway closed the connection ({code} {reason})");
    match code {
        1000 | 1007..=1009 | 4500..=4999 => Ended::failed(format!("{text}, not to come back")),
        _ => Ended::Lost(text),
    }
}

pub(super) async fn send(
    socket: &mut Socket,
    action: &Action<'_, impl Serialize>,
) -> Result<(), Ended> {
    let text = serde_json::to_string(action).expect("text and raw JSON always serialize");
    match timeout(SEND_TIMEOUT, socket.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Ended::Lost(format!("the connection was lost ({error})"))),
        Err(_) => Err(Ended::Lost("the gateway does not read".into())),
    }
}

/// As a client should; the gateway need not answer.
pub(super) async fn close(socket: Option<Socket>) {
    let Some(mut socket) = socket else { return };
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = timeout(CLOSE_TIMEOUT, socket.close(Some(frame))).await;
}
