//! What the rows know of a server: it is started alone, and asked through its own protocol in
//! its shortest form.

use std::{any::Any, net::SocketAddr, rc::Rc, time::Duration};

use async_trait::async_trait;

use crate::{
    load::{Application, Clients, Pace, Step, Unit, usage, within},
    placement::Placement,
};

/// What everybody subscribes to where all want the same.
pub const KEY: &str = "fan-out";

/// Clients on their way in at once.
pub const AT_ONCE: usize = 128;

const OPEN_DEADLINE: Duration = Duration::from_secs(120);

/// A server that can be measured.
#[async_trait(?Send)]
pub trait Peer {
    /// As the tables name it.
    fn name(&self) -> &'static str;

    /// What is installed here.
    fn version(&self) -> String;

    /// Fails where it is not installed, and says what to install.
    async fn start(&self, placement: &Placement) -> anyhow::Result<Running>;

    /// Itself, if it can ask an application.
    fn forwarder(&self) -> Option<&dyn Forwarder> {
        None
    }

    /// Itself, if it can keep events for clients that come back.
    fn keeper(&self) -> Option<&dyn Keeper> {
        None
    }
}

/// A server that passes what clients ask on to an application, and back what it answers.
#[async_trait(?Send)]
pub trait Forwarder {
    /// With the application that all forwarders have, which echoes.
    async fn start_forwarding(&self, processors: &str) -> anyhow::Result<Forwarding>;
}

/// It ends with this.
pub struct Forwarding {
    pub process: u32,
    pub address: SocketAddr,
    pub unit: Unit,
    /// What a client says until it is subscribed to a key.
    pub script: fn(SocketAddr, &str) -> Rc<[Step]>,
    /// What it then sends again and again, to have a payload echoed.
    pub action: Rc<[u8]>,
    pub application: Application,
    pub _alive: Box<dyn Any>,
}

/// A server that gives clients that come back what they missed.
#[async_trait(?Send)]
pub trait Keeper {
    /// As it keeps at least so many events of [`KEY`].
    async fn start_keeping(&self, events: u64, placement: &Placement) -> anyhow::Result<Keeping>;
}

pub struct Keeping {
    pub running: Running,
    /// What a client says that is not subscribed yet.
    pub enter: fn(SocketAddr) -> Vec<Step>,
    /// What one says that was subscribed to [`KEY`] with this answer, and comes back.
    pub come_back: fn(&str) -> anyhow::Result<Vec<u8>>,
    /// Messages that such a client then receives, who missed so many events,
    pub messages: fn(u64) -> u64,
    /// and what the last of them contains, if that is all.
    pub all: fn(u64) -> String,
}

#[async_trait(?Send)]
pub trait Publish {
    /// Publishes one event of [`KEY`]. Returns when the server has it, or as soon as
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
