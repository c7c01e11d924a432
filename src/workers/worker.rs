//! One runtime that sessions live on, with a hub of its own: its sessions wake nobody but
//! themselves, and an event is handed to it once. Notices wait in its queue, as a hub may wait
//! for its sessions, and for nobody else's. New connections do not stand in that queue.

use std::{io, sync::Arc, thread};

use tokio::{runtime, sync::mpsc, task::JoinSet};

use super::queue::{self, Notice, Notices, Waiting};
use crate::{
    application::ClientInfo,
    edge::{self, ClientSocket, Edge},
    event::{Exchange, Position},
    hub::Hub,
    net::{
        connection::{Connection, Detached},
        listener::Accepted,
    },
    session::{
        Services,
        life::{Sessions, live},
    },
};

/// Connections that may wait for a worker; accepting waits when it is full.
const CONNECTIONS: usize = 1024;

pub(crate) struct Worker {
    hub: Arc<Hub>,
    notices: Notices,
    entrance: Entrance,
}

/// The connections' way in.
enum Entrance {
    Here(Host),
    Thread(mpsc::Sender<Accepted<Detached>>),
}

/// What takes the connections of one runtime and lives their sessions.
#[derive(Clone)]
pub(crate) struct Host {
    pub edge: Arc<Edge>,
    pub sessions: Arc<Sessions>,
    pub services: Arc<Services>,
}

impl Worker {
    /// On the runtime that this is called in.
    pub(crate) fn here(host: Host) -> Self {
        let hub = host.services.hub.clone();
        let (notices, queue) = queue::bounded();
        tokio::spawn(run(hub.clone(), queue));
        Self { hub, notices, entrance: Entrance::Here(host) }
    }

    /// Starts a thread. `make_host` runs on it, within its runtime, and has this hub.
    pub(crate) fn spawn(
        name: String,
        hub: Arc<Hub>,
        make_host: impl FnOnce() -> Host + Send + 'static,
    ) -> io::Result<Self> {
        let (notices, queue) = queue::bounded();
        let (accepted, connections) = mpsc::channel(CONNECTIONS);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let running = run(hub.clone(), queue);
        thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(async move {
                tokio::spawn(serve_all(make_host(), connections));
                // No task: what comes from outside would stand behind all of the sessions'.
                running.await;
            });
        })?;
        Ok(Self { hub, notices, entrance: Entrance::Thread(accepted) })
    }

    /// Hands over a connection; it is dropped when the worker is gone.
    pub(crate) async fn serve(&self, accepted: Accepted) -> io::Result<()> {
        match &self.entrance {
            Entrance::Here(host) => host.serve(accepted),
            Entrance::Thread(connections) => {
                // An error means that the gateway is stopping.
                let _ = connections.send(accepted.try_map(Connection::detach)?).await;
            }
        }
        Ok(())
    }

    /// The bus delivers this exchange from now on.
    pub(crate) fn attached(&self, exchange: &Exchange, at: Option<Position>) {
        self.hub.attached(exchange, at);
    }

    /// Waits only while many others do.
    pub(crate) async fn notice(&self, notice: &Notice) {
        self.notices.send(notice.clone()).await;
    }
}

/// What a hub does, until its worker is dropped.
async fn run(hub: Arc<Hub>, mut notices: Waiting) {
    let mut waking = JoinSet::new();
    let of_sessions = hub.clone();
    waking.spawn(async move { of_sessions.wake().await });
    while let Some(notice) = notices.next().await {
        match &*notice {
            Notice::Events { exchange, up_to, deliveries } => {
                hub.deliver(exchange, deliveries, *up_to).await;
            }
            Notice::Gap { exchange, whole_from } => hub.gap(exchange, *whole_from).await,
        }
    }
}

impl Host {
    /// In a task of its own.
    fn serve(&self, accepted: Accepted) {
        let (sessions, services) = (self.sessions.clone(), self.services.clone());
        let live = move |mut socket: ClientSocket, client: ClientInfo| {
            let (sessions, services) = (sessions.clone(), services.clone());
            async move {
                live(&sessions, services, &mut socket, client).await;
                socket
            }
        };
        tokio::spawn(edge::serve(self.edge.clone(), accepted, live));
    }
}

async fn serve_all(host: Host, mut connections: mpsc::Receiver<Accepted<Detached>>) {
    while let Some(accepted) = connections.recv().await {
        match accepted.try_map(Detached::attach) {
            Ok(accepted) => host.serve(accepted),
            Err(error) => tracing::warn!(%error, "a connection was dropped"),
        }
    }
}
