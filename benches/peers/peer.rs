//! A server that the rows measure: started alone, asked through its own protocol in its
//! shortest form.

use std::{any::Any, net::SocketAddr, rc::Rc, time::Duration};

use anyhow::ensure;
use async_trait::async_trait;

use crate::{
    args::Server,
    floor,
    load::{Application, Clients, Pace, Step, Unit, usage, within},
    nats, nchan, ours,
    placement::Placement,
    socket_io, web_stomp,
};

/// What everybody subscribes to where all want the same.
pub const KEY: &str = "fan-out";

/// Clients on their way in at once.
pub const AT_ONCE: usize = 128;

const OPEN_DEADLINE: Duration = Duration::from_secs(120);

#[async_trait(?Send)]
pub trait Publish {
    /// Publishes one event of [`KEY`]. Comes back when the server has it, or as soon as
    /// it is written where the protocol has no answer.
    async fn publish(&self) -> anyhow::Result<()>;
}

/// A server that runs; it ends with this.
pub struct Running {
    pub process: u32,
    pub address: SocketAddr,
    pub unit: Unit,
    /// What a client says until it is subscribed to a key.
    pub script: fn(SocketAddr, &str) -> Rc<[Step]>,
    pub publisher: Rc<dyn Publish>,
    pub _alive: Box<dyn Any>,
    /// The gateway's, which outlives it.
    pub application: Option<Application>,
}

impl Running {
    pub async fn start(
        server: Server,
        placement: &Placement,
        gateway_flags: &[String],
    ) -> anyhow::Result<Self> {
        let processors = &placement.server;
        match server {
            Server::Myxi => ours::start(placement, 1, gateway_flags).await,
            Server::Nats => nats::start(processors).await,
            Server::Nchan => nchan::start(processors).await,
            Server::Rabbitmq => web_stomp::start(processors).await,
            Server::SocketIo => socket_io::start(processors).await,
            Server::Floor => floor::start(processors).await,
        }
    }

    /// Opens clients that are all subscribed to [`KEY`].
    pub async fn subscribers(&self, count: usize, pace: Pace) -> anyhow::Result<Clients> {
        let script = (self.script)(self.address, KEY);
        self.open(count, pace, |_| script.clone()).await
    }

    pub async fn open(
        &self,
        count: usize,
        pace: Pace,
        script: impl Fn(usize) -> Rc<[Step]>,
    ) -> anyhow::Result<Clients> {
        let clients = Clients::new(self.unit, pace)?;
        let what = format!("{count} clients subscribe");
        let opening = clients.open(self.address, count, AT_ONCE, script);
        within(OPEN_DEADLINE, &what, opening).await?;
        Ok(clients)
    }

    pub fn cpu(&self) -> Duration {
        usage::cpu(self.process)
    }
}

/// A peer that is not installed says what to install.
pub fn require(program: &str, install: &str) -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path);
    let found = directories.any(|directory| directory.join(program).exists());
    ensure!(found, "no {program}: install {install}");
    Ok(())
}
