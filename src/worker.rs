//! The runtimes that sessions live on. Each is a current-thread runtime with a hub of its
//! own: its sessions wake nobody but themselves, and an event is handed to it once.
//!
//! The first worker is the main runtime; each further one is a thread.

use std::{io, sync::Arc, thread};

use tokio::{net::TcpStream, runtime, sync::mpsc};

use crate::{
    accept::Accepted,
    event::Exchange,
    http::{self, Door},
    hub::{Delivery, Hub},
};

/// Connections and notices that may wait for a worker; its senders wait when it is full.
const QUEUE: usize = 1024;

pub enum Worker {
    Here(Arc<Door>),
    Thread(mpsc::Sender<Job>),
}

pub enum Job {
    Serve(Accepted<std::net::TcpStream>),
    Notice(Notice),
}

/// A bus notice in the form that all workers share.
#[derive(Debug, Clone)]
pub enum Notice {
    Attached(Exchange),
    Event(Arc<Delivery>),
    Gap(Exchange),
}

impl Worker {
    /// Starts a thread. `make_door` runs on it, within its runtime.
    pub fn spawn(
        name: String,
        make_door: impl FnOnce() -> Arc<Door> + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel(QUEUE);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(async move {
                let door = make_door();
                let hub = door.services.hub.clone();
                tokio::spawn(async move { hub.wake().await });
                while let Some(job) = queue.recv().await {
                    match job {
                        Job::Notice(notice) => notice.tell(&door.services.hub),
                        Job::Serve(accepted) => match accepted.registered() {
                            Ok(accepted) => {
                                tokio::spawn(http::serve(door.clone(), accepted));
                            }
                            Err(error) => tracing::warn!(%error, "a connection was dropped"),
                        },
                    }
                }
            });
        })?;
        Ok(Self::Thread(jobs))
    }

    /// Hands over a connection; it is dropped when the worker is gone.
    pub async fn serve(&self, accepted: Accepted) -> io::Result<()> {
        match self {
            Self::Here(door) => {
                tokio::spawn(http::serve(door.clone(), accepted));
            }
            Self::Thread(jobs) => {
                // An error means that the gateway is stopping.
                let _ = jobs.send(Job::Serve(accepted.unregistered()?)).await;
            }
        }
        Ok(())
    }

    pub async fn notice(&self, notice: &Notice) {
        match self {
            Self::Here(door) => notice.tell(&door.services.hub),
            Self::Thread(jobs) => {
                let _ = jobs.send(Job::Notice(notice.clone())).await;
            }
        }
    }
}

impl Notice {
    fn tell(&self, hub: &Hub) {
        match self {
            Self::Attached(exchange) => hub.attached(exchange),
            Self::Event(delivery) => hub.deliver(delivery),
            Self::Gap(exchange) => hub.gap(exchange),
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
