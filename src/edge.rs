//! The clients' listener: the upgrade to a WebSocket, what is answered to everything else,
//! and the bounds on connections that have not got that far.

pub mod forwarded;
mod handshake;
mod health;
mod library;
mod subprotocol;
pub mod websocket;

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

pub use self::subprotocol::Subprotocols;
use crate::{
    application::{ClientInfo, SessionInfo},
    complaints::{Complaint, Complaints},
    edge::{forwarded::TrustedProxies, websocket::WebSocket},
    health::Health,
    hub::outbox::Outbox,
    ids::SessionIds,
    metrics::{Metrics, Raised, Refused},
    net::{accept::Accepted, origin::OriginPolicy, small_http},
    session::{
        actions::{Client, Services},
        directory::Directory,
        driver::{self, End, SessionSettings},
    },
};

/// Where the WebSocket is, beside `/`: the Ruby original's path.
const PATH: &str = "/pushwss";

/// Room for a handshake's headers: a few full cookies.
const REQUEST_BUFFER: usize = 16 * 1024;

/// What the system may hold of a connection that was not sent yet. Left to itself it takes
/// megabytes for each client that does not read: more than the outbox, and 1,000 of them
/// leave the system short of memory for everybody's sockets.
const UNSENT_MAX: u32 = 128 * 1024;

/// After a close, how long and how much is still read, so that what the client was told
/// last is not lost to a reset.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER_BUFFER: usize = 2 * 1024;

/// What every connection of the gateway shares.
pub struct Front {
    /// Where else the WebSocket is, without a slash at the end.
    pub paths: Vec<Box<str>>,
    pub subprotocols: Subprotocols,
    /// Where clients may ask for it.
    pub health: OnceLock<Arc<Health>>,
    pub origins: OriginPolicy,
    pub trusted_proxies: TrustedProxies,
    /// Handshake headers that the application gets to see, in lower case.
    pub forward_headers: Vec<HeaderName>,
    pub handshake_timeout: Duration,
    pub max_message_size: usize,
    pub max_outbox: usize,
    /// One permit for each session that may live.
    pub connections: Arc<Semaphore>,
    /// One for each session that is over but has not been told to the application.
    pub farewells: Arc<Semaphore>,
    pub session: Arc<SessionSettings>,
    pub session_ids: SessionIds,
    pub directory: Arc<Directory>,
    pub complaints: Complaints,
    pub metrics: Arc<Metrics>,
}

/// One runtime's way in: the shared front, and the services of its own sessions.
pub struct Door {
    pub front: Arc<Front>,
    pub services: Arc<Services>,
}

/// Held until the connection is closed: what it counts against, and that it counts.
type Open = Arc<(OwnedSemaphorePermit, Raised)>;

/// A client's WebSocket.
pub type ClientSocket = WebSocket<TcpStream>;

/// Serves one connection until it is upgraded or its time for the handshake is over. The
/// session goes on in a task of its own.
pub async fn serve(door: Arc<Door>, accepted: Accepted) {
    let front = door.front.clone();
    let live = move |socket, client| session(door.clone(), socket, client);
    serve_with(front, accepted, live).await;
}

/// The same, whatever then `live`s over the WebSocket; it gives the socket back at its end.
pub async fn serve_with<L, F>(front: Arc<Front>, accepted: Accepted, live: L)
where
    L: Fn(ClientSocket, ClientInfo) -> F + Clone + Send + 'static,
    F: Future<Output = ClientSocket> + Send,
{
    let Accepted { stream, peer, handshake, socket } = accepted;
    // Frames are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX);
    let handshake_timeout = front.handshake_timeout;
    let open = Arc::new((socket, Raised::on(&front.metrics.connections)));
    let answered = AtomicBool::new(false);
    let service = service_fn(|request| {
        answered.store(true, Ordering::Relaxed);
        let response = answer(&front, peer, &open, request, &live);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(handshake_timeout)
        .max_buf_size(REQUEST_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let failed = match timeout(handshake_timeout, connection).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "handshake failed");
            Some(if error.is_timeout() { Refused::Timeout } else { Refused::Failed })
        }
        Err(_) => Some(Refused::Timeout),
    };
    // Whoever had an answer was counted then.
    if let (Some(reason), false) = (failed, answered.load(Ordering::Relaxed)) {
        front.metrics.handshakes_refused[reason].inc();
    }
    drop(handshake);
}

fn answer<L, F>(
    front: &Arc<Front>,
    peer: IpAddr,
    open: &Open,
    mut request: Request<Incoming>,
    live: &L,
) -> Response<Full<Bytes>>
where
    L: Fn(ClientSocket, ClientInfo) -> F + Clone + Send + 'static,
    F: Future<Output = ClientSocket> + Send,
{
    let health = || health::answer(front.health.get()?, &request);
    if let Some(response) = library::answer(&request).or_else(health) {
        return response;
    }
    match check(front, &request) {
        Err(refusal) => {
            front.metrics.handshakes_refused[refusal.reason].inc();
            refusal.response()
        }
        Ok(Handshake { response, connection }) => {
            let client = client_info(front, peer, &request);
            let upgrade = hyper::upgrade::on(&mut request);
            let (front, open, live) = (front.clone(), open.clone(), live.clone());
            tokio::spawn(async move {
                match upgrade.await {
                    Ok(upgraded) => {
                        let Some(socket) = client_socket(&front, upgraded) else { return };
                        linger(live(socket, client).await.into_inner()).await;
                    }
                    Err(error) => tracing::debug!(%peer, %error, "upgrade failed"),
                }
                drop((connection, open));
            });
            response.map(|()| Full::default())
        }
    }
}

/// A request that may be upgraded.
struct Handshake {
    response: Response<()>,
    connection: OwnedSemaphorePermit,
}

/// Why it may not, for the person who sent it.
struct Refusal {
    reason: Refused,
    status: StatusCode,
    headers: &'static [(HeaderName, &'static str)],
    text: String,
}

/// What every WebSocket handshake needs, told to those that have none.
const UPGRADE: &[(HeaderName, &str)] = &[
    (header::UPGRADE, "websocket"),
    (header::CONNECTION, "Upgrade"),
    (header::SEC_WEBSOCKET_VERSION, "13"),
];

impl Refusal {
    fn new(
        reason: Refused,
        status: StatusCode,
        headers: &'static [(HeaderName, &'static str)],
        text: impl Into<String>,
    ) -> Self {
        Self { reason, status, headers, text: text.into() }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let mut response =
            small_http::response(self.status, "text/plain; charset=utf-8", self.text + "\n");
        for (name, value) in self.headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

fn check(front: &Front, request: &Request<Incoming>) -> Result<Handshake, Refusal> {
    if !front.is_at(request.uri().path()) {
        let text = "nothing here; the WebSocket is at / and at /pushwss, its library at /myxi.js";
        return Err(Refusal::new(Refused::NotFound, StatusCode::NOT_FOUND, &[], text));
    }
    if request.method() != Method::GET {
        let allow = &[(header::ALLOW, "GET")];
        let text = "a WebSocket handshake is a GET";
        return Err(Refusal::new(Refused::Method, StatusCode::METHOD_NOT_ALLOWED, allow, text));
    }
    let mut response = handshake::accept(request).map_err(|error| {
        let text =
            format!("this is a WebSocket endpoint, connect with ws:// (version 13): {error}");
        Refusal::new(Refused::NoWebSocket, StatusCode::UPGRADE_REQUIRED, UPGRADE, text)
    })?;
    if handshake::has_body(request.headers()) {
        let close = &[(header::CONNECTION, "close")];
        let text = "a WebSocket handshake has no body";
        return Err(Refusal::new(Refused::Body, StatusCode::BAD_REQUEST, close, text));
    }
    if let Err(refused) = front.origins.check(request.headers()) {
        front.complaints.hear(Complaint::new(refused.to_string()));
        let text = "pages of this origin may not connect";
        return Err(Refusal::new(Refused::Origin, StatusCode::FORBIDDEN, &[], text));
    }
    let connection = front.connections.clone().try_acquire_owned().map_err(|_| {
        let retry = &[(header::RETRY_AFTER, "1")];
        Refusal::new(
            Refused::Full,
            StatusCode::SERVICE_UNAVAILABLE,
            retry,
            "too many connections, try again later",
        )
    })?;
    if let Some(subprotocol) = front.subprotocols.select(request.headers()) {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    Ok(Handshake { response, connection })
}

impl Front {
    /// Whether the WebSocket is at this path; a slash at the end is a frequent slip.
    fn is_at(&self, path: &str) -> bool {
        let bare = path.strip_suffix('/').unwrap_or(path);
        path == "/" || bare == PATH || self.paths.iter().any(|known| **known == *bare)
    }
}

fn client_info(front: &Front, peer: IpAddr, request: &Request<Incoming>) -> ClientInfo {
    ClientInfo {
        remote_address: front.trusted_proxies.client_address(peer, request.headers()),
        path: request.uri().path().into(),
        query: request.uri().query().unwrap_or_default().into(),
        headers: front
            .forward_headers
            .iter()
            .filter_map(|name| {
                Some((name.as_str().into(), handshake::joined(request.headers(), name)?))
            })
            .collect(),
    }
}

/// Lets go of everything that was only of use for the handshake.
fn client_socket(front: &Front, upgraded: Upgraded) -> Option<ClientSocket> {
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        tracing::error!("an upgraded connection is not the socket it was");
        return None;
    };
    let stream = parts.io.into_inner();
    Some(WebSocket::new(stream, &parts.read_buf, front.max_message_size))
}

/// The session, from its first frame to the last thing said about it.
async fn session(door: Arc<Door>, mut socket: ClientSocket, client: ClientInfo) -> ClientSocket {
    let front = &door.front;
    let id = front.session_ids.next();
    front.metrics.sessions_opened.inc();
    tracing::debug!(session = %id, remote = %client.remote_address, "session opened");
    let session =
        SessionInfo { id, client: Arc::new(client), auth: None, data: Default::default() };
    let outbox = Outbox::new(id, front.max_outbox);
    let client = Client::new(door.services.clone(), outbox, session);
    let entry = front.directory.enter(client.clone());
    let end = driver::run(&mut socket, client.clone(), front.session.clone()).await;
    drop(entry);
    front.metrics.sessions_closed[(&end).into()].inc();
    let End { reason, unfinished, .. } = end;
    let lived = client.opened().elapsed();
    tracing::debug!(session = %id, code = reason.code, "session closed");
    client.leave(reason.clone());
    let farewell = async move {
        if let Some(action) = unfinished {
            action.await;
        }
        client.close(reason, lived).await;
    };
    // Best effort: where as many wait for the application as may be connected, it has
    // trouble enough.
    if let Ok(place) = front.farewells.clone().try_acquire_owned() {
        tokio::spawn(async move {
            farewell.await;
            drop(place);
        });
    }
    socket
}

/// Gives the client time to read the end.
async fn linger(mut stream: TcpStream) {
    let reading = async {
        stream.shutdown().await?;
        let mut discarded = vec![0; LINGER_BUFFER];
        let mut total = 0;
        while total < LINGER_BYTES {
            match stream.read(&mut discarded).await? {
                0 => break,
                bytes => total += bytes,
            }
        }
        std::io::Result::Ok(())
    };
    // Either way there is nobody left to tell.
    let _ = timeout(LINGER_TIME, reading).await;
}
