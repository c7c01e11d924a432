//! A place where connections are accepted: as many as may be, and a pause instead of an end
//! when the system has no more descriptors to give. Where TLS goes in: whoever listens gets a
//! [`Connection`], of whatever it is made.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use super::connection::Connection;

/// Connections that may wait to be accepted, as far as the system lets them (on Linux
/// `net.core.somaxconn`, 4096 unless changed). Whoever finds no room tries again after a
/// second, then after three: everybody who lost a replica comes at once.
const BACKLOG: u32 = 4096;

/// How long to leave the listener alone after it failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Where somebody on this machine connects to a listener; "any address" is none.
pub(crate) fn from_this_machine(mut listener: SocketAddr) -> SocketAddr {
    listener.set_ip(match listener.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    });
    listener
}

#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // What is left of a former gateway's connections must not keep the next one out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG).map(Self)
    }

    /// A socket that listens already. Others may hold it, and go on to when this is dropped.
    pub fn inherit(socket: &std::net::TcpListener) -> io::Result<Self> {
        let socket = socket.try_clone()?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Self)
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next connection. Never fails: what the listener says is logged and outlived.
    pub async fn accept(&self) -> Connection {
        let (stream, peer) = self.accept_stream().await;
        Connection::new(stream, peer)
    }

    async fn accept_stream(&self) -> (TcpStream, SocketAddr) {
        let mut paused = false;
        loop {
            match self.0.accept().await {
                Ok(accepted) => {
                    if paused {
                        tracing::info!(address = self.address(), "accepting connections again");
                    }
                    return accepted;
                }
                // The client left before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !paused {
                        let address = self.address();
                        tracing::warn!(address, %error, "cannot accept connections, pausing");
                    }
                    paused = true;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Tells an operator which of the listeners it is.
    fn address(&self) -> Option<String> {
        self.local_addr().ok().map(|address| address.to_string())
    }
}

/// A connection as it was accepted, with the bounds that it counts against.
pub struct Accepted<C = Connection> {
    pub connection: C,
    /// Held until the handshake is finished.
    pub handshake: OwnedSemaphorePermit,
    /// Held until the connection is closed.
    pub socket: OwnedSemaphorePermit,
}

impl<C> Accepted<C> {
    /// The same for what becomes of its connection.
    pub fn try_map<D>(self, change: impl FnOnce(C) -> io::Result<D>) -> io::Result<Accepted<D>> {
        let Self { connection, handshake, socket } = self;
        Ok(Accepted { connection: change(connection)?, handshake, socket })
    }
}

/// What may be open at once. A connection beyond it waits in the listener's backlog.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Connections without a finished handshake.
    pub handshakes: Arc<Semaphore>,
    /// All connections: what the descriptor limit allows.
    pub sockets: Arc<Semaphore>,
}

impl Bounds {
    /// The next connection that fits them.
    pub async fn accept(&self, listener: &Listener) -> Accepted {
        let handshake = self.handshakes.clone().acquire_owned().await;
        let socket = self.sockets.clone().acquire_owned().await;
        let (Ok(handshake), Ok(socket)) = (handshake, socket) else {
            // These semaphores are never closed.
            return std::future::pending().await;
        };
        Accepted { connection: listener.accept().await, handshake, socket }
    }
}
