//! Whether a client is still there: what it answers to a ping from time to time, or what else
//! shows that it lives.

use std::time::Duration;

use tokio::time::Instant;

/// How many pings may go unanswered before the client counts as gone.
const MISSED_PINGS_MAX: u32 = 2;

#[derive(Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    next: Instant,
    /// Pings since anything was heard.
    missed: u32,
    wrote_since: bool,
}

/// What the time for a ping brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Ping,
    /// It answers no more.
    Gone,
    /// It may be there, but has read nothing for as long.
    NotReading,
}

/// What a client's silence may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// From the client.
    Own,
    /// More waits for it than its answers could be read behind: it need only go on reading.
    Behind,
    /// Nothing is read of it now: it waits for the application.
    Unread,
}

impl Keepalive {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now + interval, missed: 0, wrote_since: false }
    }

    /// When it is time to ping.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Anything at all came from the client.
    pub(super) fn heard(&mut self) {
        self.missed = 0;
    }

    /// It took something.
    pub(super) fn wrote(&mut self) {
        self.wrote_since = true;
    }

    /// To be called when it is time.
    pub(super) fn due(&mut self, now: Instant, silence: Silence) -> Due {
        self.next = now + self.interval;
        let wrote = std::mem::take(&mut self.wrote_since);
        let alive = match silence {
            Silence::Own => false,
            Silence::Behind => wrote,
            Silence::Unread => true,
        };
        if alive {
            self.missed = 0;
        }
        if self.missed == MISSED_PINGS_MAX {
            return if silence == Silence::Behind { Due::NotReading } else { Due::Gone };
        }
        self.missed += 1;
        Due::Ping
    }
}
