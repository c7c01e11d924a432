//! The WebSocket as a session sees it: tungstenite's messages and errors end here.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tungstenite::{
    Bytes, Error, Message,
    error::{CapacityError, ProtocolError},
    protocol::{
        CloseFrame,
        frame::{
            Utf8Bytes,
            coding::{Control, Data, OpCode},
        },
    },
};

use super::WebSocket;
use crate::{
    protocol::{Close, Frame},
    session::socket::{Fault, Incoming, Outgoing, Socket},
};

impl<S: AsyncRead + AsyncWrite + Unpin> Socket for WebSocket<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, Fault>>> {
        Pin::new(self)
            .poll_next(cx)
            .map(|received| Some(received?.map_err(fault).and_then(incoming)))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Sink::poll_ready(Pin::new(self), cx).map_err(lost)
    }

    fn send(&mut self, message: Outgoing) -> Result<(), Fault> {
        // Not by a message of tungstenite's, which would check every text again.
        let sent = match message {
            _ if self.close_sent => Err(ProtocolError::SendAfterClosing.into()),
            Outgoing::Message(text) => self.output.push(OpCode::Data(Data::Text), text.as_bytes()),
            Outgoing::Ping => self.output.push(OpCode::Control(Control::Ping), &[]),
            Outgoing::Close(Close { code, reason }) => {
                let reason = Utf8Bytes::from(&*reason);
                self.send_close(Some(&CloseFrame { code: code.into(), reason }))
            }
        };
        sent.map_err(lost)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Sink::poll_flush(Pin::new(self), cx).map_err(lost)
    }
}

/// A binary message may be text, too.
fn incoming(message: Message) -> Result<Incoming, Fault> {
    Ok(match message {
        Message::Text(text) => Incoming::Message(frame(text.into(), "invalid UTF-8")?),
        Message::Binary(bytes) => {
            Incoming::Message(frame(bytes, "a binary message must be UTF-8")?)
        }
        Message::Ping(_) => Incoming::Ping,
        Message::Pong(_) | Message::Frame(_) => Incoming::Pong,
        Message::Close(frame) => Incoming::Close(
            frame.map(|CloseFrame { code, reason }| Close::new(code.into(), &reason)),
        ),
    })
}

fn frame(bytes: Bytes, problem: &str) -> Result<Frame, Fault> {
    let invalid = |_| Fault::Violation(Close::new(Close::INVALID_UTF8, problem));
    Frame::try_from(bytes).map_err(invalid)
}

/// While writing there is no other fault.
fn lost(error: Error) -> Fault {
    Fault::Lost(error.to_string())
}

/// What the client did wrong on the socket decides the close code.
pub fn fault(error: Error) -> Fault {
    let (code, reason) = match error {
        Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            (Close::TOO_BIG, format!("a message may have {max_size} bytes"))
        }
        Error::Capacity(_) => (Close::TOO_BIG, "message too big".into()),
        Error::Utf8(_) => (Close::INVALID_UTF8, "invalid UTF-8".into()),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            return Fault::Lost("connection lost".into());
        }
        Error::Protocol(error) => (Close::PROTOCOL_ERROR, error.to_string()),
        error => return Fault::Lost(error.to_string()),
    };
    Fault::Violation(Close::new(code, &reason))
}
