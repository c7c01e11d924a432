//! The HTTP/2 connection to the application: made when it is first needed, kept by a
//! task of its own, made again when it is lost.
//!
//! It counts as up only once the application has answered a ping on it: a port that
//! accepts and stays silent (a frozen process, a forwarder with nothing behind it, a
//! server of another protocol) is one that no call has reached.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong,
    client::{self, Connection, SendRequest},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::Endpoint;
use crate::{dial, problem::Problem};

/// For the socket, the handshake and the first ping together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Between failed attempts: doubled from the first to the last, less a random part. The
/// last is short so that an application that returns is found fast.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(1);

/// How often a connection with calls in flight is pinged, and how long it may take to
/// answer. An idle one is left alone: many servers take pings on it for abuse.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that the application is closing may finish its calls this long.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);

/// Unread replies held by the connection as a whole.
const CONNECTION_WINDOW: u32 = 4 << 20;
const HEADERS_MAX: u32 = 16 << 10;

/// Why there is no connection to make a call on.
#[derive(Debug)]
pub(super) struct NotConnected(pub(super) String);

/// The way to the application. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct Connector {
    endpoint: Endpoint,
    /// How much of one reply may be on its way: all of it.
    stream_window: u32,
    /// Present once something was asked of the application.
    link: OnceLock<watch::Receiver<Link>>,
}

#[derive(Debug, Clone)]
enum Link {
    Connecting,
    Up(Arc<Live>),
    Down(Arc<str>),
}

/// A connection on which calls can be made. A caller holds it while its call is under
/// way, which is how the keepalive knows.
pub(super) struct Live {
    requests: SendRequest<Bytes>,
    /// It takes no further calls, as a caller found.
    retired: AtomicBool,
    retire: Notify,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live")
    }
}

impl Live {
    /// Fails when the connection takes no further calls; then nothing was sent.
    pub(super) async fn ready(&self) -> Result<SendRequest<Bytes>, h2::Error> {
        self.requests.clone().ready().await.inspect_err(|_| self.retire())
    }

    /// Has the next call wait for another connection.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.retire.notify_one();
    }
}

impl Connector {
    pub(super) fn new(endpoint: Endpoint, max_reply_size: usize) -> Self {
        let stream_window = u32::try_from(max_reply_size).unwrap_or(CONNECTION_WINDOW);
        let stream_window = stream_window.clamp(u32::from(u16::MAX), CONNECTION_WINDOW);
        Self { endpoint, stream_window, link: OnceLock::new() }
    }

    /// Why the application cannot be reached now, if it cannot.
    pub(super) fn problem(&self) -> Option<String> {
        match &*self.link.get()?.borrow() {
            Link::Down(problem) => Some(problem.to_string()),
            Link::Connecting | Link::Up(_) => None,
        }
    }

    /// The live connection, waited for while one is being made. Between failed attempts
    /// it fails at once.
    pub(super) async fn live(&self, deadline: Instant) -> Result<Arc<Live>, NotConnected> {
        let settle = |link: &Link| match link {
            Link::Up(live) if !live.retired.load(Ordering::Relaxed) => Some(Ok(live.clone())),
            Link::Down(problem) => Some(Err(NotConnected(problem.to_string()))),
            Link::Connecting | Link::Up(_) => None,
        };
        let link = self.link.get_or_init(|| self.start());
        if let Some(settled) = settle(&link.borrow()) {
            return settled;
        }
        let mut link = link.clone();
        let unreached = |why: &str| Err(NotConnected(why.into()));
        match timeout_at(deadline, link.wait_for(|link| settle(link).is_some())).await {
            Ok(Ok(link)) => settle(&link).unwrap_or_else(|| unreached("not connected")),
            Ok(Err(_)) => unreached("the gateway is shutting down"),
            Err(_) => unreached("not connected before the deadline"),
        }
    }

    fn start(&self) -> watch::Receiver<Link> {
        let (link, watching) = watch::channel(Link::Connecting);
        tokio::spawn(keep(self.endpoint.clone(), self.stream_window, link));
        watching
    }
}

/// Keeps the connection until nobody watches it any more.
async fn keep(endpoint: Endpoint, stream_window: u32, link: watch::Sender<Link>) {
    let reconnecting = async {
        // For the log; who asks is told by the link.
        let trouble = Problem::awaited(format!("the application at {endpoint}"));
        let mut failures = 0;
        loop {
            let problem = match connect(&endpoint, stream_window, failures).await {
                Ok(opened) => {
                    trouble.is_over(&"connected");
                    link.send_replace(Link::Up(opened.live.clone()));
                    let since = Instant::now();
                    let end = opened.run().await;
                    tracing::debug!(%endpoint, "the connection to the application ended: {end}");
                    if since.elapsed() > BACKOFF_LAST {
                        failures = 0;
                    }
                    end
                }
                Err(problem) => problem,
            };
            // One that was just lost is made again at once, unless it was lost at once too.
            if failures == 0 && matches!(*link.borrow(), Link::Up(_)) {
                link.send_replace(Link::Connecting);
            } else {
                trouble.set(Some(format!("it cannot be reached: {problem}")));
                link.send_replace(Link::Down(problem.into()));
                sleep(backoff(failures)).await;
            }
            failures = failures.saturating_add(1);
        }
    };
    tokio::select! {
        () = link.closed() => {}
        () = reconnecting => {}
    }
}

fn backoff(failures: usize) -> Duration {
    let longest = BACKOFF_FIRST.saturating_mul(1 << failures.min(10)).min(BACKOFF_LAST);
    longest.mul_f64(rand::random_range(0.5..1.0))
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection and the task that keeps it alive, before it runs.
struct Opened {
    live: Arc<Live>,
    connection: Connection<Box<dyn Io>, Bytes>,
    pings: PingPong,
}

/// Fails with the reason in words. `attempt` counts those that failed (see [`dial`]).
async fn connect(
    endpoint: &Endpoint,
    stream_window: u32,
    attempt: usize,
) -> Result<Opened, String> {
    match timeout(CONNECT_TIMEOUT, open(endpoint, stream_window, attempt)).await {
        Ok(opened) => opened,
        Err(_) => Err(format!("it did not answer within {CONNECT_TIMEOUT:?}")),
    }
}

async fn open(endpoint: &Endpoint, stream_window: u32, attempt: usize) -> Result<Opened, String> {
    let io = socket(endpoint, attempt).await.map_err(|error| error.to_string())?;
    let (requests, mut connection) = client::Builder::new()
        .enable_push(false)
        .initial_window_size(stream_window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS_MAX)
        .handshake(io)
        .await
        .map_err(|error| error.to_string())?;
    let mut pings = connection.ping_pong().ok_or("no pings on a new connection")?;
    let silent = |why: String| format!("connected, but no gRPC (HTTP/2) came back: {why}");
    tokio::select! {
        // First, since it knows best what is wrong.
        biased;
        end = &mut connection => return Err(silent(in_words(end))),
        pong = pings.ping(Ping::opaque()) => pong.map_err(|error| silent(error.to_string()))?,
    };
    let live = Arc::new(Live { requests, retired: AtomicBool::new(false), retire: Notify::new() });
    Ok(Opened { live, connection, pings })
}

async fn socket(endpoint: &Endpoint, attempt: usize) -> io::Result<Box<dyn Io>> {
    match endpoint {
        Endpoint::Http(authority) => {
            let addresses = lookup_host(authority.as_str()).await?;
            let connect = TcpStream::connect;
            let stream =
                dial::first_to_connect(addresses, attempt, CONNECT_TIMEOUT, connect).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
    }
}

fn in_words(end: Result<(), h2::Error>) -> String {
    end.map_or_else(|error| error.to_string(), |()| "the connection was closed".into())
}

impl Opened {
    /// Drives the connection until it takes no further calls; says why.
    async fn run(self) -> String {
        let Self { live, mut connection, mut pings } = self;
        let keepalive = async {
            // Held by the link and by this task; whoever else holds it is in a call.
            const IDLE: usize = 2;
            loop {
                sleep(KEEPALIVE_INTERVAL).await;
                if Arc::strong_count(&live) <= IDLE {
                    continue;
                }
                match timeout(KEEPALIVE_TIMEOUT, pings.ping(Ping::opaque())).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return error.to_string(),
                    Err(_) => return format!("no answer to a ping for {KEEPALIVE_TIMEOUT:?}"),
                }
            }
        };
        tokio::select! {
            end = &mut connection => return in_words(end),
            problem = keepalive => return problem,
            () = live.retire.notified() => {}
        }
        // It said GOAWAY: the calls that it has taken may finish beside the next connection.
        tokio::spawn(timeout(FINISH_TIMEOUT, connection));
        "it takes no further calls".into()
    }
}
