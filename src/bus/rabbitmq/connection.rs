//! One connection to a broker: how it is opened, what it can tell.
//!
//! lapin runs a thread for each connection, and that thread lives until the socket fails.
//! So this module holds on to the socket, and cuts it when the connection is given up;
//! otherwise a broker that hangs would cost one thread for every attempt to reach it.

use std::{
    net::Shutdown,
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, ErrorKind, Event,
    protocol::{AMQPErrorKind, AMQPHardError},
    tcp::TLSConfig,
    uri::{AMQPScheme, AMQPUri},
};
use tokio::time::{Instant, interval, timeout, timeout_at};

use super::url::BrokerUrl;

/// For one step of connecting, or one AMQP method and its answer.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// For a polite goodbye; the socket is cut afterwards.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// How often a connection is looked at: lapin does not announce every loss.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Why something could not be done with the broker. Holds no credentials.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("{0} took too long")]
    Timeout(&'static str),
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    /// Its connection is not worth keeping.
    #[error("nothing comes from the log, though it is published to")]
    Stuck,
    #[error("{0}")]
    Unexpected(String),
}

/// What in a log cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// lapin met bytes that it cannot read, such as a routing key that is not UTF-8.
    Entry,
    /// The broker met what it cannot turn into AMQP 0.9.1. It parses whole chunks: what stands
    /// before it in its chunk can be read by nobody, and with a large prefetch what it has
    /// parsed but not sent yet is not sent either.
    Chunk,
}

impl BrokerError {
    /// The connection was given up over what it was to carry, if so.
    pub fn unreadable(&self) -> Option<Unreadable> {
        let Self::Amqp(error) = self else { return None };
        match error.kind() {
            ErrorKind::ParsingError(_) => Some(Unreadable::Entry),
            ErrorKind::ProtocolError(error) => {
                let internal = &AMQPErrorKind::Hard(AMQPHardError::INTERNALERROR);
                (error.kind() == internal).then_some(Unreadable::Chunk)
            }
            _ => None,
        }
    }

    /// The broker refused, and closed only the channel.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Amqp(e) if e.is_amqp_soft_error())
    }
}

/// Bounds one call to the broker.
pub async fn within<T>(
    what: &'static str,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    match timeout(CALL_DEADLINE, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(BrokerError::Timeout(what)),
    }
}

/// An open connection. Dropping it cuts its socket.
pub struct BrokerConnection {
    amqp: Connection,
    socket: Socket,
    url: BrokerUrl,
    name: Arc<str>,
}

impl BrokerConnection {
    pub async fn open(url: &BrokerUrl, name: &Arc<str>) -> Result<Self, BrokerError> {
        let AMQPUri { scheme, authority, .. } = url.uri();
        let runtime = lapin::runtime::default_runtime()?;
        let connecting = async {
            let address = (authority.host.as_str(), authority.port);
            let addresses: Vec<_> = tokio::net::lookup_host(address).await?.collect();
            Ok(AsyncTcpStream::connect(&runtime, addresses).await?)
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
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected).into())
        };
        let properties =
            ConnectionProperties::default().with_connection_name(name.as_bytes().to_vec().into());
        let opening = Connection::connector(url.uri().clone(), runtime, connect, properties);
        let amqp = within("the AMQP handshake", opening).await?;
        Ok(Self { amqp, socket, url: url.clone(), name: name.clone() })
    }

    /// Another connection to the same broker.
    pub async fn open_another(&self) -> Result<Self, BrokerError> {
        Self::open(&self.url, &self.name).await
    }

    pub async fn channel(&self) -> Result<Channel, BrokerError> {
        within("opening a channel", self.amqp.create_channel()).await
    }

    /// The broker holds publishers back: its memory or disk runs out.
    pub fn is_blocked(&self) -> bool {
        self.amqp.status().blocked()
    }

    /// Ends it at once.
    pub fn cut(&self) {
        self.socket.cut();
    }

    /// Politely, while there is time.
    pub async fn close(&self, deadline: Instant) {
        let deadline = deadline.min(Instant::now() + CLOSE_DEADLINE);
        let _ = timeout_at(deadline, self.amqp.close(200, "OK".into())).await;
        self.socket.cut();
    }

    /// Comes back when the connection is lost, with the reason.
    pub async fn lost(&self) -> String {
        let mut events = self.amqp.events_listener();
        let mut watch = interval(WATCH_INTERVAL);
        let mut reason = "it was closed".to_owned();
        while self.amqp.status().connected() {
            tokio::select! {
                // Errors of a single channel are told here too: the state decides.
                Some(event) = events.next() => if let Event::Error(e) = event {
                    reason = e.to_string();
                },
                _ = watch.tick() => {}
            }
        }
        reason
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
