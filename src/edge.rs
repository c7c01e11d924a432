//! The clients' listener: connections that have not become a WebSocket yet, within their
//! bounds, and what each of their requests is answered.

pub(crate) mod forwarded;
mod handshake;
mod headers;
mod health;
mod library;
mod subprotocol;
pub(crate) mod websocket;

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
use http::{Request, Response, header::HeaderName};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

pub(crate) use self::subprotocol::Subprotocols;
use self::{forwarded::TrustedProxies, handshake::Handshake, websocket::WebSocket};
use crate::{
    application::ClientInfo,
    complaints::Complaints,
    health::Health,
    metrics::{Metrics, Raised, Refused},
    net::{connection::Connection, listener::Accepted, origin::OriginPolicy},
    protocol::Dialect,
};

/// Room for a handshake's headers: a few full cookies.
const REQUEST_BUFFER: usize = 16 * 1024;

/// What the system may hold of a connection that was not sent yet. Left to itself it takes
/// megabytes for each client that does not read: more than the outbox, and 1,000 of them
/// leave the system short of memory for everybody's sockets.
const UNSENT_MAX: u32 = 128 * 1024;

/// What decides over every connection of the gateway.
pub struct Edge {
    /// Where else the WebSocket is, without a slash at the end.
    pub paths: Vec<Box<str>>,
    /// What is spoken everywhere but at `/`, where it is everywhere.
    pub elsewhere: Option<Dialect>,
    pub subprotocols: Subprotocols,
    /// Where clients may ask for it.
    pub health: OnceLock<Arc<Health>>,
    pub origins: OriginPolicy,
    pub trusted_proxies: TrustedProxies,
    /// Handshake headers that the application gets to see, in lower case.
    pub forward_headers: Vec<HeaderName>,
    pub handshake_timeout: Duration,
    pub max_message_size: usize,
    /// One permit for each connection that may be a WebSocket.
    pub connections: Arc<Semaphore>,
    pub complaints: Complaints,
    pub metrics: Arc<Metrics>,
}

/// Held until the connection is closed: what it counts against, and that it counts.
type Open = Arc<(OwnedSemaphorePermit, Raised)>;

/// A client's WebSocket.
pub type ClientSocket = WebSocket<Connection>;

/// Serves one connection until it is upgraded or its time for the handshake is over. What then
/// `live`s over the WebSocket does so in a task of its own, and gives the socket back at its
/// end.
pub async fn serve<L, F>(edge: Arc<Edge>, accepted: Accepted, live: L)
where
    L: Fn(ClientSocket, ClientInfo) -> F + Clone + Send + 'static,
    F: Future<Output = ClientSocket> + Send,
{
    let Accepted { connection, handshake, socket } = accepted;
    let peer = connection.peer();
    connection.limit_unsent(UNSENT_MAX);
    let handshake_timeout = edge.handshake_timeout;
    let open = Arc::new((socket, Raised::on(&edge.metrics.connections)));
    let answered = AtomicBool::new(false);
    let service = service_fn(|request| {
        answered.store(true, Ordering::Relaxed);
        let response = answer(&edge, peer, &open, request, &live);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(handshake_timeout)
        .max_buf_size(REQUEST_BUFFER)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    let failed = match timeout(handshake_timeout, serving).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "handshake failed");
            Some(if error.is_timeout() { Refused::Timeout } else { Refused::Failed })
        }
        Err(_) => Some(Refused::Timeout),
    };
    // Whoever had an answer was counted then.
    if let (Some(reason), false) = (failed, answered.load(Ordering::Relaxed)) {
        edge.metrics.handshakes_refused[reason].inc();
    }
    drop(handshake);
}

fn answer<L, F>(
    edge: &Arc<Edge>,
    peer: IpAddr,
    open: &Open,
    mut request: Request<Incoming>,
    live: &L,
) -> Response<Full<Bytes>>
where
    L: Fn(ClientSocket, ClientInfo) -> F + Clone + Send + 'static,
    F: Future<Output = ClientSocket> + Send,
{
    let health = || health::answer(edge.health.get()?, &request);
    if let Some(response) = library::answer(&request).or_else(health) {
        return response;
    }
    match handshake::check(edge, &request) {
        Err(refusal) => {
            edge.metrics.handshakes_refused[refusal.reason].inc();
            refusal.response()
        }
        Ok(Handshake { response, place, dialect }) => {
            let client = handshake::client_info(edge, peer, &request, dialect);
            let upgrade = hyper::upgrade::on(&mut request);
            let (max_message_size, open, live) =
                (edge.max_message_size, open.clone(), live.clone());
            tokio::spawn(async move {
                match upgrade.await {
                    Ok(upgraded) => {
                        let Some(socket) = client_socket(upgraded, max_message_size) else {
                            return;
                        };
                        live(socket, client).await.into_inner().linger().await;
                    }
                    Err(error) => tracing::debug!(%peer, %error, "upgrade failed"),
                }
                drop((place, open));
            });
            response.map(|()| Full::default())
        }
    }
}

/// Lets go of everything that was only of use for the handshake.
fn client_socket(upgraded: Upgraded, max_message_size: usize) -> Option<ClientSocket> {
    let Ok(parts) = upgraded.downcast::<TokioIo<Connection>>() else {
        tracing::error!("an upgraded connection is not the socket it was");
        return None;
    };
    Some(WebSocket::new(parts.io.into_inner(), &parts.read_buf, max_message_size))
}
