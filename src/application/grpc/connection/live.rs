//! One connection to the application, from its first answer to its end: what calls find out
//! about it, and when it is replaced.
//!
//! There is no ping on a timer: stock servers take more than one in five minutes for abuse,
//! and end the connection with everybody's calls. It is asked when a call timed out and
//! nothing at all was received since that was begun. If it then stays silent, new calls go
//! over a new connection, and this one lives until its calls end.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason,
    client::{Connection, SendRequest},
};
use tokio::{sync::Notify, time::timeout};

use super::{greeting::Received, open::Socket};

/// Until HEADERS or DATA come, which give them back; an acknowledgement does not. Servers
/// count the third as abuse.
const PINGS_MAX: usize = 2;

/// For the answer to a ping, and never longer than a call has.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which calls can be made.
pub(in super::super) struct Live {
    requests: SendRequest<Bytes>,
    received: Arc<Received>,
    /// Under way.
    calls: AtomicUsize,
    /// Sent since HEADERS or DATA came last.
    pings: AtomicUsize,
    /// What had been received when a call timed out in silence.
    doubted_at: AtomicU64,
    doubt: Notify,
    /// How a caller found that it takes no further calls.
    retired: OnceLock<End>,
    retire: Notify,
}

/// How a connection ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// It is closing in order, or was closed while nobody used it.
    Closed(String),
    /// It broke under calls.
    Lost(String),
    /// It is silent, or may not be asked whether it is alive.
    Replaced(String),
    /// The application had enough of this gateway: `ENHANCE_YOUR_CALM`.
    SentAway(String),
}

/// One call, while it is under way.
pub(in super::super) struct Call<'a> {
    live: &'a Live,
    /// What had been received when it began.
    received: u64,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

impl Live {
    pub(super) fn new(requests: SendRequest<Bytes>, received: Arc<Received>) -> Self {
        Self {
            requests,
            received,
            calls: AtomicUsize::new(0),
            pings: AtomicUsize::new(0),
            doubted_at: AtomicU64::new(0),
            doubt: Notify::new(),
            retired: OnceLock::new(),
            retire: Notify::new(),
        }
    }

    pub(in super::super) fn call(&self) -> Call<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Call { live: self, received: self.received.bytes() }
    }

    pub(in super::super) fn is_retired(&self) -> bool {
        self.retired.get().is_some()
    }

    /// Bytes so far.
    pub(in super::super) fn received(&self) -> u64 {
        self.received.bytes()
    }

    fn end(&self, error: Option<&h2::Error>) -> End {
        let why = error.map_or_else(|| "it was closed".into(), h2::Error::to_string);
        let reason = error.filter(|error| error.is_remote()).and_then(h2::Error::reason);
        match reason {
            Some(Reason::ENHANCE_YOUR_CALM) => End::SentAway(why),
            Some(Reason::NO_ERROR) => End::Closed(why),
            _ if self.calls.load(Ordering::Relaxed) == 0 => End::Closed(why),
            _ => End::Lost(why),
        }
    }
}

impl Call<'_> {
    /// Fails when the connection takes no further calls; then nothing was sent.
    pub(in super::super) async fn ready(&self) -> Result<SendRequest<Bytes>, h2::Error> {
        self.live.requests.clone().ready().await.inspect_err(|error| self.retire(error))
    }

    /// Has the next call wait for another connection.
    pub(in super::super) fn retire(&self, error: &h2::Error) {
        let _ = self.live.retired.set(self.live.end(Some(error)));
        self.live.retire.notify_one();
    }

    /// HEADERS or DATA came.
    pub(in super::super) fn heard(&self) {
        self.live.pings.store(0, Ordering::Relaxed);
    }

    /// Has the connection asked whether it is alive, if it gave no sign of it.
    pub(in super::super) fn timed_out(&self) {
        if self.live.received.bytes() == self.received {
            self.live.doubted_at.store(self.received, Ordering::Relaxed);
            self.live.doubt.notify_one();
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.live.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection and what drives it.
pub(super) struct Opened {
    pub(super) live: Arc<Live>,
    pub(super) connection: Connection<Socket, Bytes>,
    pub(super) pings: PingPong,
}

impl Opened {
    /// Drives the connection until it takes no further calls. `patience` is how long a call
    /// may take: those that are under way then may end beside the next connection.
    pub(super) async fn run(self, patience: Duration) -> End {
        let Self { live, mut connection, mut pings } = self;
        let end = tokio::select! {
            end = &mut connection => return live.end(end.err().as_ref()),
            why = live.silence(&mut pings, patience.min(PING_TIMEOUT)) => {
                let _ = live.retired.set(End::Replaced(why.clone()));
                End::Replaced(why)
            }
            () = live.retire.notified() => match live.retired.get() {
                Some(end) => end.clone(),
                None => live.end(None),
            },
        };
        tokio::spawn(timeout(patience, connection));
        end
    }
}

impl Live {
    /// Returns when the peer answers no ping, or when it would have to be asked too often.
    async fn silence(&self, pings: &mut PingPong, patience: Duration) -> String {
        loop {
            self.doubt.notified().await;
            if self.received.bytes() != self.doubted_at.load(Ordering::Relaxed) {
                continue;
            }
            if self.pings.fetch_add(1, Ordering::Relaxed) == PINGS_MAX {
                return format!("it answered {PINGS_MAX} pings and no call");
            }
            match timeout(patience, pings.ping(Ping::opaque())).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return format!("silent, no answer to a ping within {patience:?}"),
            }
        }
    }
}
