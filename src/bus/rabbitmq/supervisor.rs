//! One connection to the broker, kept alive: made, watched, and made again when it is lost.
//!
//! lapin's own recovery stays off: it reads streams again from their old offset. lapin runs
//! a thread for each connection, and that thread lives until the socket fails; so this
//! module holds on to the socket and cuts it when it gives a connection up. Otherwise a
//! broker that hangs would cost one thread for every attempt to reach it.

use std::{
    net::Shutdown,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Event, tcp::TLSConfig,
    uri::AMQPScheme,
};
use tokio::{
    sync::watch,
    time::{interval, sleep, timeout},
};

use super::url::BrokerUrl;

/// For one broker address: TCP, TLS and the AMQP handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// For one AMQP method and its answer.
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
    #[error("{0}")]
    Unexpected(String),
}

impl BrokerError {
    /// lapin met bytes that it cannot read, such as a routing key that is not UTF-8, and
    /// gave the connection up.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Amqp(e) if matches!(e.kind(), lapin::ErrorKind::ParsingError(_)))
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
    async fn open(url: &BrokerUrl, name: &Arc<str>) -> Result<Self, BrokerError> {
        let socket = Socket::default();
        let held = socket.0.clone();
        let properties =
            ConnectionProperties::default().with_connection_name(name.as_bytes().to_vec().into());
        let runtime = lapin::runtime::default_runtime()?;
        let opening = Connection::connector(
            url.uri().clone(),
            runtime,
            async move |uri, runtime| {
                let (host, port) = (uri.authority.host, uri.authority.port);
                let open = async {
                    let addresses = tokio::net::lookup_host((host.as_str(), port)).await?;
                    let addresses: Vec<_> = addresses.collect();
                    let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                    if let AsyncTcpStream::Plain(plain) = &stream {
                        plain.get_ref().set_nodelay(true)?;
                        SocketState::hold(&held, plain.get_ref().as_fd().try_clone_to_owned()?);
                    }
                    match uri.scheme {
                        AMQPScheme::AMQP => Ok(stream),
                        AMQPScheme::AMQPS => stream.into_tls(&host, TLSConfig::default()).await,
                    }
                };
                let timed_out = |_| Err(std::io::ErrorKind::TimedOut.into());
                Ok(timeout(CONNECT_DEADLINE, open).await.unwrap_or_else(timed_out)?)
            },
            properties,
        );
        let amqp = within("connecting", opening).await?;
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

    pub async fn close(&self) {
        let _ = timeout(CLOSE_DEADLINE, self.amqp.close(200, "OK".into())).await;
        self.socket.cut();
    }

    /// Comes back when the connection is lost, with the reason.
    async fn lost(&self) -> String {
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
#[derive(Default)]
struct Socket(Arc<Mutex<SocketState>>);

#[derive(Default)]
enum SocketState {
    #[default]
    NotYet,
    Held(std::net::TcpStream),
    Cut,
}

impl SocketState {
    fn lock(state: &Mutex<Self>) -> MutexGuard<'_, Self> {
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(state: &Mutex<Self>, socket: OwnedFd) {
        let socket = std::net::TcpStream::from(socket);
        let mut state = Self::lock(state);
        match *state {
            Self::Cut => drop(socket.shutdown(Shutdown::Both)),
            _ => *state = Self::Held(socket),
        }
    }
}

impl Socket {
    fn cut(&self) {
        let state = std::mem::replace(&mut *SocketState::lock(&self.0), SocketState::Cut);
        if let SocketState::Held(socket) = state {
            // It may be gone already: that is what is wanted.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.cut();
    }
}

/// What the users of a connection see of it.
#[derive(Clone)]
pub struct Link(watch::Receiver<LinkState>);

#[derive(Clone)]
enum LinkState {
    Down(Arc<str>),
    Up(Arc<BrokerConnection>),
}

impl Link {
    /// The connection, as soon as there is one. `None` when the bus has been closed.
    pub async fn connection(&mut self) -> Option<Arc<BrokerConnection>> {
        match &*self.0.wait_for(|state| matches!(state, LinkState::Up(_))).await.ok()? {
            LinkState::Up(connection) => Some(connection.clone()),
            LinkState::Down(_) => None,
        }
    }

    /// Comes back when this connection is no longer the one in use.
    pub async fn lost(&self, connection: &Arc<BrokerConnection>) {
        let mut state = self.0.clone();
        let in_use =
            |state: &LinkState| matches!(state, LinkState::Up(c) if Arc::ptr_eq(c, connection));
        let _ = state.wait_for(|state| !in_use(state)).await;
    }

    pub fn is_blocked(&self) -> bool {
        matches!(&*self.0.borrow(), LinkState::Up(connection) if connection.is_blocked())
    }

    pub fn problem(&self) -> Option<String> {
        match &*self.0.borrow() {
            LinkState::Down(reason) => Some(reason.to_string()),
            LinkState::Up(_) => None,
        }
    }

    pub async fn close(&self) {
        let state = self.0.borrow().clone();
        if let LinkState::Up(connection) = state {
            connection.close().await;
        }
    }
}

/// Makes the connection, tells its [`Link`]s, and makes it again when it is lost.
pub struct Supervisor {
    name: Arc<str>,
    urls: Arc<[BrokerUrl]>,
    state: watch::Sender<LinkState>,
}

impl Supervisor {
    /// `name` is what operators see in the broker's list of connections.
    pub fn new(name: String, urls: Arc<[BrokerUrl]>) -> (Self, Link) {
        let (state, link) = watch::channel(LinkState::Down("not connected yet".into()));
        (Self { name: name.into(), urls, state }, Link(link))
    }

    pub async fn run(self) {
        let mut backoff = Backoff::default();
        let mut was_down = false;
        for url in self.urls.iter().cycle() {
            let reason = match BrokerConnection::open(url, &self.name).await {
                Ok(connection) => {
                    tracing::info!(broker = %url, connection = %self.name, "connected");
                    backoff.reset();
                    was_down = false;
                    let connection = Arc::new(connection);
                    self.state.send_replace(LinkState::Up(connection.clone()));
                    let reason = connection.lost().await;
                    connection.socket.cut();
                    format!("lost the connection to {url}: {reason}")
                }
                Err(e) => format!("cannot connect to {url}: {e}"),
            };
            if !was_down {
                tracing::warn!(connection = %self.name, "{reason}");
                was_down = true;
            }
            self.state.send_replace(LinkState::Down(reason.into()));
            backoff.wait().await;
        }
    }
}

/// Waits between attempts: longer and longer, never the same for two replicas.
pub struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    /// A broker that comes up again is to be noticed soon.
    const LONGEST: Duration = Duration::from_millis(500);

    pub fn reset(&mut self) {
        *self = Self::default();
    }

    pub async fn wait(&mut self) {
        sleep(self.0.mul_f64(rand::random_range(0.5..1.0))).await;
        self.0 = (self.0 * 2).min(Self::LONGEST);
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self(Self::FIRST)
    }
}

/// Why a part of the bus does not work now, for people.
#[derive(Default)]
pub struct Problem(Mutex<Option<String>>);

impl Problem {
    pub fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
