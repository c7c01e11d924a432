//! Accepting connections: as many as may be, and a pause instead of an end when the
//! system has no more descriptors to give.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

/// How long to leave the listener alone after it failed.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection as it was accepted, with the bounds that it counts against.
pub struct Accepted<S = TcpStream> {
    pub stream: S,
    pub peer: IpAddr,
    /// Held until the handshake is finished.
    pub handshake: OwnedSemaphorePermit,
    /// Held until the connection is closed.
    pub socket: OwnedSemaphorePermit,
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
    /// The next connection. Never fails: what the listener says is logged and outlived.
    pub async fn accept(&self, listener: &TcpListener) -> Accepted {
        let handshake = self.handshakes.clone().acquire_owned().await;
        let socket = self.sockets.clone().acquire_owned().await;
        let (Ok(handshake), Ok(socket)) = (handshake, socket) else {
            // These semaphores are never closed.
            return std::future::pending().await;
        };
        let (stream, peer) = accept_stream(listener).await;
        Accepted { stream, peer: peer.ip().to_canonical(), handshake, socket }
    }
}

/// The same for a listener that keeps bounds of its own.
pub async fn accept_stream(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut paused = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                if paused {
                    tracing::info!(address = address(listener), "accepting connections again");
                }
                return accepted;
            }
            // The client left before it was its turn.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !paused {
                    let address = address(listener);
                    tracing::warn!(address, %error, "cannot accept connections, pausing");
                }
                paused = true;
                sleep(PAUSE).await;
            }
        }
    }
}

/// Tells an operator which of the listeners it is.
fn address(listener: &TcpListener) -> Option<String> {
    listener.local_addr().ok().map(|address| address.to_string())
}
