//! One connection to a broker: how it is opened, what it can tell.
//!
//! lapin runs a thread for each connection, and that thread lives until the socket fails.
//! So this module holds on to the socket, and cuts it when the connection is given up;
//! otherwise a broker that hangs would cost one thread for every attempt to reach it.

use std::{
    net::Shutdown,
    os::fd::AsFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, ErrorKind, Event,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    tcp::TLSConfig,
    uri::{AMQPScheme, AMQPUri},
};
use parking_lot::Mutex;
use tokio::time::{Instant, Interval, interval, timeout, timeout_at};

use super::{not_published::NotPublished, url::BrokerUrl};
use crate::{net::dial, problem::Problem};

/// For one step of connecting, or one AMQP method and its answer.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// For a polite goodbye; the socket is cut afterwards.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// How often a connection is looked at: lapin does not announce every loss.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// What a memory or disk alarm means to us.
pub(super) const HELD_BACK: &str = "RabbitMQ holds publishers back: a memory or disk alarm";

/// Why something could not be done with the broker. Holds no credentials.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokerError {
    #[error("{0} took too long")]
    Timeout(&'static str),
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error("nothing comes from the log, though it is published to")]
    Stuck,
    /// Says nothing about who reads.
    #[error("the marker was not published: {0}")]
    NoMarker(#[from] NotPublished),
    #[error("{0}")]
    Hole(&'static str),
    #[error("{0}")]
    Unexpected(String),
}

/// What in a log cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// lapin met bytes that it cannot read, such as a routing key that is not UTF-8.
    Entry,
    /// The broker met what it cannot turn into AMQP 0.9.1. It parses whole chunks: what stands
    /// before it in its chunk can be read by nobody, and with a large prefetch what it has
    /// parsed but not sent yet is not sent either.
    Chunk,
}

impl BrokerError {
    /// The connection was given up over what it was to carry, if so.
    pub(super) fn unreadable(&self) -> Option<Unreadable> {
        let Self::Amqp(error) = self else { return None };
        match error.kind() {
            ErrorKind::ParsingError(_) => Some(Unreadable::Entry),
            _ => {
                let failed = self.has_code(&AMQPErrorKind::Hard(AMQPHardError::INTERNALERROR));
                failed.then_some(Unreadable::Chunk)
            }
        }
    }

    /// The broker refused, and closed only the channel.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Amqp(e) if e.is_amqp_soft_error())
    }

    /// The broker refused because there is no such thing (404).
    pub(super) fn is_missing(&self) -> bool {
        self.has_code(&AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
    }

    /// The whole connection is gone, which whoever keeps it tells.
    pub(super) fn is_of_the_connection(&self) -> bool {
        use ErrorKind::{IOError, InvalidConnectionState, MissingHeartbeatError, ParsingError};
        let Self::Amqp(e) = self else { return false };
        e.is_amqp_hard_error()
            || matches!(
                e.kind(),
                IOError(_) | InvalidConnectionState(_) | MissingHeartbeatError | ParsingError(_)
            )
    }

    /// Makes it the problem of a part that uses the connection.
    pub(super) fn show(&self, problem: &Problem) {
        match self.is_of_the_connection() {
            true => problem.not_yet(&self.to_string()),
            false => problem.set(Some(self.to_string())),
        }
    }

    pub(super) fn has_code(&self, code: &AMQPErrorKind) -> bool {
        matches!(self, Self::Amqp(e) if matches!(
            e.kind(), ErrorKind::ProtocolError(e) if e.kind() == code))
    }
}

/// Bounds one call to the broker.
pub(super) async fn within<T>(
    what: &'static str,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    match timeout(CALL_DEADLINE, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(BrokerError::Timeout(what)),
    }
}

/// An open connection. Dropping it cuts its socket.
pub(super) struct BrokerConnection {
    amqp: Connection,
    socket: Socket,
    url: BrokerUrl,
    name: Arc<str>,
    opened: Instant,
    /// When the broker last confirmed a message on it, in milliseconds after `opened`.
    confirmed: AtomicU64,
    given_up: OnceLock<String>,
}

impl BrokerConnection {
    /// `attempt` counts those that failed at these addresses (see [`dial`]).
    pub(super) async fn open(
        url: &BrokerUrl,
        name: &Arc<str>,
        attempt: usize,
    ) -> Result<Self, BrokerError> {
        let AMQPUri { scheme, authority, .. } = url.uri();
        let runtime = lapin::runtime::default_runtime()?;
        let connecting = async {
            let address = (authority.host.as_str(), authority.port);
            let addresses = tokio::net::lookup_host(address).await?;
            let connect = |address| AsyncTcpStream::connect(&runtime, address);
            Ok(dial::first_to_connect(addresses, attempt, CALL_DEADLINE, connect).await?)
        };
        let mut stream = within("connecting", connecting).await?;
        let AsyncTcpStream::Plain(plain) = &stream else {
            return Err(BrokerError::Unexpected("the connection is not plain TCP".into()));
        };
        plain.get_ref().set_nodelay(true).map_err(lapin::Error::from)?;
        let handle = plain.get_ref().as_fd().try_clone_to_owned().map_err(lapin::Error::from)?;
        let socket = Socket(handle.into());
        if scheme == &AMQPScheme::AMQPS {
            let shaking_hands = stream.into_tls(&authority.host, TLSConfig::default());
            stream = within("the TLS handshake", async { Ok(shaking_hands.await?) }).await?;
        }

        // lapin could make the connection itself, but leaks a task when it fails to.
        let stream = Mutex::new(Some(stream));
        let connect = async move |_, _| {
            let stream = stream.lock().take();
            stream.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected).into())
        };
        let properties =
            ConnectionProperties::default().with_connection_name(name.as_bytes().to_vec().into());
        let opening = Connection::connector(url.uri().clone(), runtime, connect, properties);
        let amqp = within("the AMQP handshake", opening).await?;
        let (url, name, opened) = (url.clone(), name.clone(), Instant::now());
        let (confirmed, given_up) = Default::default();
        Ok(Self { amqp, socket, url, name, opened, confirmed, given_up })
    }

    /// Another connection to the same broker.
    pub(super) async fn open_another(&self) -> Result<Self, BrokerError> {
        Self::open(&self.url, &self.name, 0).await
    }

    pub(super) async fn channel(&self) -> Result<Channel, BrokerError> {
        within("opening a channel", self.amqp.create_channel()).await
    }

    /// The broker holds publishers back: its memory or disk runs out.
    pub(super) fn is_blocked(&self) -> bool {
        self.amqp.status().blocked()
    }

    /// The broker confirmed a message on it.
    pub(super) fn has_confirmed(&self) {
        let now = self.opened.elapsed().as_millis();
        self.confirmed.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether it did so within this time.
    pub(super) fn confirmed_within(&self, time: Duration) -> bool {
        match self.confirmed.load(Ordering::Relaxed) {
            0 => false,
            at => self.opened.elapsed().saturating_sub(Duration::from_millis(at)) < time,
        }
    }

    /// Ends it at once.
    pub(super) fn cut(&self) {
        self.socket.cut();
    }

    /// The same, with the reason that [`Self::lost`] tells.
    pub(super) fn give_up(&self, reason: String) {
        let _ = self.given_up.set(reason);
        self.cut();
    }

    /// Politely, while there is time.
    pub(super) async fn close(&self, deadline: Instant) {
        let deadline = deadline.min(Instant::now() + CLOSE_DEADLINE);
        let _ = timeout_at(deadline, self.amqp.close(200, "OK".into())).await;
        self.socket.cut();
    }

    /// Resolves when the broker takes what is published, or the connection is lost.
    pub(super) async fn unblocked(&self) {
        let mut changes = Changes::of(&self.amqp);
        while self.is_blocked() && self.amqp.status().connected() {
            changes.next().await;
        }
    }

    /// Resolves when the connection is lost, with the reason. Until then `alarm` says
    /// whether publishers are held back.
    pub(super) async fn lost(&self, alarm: &Problem) -> String {
        let mut changes = Changes::of(&self.amqp);
        let mut reason = "it was closed".to_owned();
        while self.amqp.status().connected() {
            match self.is_blocked() {
                true => alarm.set(Some(HELD_BACK.into())),
                false => alarm.is_over(&"RabbitMQ takes what is published again"),
            }
            // Errors of a single channel are told here too: the state decides.
            if let Some(Event::Error(e)) = changes.next().await {
                reason = e.to_string();
            }
        }
        self.given_up.get().cloned().unwrap_or(reason)
    }
}

/// What lapin tells of a connection, and a look at it now and then.
struct Changes<E> {
    events: E,
    watch: Interval,
}

impl Changes<()> {
    fn of(connection: &Connection) -> Changes<impl Stream<Item = Event> + Unpin> {
        Changes { events: connection.events_listener(), watch: interval(WATCH_INTERVAL) }
    }
}

impl<E: Stream<Item = Event> + Unpin> Changes<E> {
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            Some(event) = self.events.next() => Some(event),
            _ = self.watch.tick() => None,
        }
    }
}

/// A second handle of a connection's socket, to cut it from outside.
struct Socket(std::net::TcpStream);

impl Socket {
    fn cut(&self) {
        // It may be gone already: that is what is wanted.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.cut();
    }
}
