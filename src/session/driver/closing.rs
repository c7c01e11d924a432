//! How a session ends: who closes, with what code, and what is still done before.

use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{
    Error as SocketError, Message,
    error::{CapacityError, ProtocolError},
    protocol::CloseFrame,
};

use super::{End, Session, Socket};
use crate::{hub::outbox::Signal, metrics::Closed, protocol::CloseReason};

/// How long a close may take: to flush what is queued, and for the client's answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) enum Phase {
    Open,
    /// No more is read; what was read is carried out.
    Draining,
    /// The client closed: what it said before is still carried out, but it hears no more.
    ClosedByClient {
        reason: CloseReason,
        until: Instant,
    },
    /// The outbox is sealed: it is written out, then the close frame, then the client's
    /// answer is awaited.
    Closing {
        reason: CloseReason,
        close_sent: bool,
        answered: bool,
        until: Instant,
    },
    Ended(CloseReason),
}

impl<S: Socket> Session<'_, S> {
    pub(super) fn closed_by_client(&mut self, frame: Option<CloseFrame>) {
        let reason = match frame {
            Some(CloseFrame { code, reason }) => CloseReason::new(code.into(), &reason),
            None => CloseReason::new(CloseReason::NO_STATUS, ""),
        };
        self.client.outbox().seal(reason.clone());
        self.unflushed = true;
        self.closed_by_client = true;
        self.phase = Phase::ClosedByClient { reason, until: Instant::now() + CLOSE_TIMEOUT };
    }

    pub(super) fn failed(&mut self, error: &SocketError) {
        let CloseReason { code, reason } = fault(error);
        match code {
            CloseReason::ABNORMAL => self.lost(&reason),
            code => self.seal(code, &reason),
        }
    }

    /// At once, and not only when the turn comes: after an error there is nothing to read
    /// any more, which must not pass for a lost connection.
    pub(super) fn seal(&mut self, code: u16, reason: &str) {
        self.client.outbox().seal(CloseReason::new(code, reason));
        self.start_closing();
    }

    fn start_closing(&mut self) {
        let Some(reason) = self.client.outbox().sealed() else { return };
        let until = Instant::now() + CLOSE_TIMEOUT;
        self.unread.clear();
        self.phase = Phase::Closing { reason, close_sent: false, answered: false, until };
    }

    /// The connection is gone. Whoever had begun to close it still gave the reason.
    pub(super) fn lost(&mut self, problem: &str) {
        let reason = match &self.phase {
            Phase::Closing { reason, .. } | Phase::ClosedByClient { reason, .. } => reason.clone(),
            _ => CloseReason::new(CloseReason::ABNORMAL, problem),
        };
        self.phase = Phase::Ended(reason);
    }

    /// Only an end is of interest now. After the client's own close frame nothing can be
    /// written any more but the answer, which the socket has ready.
    pub(super) fn receive_while_closing(&mut self, received: Option<Result<Message, SocketError>>) {
        let Phase::Closing { answered, close_sent, .. } = &mut self.phase else { return };
        match received {
            Some(Ok(Message::Close(_))) => {
                *answered = true;
                *close_sent = true;
                self.unflushed = true;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => *answered = true,
        }
    }

    /// Moves to the next phase when this one has done its work.
    pub(super) fn advance(&mut self) -> bool {
        let outbox = self.client.outbox();
        let idle = self.acting.is_none() && self.unread.is_empty();
        match &self.phase {
            Phase::Open | Phase::Draining if outbox.signal() == Signal::Sealed => {
                self.start_closing();
            }
            Phase::Open if outbox.signal() == Signal::Drain => self.phase = Phase::Draining,
            Phase::Draining if idle => {
                outbox.send_elsewhere();
            }
            Phase::ClosedByClient { reason, .. } if idle && !self.unflushed => {
                self.phase = Phase::Ended(reason.clone());
            }
            Phase::Closing { reason, close_sent: true, answered: true, .. } if !self.unflushed => {
                self.phase = Phase::Ended(reason.clone());
            }
            _ => return false,
        }
        true
    }
}

/// What the client did wrong on the socket decides the close code; `ABNORMAL` stands for a
/// connection that is gone.
pub fn fault(error: &SocketError) -> CloseReason {
    match error {
        SocketError::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            let reason = format!("a message may have {max_size} bytes");
            CloseReason::new(CloseReason::TOO_BIG, &reason)
        }
        SocketError::Capacity(_) => CloseReason::new(CloseReason::TOO_BIG, "message too big"),
        SocketError::Utf8(_) => CloseReason::new(CloseReason::INVALID_UTF8, "invalid UTF-8"),
        SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            CloseReason::new(CloseReason::ABNORMAL, "connection lost")
        }
        SocketError::Protocol(error) => {
            CloseReason::new(CloseReason::PROTOCOL_ERROR, &error.to_string())
        }
        error => CloseReason::new(CloseReason::ABNORMAL, &error.to_string()),
    }
}

impl Phase {
    pub(super) fn writes(&self) -> bool {
        match self {
            Self::Open | Self::Draining => true,
            Self::Closing { close_sent, .. } => !close_sent,
            Self::ClosedByClient { .. } | Self::Ended(_) => false,
        }
    }
}

/// A client can close with any code: only who closed tells what it means.
impl From<&End> for Closed {
    fn from(end: &End) -> Self {
        match end.reason.code {
            _ if end.by_client => Self::Client,
            CloseReason::ABNORMAL => Self::Lost,
            CloseReason::PROTOCOL_ERROR | CloseReason::INVALID_UTF8 => Self::ProtocolError,
            CloseReason::TOO_BIG => Self::TooBig,
            CloseReason::SERVICE_RESTART => Self::Drain,
            CloseReason::TRY_LATER => Self::TryLater,
            CloseReason::SLOW_CONSUMER => Self::SlowConsumer,
            CloseReason::NORMAL | 4000..5000 => Self::Application,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_borrows_a_code_is_still_the_client() {
        let closed = |code, by_client| {
            let reason = CloseReason::new(code, "");
            Closed::from(&End { reason, by_client, unfinished: None })
        };
        assert_eq!(closed(CloseReason::SLOW_CONSUMER, true), Closed::Client);
        assert_eq!(closed(CloseReason::SLOW_CONSUMER, false), Closed::SlowConsumer);
        assert_eq!(closed(CloseReason::NORMAL, true), Closed::Client);
        assert_eq!(closed(CloseReason::NORMAL, false), Closed::Application);
    }
}
