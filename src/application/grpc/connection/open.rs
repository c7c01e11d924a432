//! Opening a connection: the socket and its options, HTTP/2's greeting, and what is wrong
//! where none comes.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use h2::client;
use http::uri::Authority;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};

use super::{
    Settings,
    greeting::{Heard, Received},
    live::{Live, Opened},
    pongs::PongsLast,
};
use crate::{
    application::grpc::Endpoint,
    net::dial::{self, Io},
};

/// For the socket and the peer's first words together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What was sent may stay without an acknowledgement this long (`TCP_USER_TIMEOUT`), as in
/// other gRPC clients.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// An idle connection is tried by TCP itself, of which no server knows: so that one whose
/// other end is gone, or that a firewall forgot, costs no call.
const TCP_IDLE: Duration = Duration::from_secs(30);
const TCP_RETRY: Duration = Duration::from_secs(5);
const TCP_RETRIES: u32 = 3;

/// Unread replies held by the connection as a whole.
pub(super) const CONNECTION_WINDOW: u32 = 4 << 20;
const HEADERS_MAX: u32 = 16 << 10;

pub(super) type Socket = Heard<PongsLast<Box<dyn Io>>>;

/// Fails with the reason in words. `attempt` counts those that failed (see [`dial`]).
pub(super) async fn connect(settings: &Settings, attempt: usize) -> Result<Opened, String> {
    let received = Arc::new(Received::default());
    match timeout(CONNECT_TIMEOUT, open(settings, attempt, received.clone())).await {
        Ok(opened) => opened,
        Err(_) => Err(format!("no HTTP/2, which gRPC needs, came within {CONNECT_TIMEOUT:?}")),
    }
}

async fn open(
    settings: &Settings,
    attempt: usize,
    received: Arc<Received>,
) -> Result<Opened, String> {
    let io = socket(settings, attempt).await?;
    let (requests, mut connection) = client::Builder::new()
        .enable_push(false)
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS_MAX)
        .handshake(Heard::new(PongsLast::new(io), received.clone()))
        .await
        .map_err(|error| error.to_string())?;
    let pings = connection.ping_pong().ok_or("no pings on a new connection")?;
    tokio::select! {
        // First, since it knows best what is wrong.
        biased;
        _ = &mut connection => return Err(received.likely()),
        () = received.http2() => {}
    };
    Ok(Opened { live: Arc::new(Live::new(requests, received)), connection, pings })
}

async fn socket(settings: &Settings, attempt: usize) -> Result<Box<dyn Io>, String> {
    let unreached = |error: io::Error| format!("it cannot be reached: {error}");
    match &settings.endpoint {
        Endpoint::Http(authority) => {
            let stream = tcp(authority, attempt).await.map_err(unreached)?;
            match own_port(&stream, &settings.own_ports).map_err(unreached)? {
                Some(flag) => Err(format!(
                    "this is the gateway's own port ({flag}): --action-handler is to name the \
                     application's"
                )),
                None => Ok(Box::new(stream)),
            }
        }
        Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(unreached)?)),
    }
}

async fn tcp(authority: &Authority, attempt: usize) -> io::Result<TcpStream> {
    let addresses = lookup_host(authority.as_str()).await?;
    let connect = TcpStream::connect;
    let stream = dial::first_to_connect(addresses, attempt, CONNECT_TIMEOUT, connect).await?;
    stream.set_nodelay(true)?;
    notice_a_dead_peer(&stream)?;
    Ok(stream)
}

fn notice_a_dead_peer(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(TCP_IDLE);
    #[cfg(target_os = "linux")]
    let keepalive = {
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
        keepalive.with_interval(TCP_RETRY).with_retries(TCP_RETRIES)
    };
    socket.set_tcp_keepalive(&keepalive)
}

/// The flag of the gateway's own listener at the other end, if it is one: where a socket's two
/// ends have one address, the other end's port is one of this host's.
fn own_port(
    stream: &TcpStream,
    own: &[(SocketAddr, &'static str)],
) -> io::Result<Option<&'static str>> {
    let (here, there) = (stream.local_addr()?, stream.peer_addr()?);
    let is_there = |address: &SocketAddr| {
        address.port() == there.port()
            && here.ip() == there.ip()
            && (address.ip().is_unspecified() || address.ip() == there.ip())
    };
    Ok(own.iter().find(|(address, _)| is_there(address)).map(|(_, flag)| *flag))
}
