//! One runtime that sessions live on, with a hub of its own: its sessions wake nobody but
//! themselves, and an event is handed to it once. Notices wait in its queue, as a hub may wait
//! for its sessions, and for nobody else's. New connections do not stand in that queue.

use std::{io, sync::Arc, thread};

use tokio::{net::TcpStream, runtime, sync::mpsc, task::JoinSet};

use crate::{
    edge::{self, Door},
    event::Exchange,
    hub::{Delivery, Hub},
    net::accept::Accepted,
};

/// Connections that may wait for a worker; accepting waits when it is full.
const CONNECTIONS: usize = 1024;

/// Notices that may wait for a worker; the bus waits when it is full. Few, as each may be an
/// event of the greatest size.
const NOTICES: usize = 128;

pub struct Worker {
    hub: Arc<Hub>,
    notices: mpsc::Sender<Notice>,
    entrance: Entrance,
}

/// The connections' way in.
enum Entrance {
    Here(Arc<Door>),
    Thread(mpsc::Sender<Accepted<std::net::TcpStream>>),
}

/// What the bus told, in the form that all workers share.
#[derive(Debug, Clone)]
pub enum Notice {
    Event(Arc<Delivery>),
    Gap(Exchange),
}

impl Worker {
    /// On the runtime that this is called in.
    pub fn here(door: Arc<Door>) -> Self {
        let hub = door.services.hub.clone();
        let (notices, queue) = mpsc::channel(NOTICES);
        tokio::spawn(run(hub.clone(), queue));
        Self { hub, notices, entrance: Entrance::Here(door) }
    }

    /// Starts a thread. `make_door` runs on it, within its runtime.
    pub fn spawn(
        name: String,
        hub: Arc<Hub>,
        make_door: impl FnOnce() -> Arc<Door> + Send + 'static,
    ) -> io::Result<Self> {
        let (notices, queue) = mpsc::channel(NOTICES);
        let (accepted, connections) = mpsc::channel(CONNECTIONS);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let running = run(hub.clone(), queue);
        thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(async move {
                tokio::spawn(serve_all(make_door(), connections));
                // No task: what comes from outside would stand behind all of the sessions'.
                running.await;
            });
        })?;
        Ok(Self { hub, notices, entrance: Entrance::Thread(accepted) })
    }

    /// Hands over a connection; it is dropped when the worker is gone.
    pub async fn serve(&self, accepted: Accepted) -> io::Result<()> {
        match &self.entrance {
            Entrance::Here(door) => {
                tokio::spawn(edge::serve(door.clone(), accepted));
            }
            Entrance::Thread(connections) => {
                // An error means that the gateway is stopping.
                let _ = connections.send(accepted.unregistered()?).await;
            }
        }
        Ok(())
    }

    /// The bus delivers this exchange from now on.
    pub fn attached(&self, exchange: &Exchange) {
        self.hub.attached(exchange);
    }

    /// Waits only while many others do.
    pub async fn notice(&self, notice: &Notice) {
        let _ = self.notices.send(notice.clone()).await;
    }
}

/// What a hub does, until its worker is dropped.
async fn run(hub: Arc<Hub>, mut notices: mpsc::Receiver<Notice>) {
    let mut waking = JoinSet::new();
    let of_sessions = hub.clone();
    waking.spawn(async move { of_sessions.wake().await });
    while let Some(notice) = notices.recv().await {
        notice.tell(&hub).await;
    }
}

async fn serve_all(
    door: Arc<Door>,
    mut connections: mpsc::Receiver<Accepted<std::net::TcpStream>>,
) {
    while let Some(accepted) = connections.recv().await {
        match accepted.registered() {
            Ok(accepted) => {
                tokio::spawn(edge::serve(door.clone(), accepted));
            }
            Err(error) => tracing::warn!(%error, "a connection was dropped"),
        }
    }
}

impl Notice {
    async fn tell(&self, hub: &Hub) {
        match self {
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
