//! How a session ends: who closes, with what code, and what is still done before.

use std::time::Duration;

use tokio::time::Instant;

use super::{Driver, End, Fault, Incoming, Socket};
use crate::{hub::outbox::Signal, metrics::Closed, protocol::Close};

/// How long a close may take: to flush what is queued, and for the client's answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) enum Phase {
    Open,
    /// No more is read; what was read is carried out.
    Draining,
    /// The client closed: what it said before is still carried out, but it hears no more.
    ClosedByClient {
        close: Close,
        until: Instant,
    },
    /// The outbox is sealed: it is written out, then the close frame, then the client's
    /// answer is awaited.
    Closing {
        close: Close,
        close_sent: bool,
        answered: bool,
        until: Instant,
    },
    Ended(Close),
}

impl<S: Socket> Driver<'_, S> {
    pub(super) fn closed_by_client(&mut self, close: Option<Close>) {
        let close = close.unwrap_or_else(|| Close::new(Close::NO_STATUS, ""));
        self.session.outbox().seal(close.clone());
        self.unflushed = true;
        self.closed_by_client = true;
        self.phase = Phase::ClosedByClient { close, until: Instant::now() + CLOSE_TIMEOUT };
    }

    /// At once, and not only when the turn comes: after a fault there is nothing to read
    /// any more, which must not pass for a lost connection.
    pub(super) fn seal(&mut self, close: Close) {
        self.session.outbox().seal(close);
        self.start_closing();
    }

    fn start_closing(&mut self) {
        let Some(close) = self.session.outbox().sealed() else { return };
        let until = Instant::now() + CLOSE_TIMEOUT;
        self.unread.clear();
        self.phase = Phase::Closing { close, close_sent: false, answered: false, until };
    }

    /// The connection is gone. Whoever had begun to close it still gave the reason.
    pub(super) fn lost(&mut self, problem: &str) {
        let close = match &self.phase {
            Phase::Closing { close, .. } | Phase::ClosedByClient { close, .. } => close.clone(),
            _ => Close::new(Close::ABNORMAL, problem),
        };
        self.phase = Phase::Ended(close);
    }

    /// Only an end is of interest now. After the client's own close frame nothing can be
    /// written any more but the answer, which the socket has ready.
    pub(super) fn receive_while_closing(&mut self, received: Option<Result<Incoming, Fault>>) {
        let Phase::Closing { answered, close_sent, .. } = &mut self.phase else { return };
        match received {
            Some(Ok(Incoming::Close(_))) => {
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
        let outbox = self.session.outbox();
        let idle = self.acting.is_none() && self.unread.is_empty();
        match &self.phase {
            Phase::Open | Phase::Draining if outbox.signal() == Signal::Sealed => {
                self.start_closing();
            }
            Phase::Open if outbox.signal() == Signal::Drain => self.phase = Phase::Draining,
            Phase::Draining if idle => {
                outbox.send_elsewhere();
            }
            Phase::ClosedByClient { close, .. } if idle && !self.unflushed => {
                self.phase = Phase::Ended(close.clone());
            }
            Phase::Closing { close, close_sent: true, answered: true, .. } if !self.unflushed => {
                self.phase = Phase::Ended(close.clone());
            }
            _ => return false,
        }
        true
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
        match end.close.code {
            _ if end.by_client => Self::Client,
            Close::ABNORMAL => Self::Lost,
            Close::PROTOCOL_ERROR | Close::INVALID_UTF8 => Self::ProtocolError,
            Close::TOO_BIG => Self::TooBig,
            Close::SERVICE_RESTART => Self::Drain,
            Close::TRY_LATER => Self::TryLater,
            Close::SLOW_CONSUMER => Self::SlowConsumer,
            Close::NORMAL | 4000..5000 => Self::Application,
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
            let close = Close::new(code, "");
            Closed::from(&End { close, by_client, unfinished: None })
        };
        assert_eq!(closed(Close::SLOW_CONSUMER, true), Closed::Client);
        assert_eq!(closed(Close::SLOW_CONSUMER, false), Closed::SlowConsumer);
        assert_eq!(closed(Close::NORMAL, true), Closed::Client);
        assert_eq!(closed(Close::NORMAL, false), Closed::Application);
    }
}
