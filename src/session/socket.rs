//! What carries a client's messages, as a session sees it: the WebSocket in `edge/websocket`
//! is one, the tests of the driver have another.

use std::task::{Context, Poll};

use crate::protocol::{Close, Frame};

/// One client's connection. What it is given is written in order; nothing of it moves but
/// while it is polled.
pub(crate) trait Socket: Unpin {
    /// What the client says next; nothing once it can say no more. After a fault there is
    /// nothing to read.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, Fault>>>;

    /// Whether another message may be given to it.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>>;

    fn send(&mut self, message: Outgoing) -> Result<(), Fault>;

    /// Writes all that it was given, and its own answers.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    Message(Frame),
    /// The socket has its answer ready, which waits for a flush.
    Ping,
    Pong,
    /// The client closes, and with what. Here too the answer waits for a flush.
    Close(Option<Close>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Message(Frame),
    Ping,
    /// The last one.
    Close(Close),
}

/// Why a socket cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The connection is gone.
    #[error("{0}")]
    Lost(String),
    /// The client broke the rules of the socket, and is told so by this close.
    #[error("{}", .0.reason)]
    Violation(Close),
}
