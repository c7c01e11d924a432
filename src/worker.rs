//! The runtimes that sessions live on. Each is a current-thread runtime with a hub of its
//! own: its sessions wake nobody but themselves, and an event is handed to it once.
//!
//! The first worker is the main runtime; each further one is a thread. Notices wait for a
//! worker in a queue of its own, so that no hub waits for another's sessions; connections do
//! not stand in it.

use std::{io, sync::Arc, thread};

use tokio::{net::TcpStream, runtime, sync::mpsc};

use crate::{
    accept::Accepted,
    event::Exchange,
    http::{self, Door},
    hub::{Delivery, Hub},
};

/// Connections that may wait for a worker; accepting waits when it is full.
const CONNECTIONS: usize = 1024;

/// Notices that may: enough to work on while more are handed over, and few, as each may be
/// a large event.
const NOTICES: usize = 128;

pub struct Worker {
    entrance: Entrance,
    notices: mpsc::Sender<Notice>,
}

/// The way in for connections.
enum Entrance {
    Here(Arc<Door>),
    Thread(mpsc::Sender<Accepted<std::net::TcpStream>>),
}

/// A bus notice in the form that all workers share.
#[derive(Debug, Clone)]
pub enum Notice {
    Attached(Exchange),
    Event(Arc<Delivery>),
    Gap(Exchange),
}

impl Worker {
    /// On the runtime that this is called in.
    pub fn here(door: Arc<Door>) -> Self {
        let notices = start(door.services.hub.clone());
        Self { entrance: Entrance::Here(door), notices }
    }

    /// Starts a thread. `make_door` runs on it, within its runtime.
    pub fn spawn(
        name: String,
        hub: Arc<Hub>,
        make_door: impl FnOnce() -> Arc<Door> + Send + 'static,
    ) -> io::Result<Self> {
        let (accepted, connections) = mpsc::channel(CONNECTIONS);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let notices = {
            let _within = runtime.enter();
            start(hub)
        };
        let serving = async move { serve_all(make_door(), connections).await };
        thread::Builder::new().name(name).spawn(move || runtime.block_on(serving))?;
        Ok(Self { entrance: Entrance::Thread(accepted), notices })
    }

    /// Hands over a connection; it is dropped when the worker is gone.
    pub async fn serve(&self, accepted: Accepted) -> io::Result<()> {
        match &self.entrance {
            Entrance::Here(door) => {
                tokio::spawn(http::serve(door.clone(), accepted));
            }
            Entrance::Thread(connections) => {
                // An error means that the gateway is stopping.
                let _ = connections.send(accepted.unregistered()?).await;
            }
        }
        Ok(())
    }

    /// Waits only while very many notices do.
    pub async fn notice(&self, notice: &Notice) {
        let _ = self.notices.send(notice.clone()).await;
    }
}

/// Starts what a hub needs on its runtime.
fn start(hub: Arc<Hub>) -> mpsc::Sender<Notice> {
    let (notices, mut queue) = mpsc::channel::<Notice>(NOTICES);
    let waking = hub.clone();
    tokio::spawn(async move { waking.wake().await });
    tokio::spawn(async move {
        while let Some(notice) = queue.recv().await {
            notice.tell(&hub).await;
        }
    });
    notices
}

/// Until the worker is dropped.
async fn serve_all(
    door: Arc<Door>,
    mut connections: mpsc::Receiver<Accepted<std::net::TcpStream>>,
) {
    while let Some(accepted) = connections.recv().await {
        match accepted.registered() {
            Ok(accepted) => {
                tokio::spawn(http::serve(door.clone(), accepted));
            }
            Err(error) => tracing::warn!(%error, "a connection was dropped"),
        }
    }
}

impl Notice {
    async fn tell(&self, hub: &Hub) {
        match self {
            Self::Attached(exchange) => hub.attached(exchange),
            Self::Event(delivery) => hub.deliver(delivery).await,
            Self::Gap(exchange) => hub.gap(exchange).await,
        }
    }
}

impl Accepted {
    /// Without a runtime, to be carried to another.
    fn unregistered(self) -> io::Result<Accepted<std::net::TcpStream>> {
        let Self { stream, peer, handshake, socket } = self;
        Ok(Accepted { stream: stream.into_std()?, peer, handshake, socket })
    }
}

impl Accepted<std::net::TcpStream> {
    fn registered(self) -> io::Result<Accepted> {
        let Self { stream, peer, handshake, socket } = self;
        Ok(Accepted { stream: TcpStream::from_std(stream)?, peer, handshake, socket })
    }
}
