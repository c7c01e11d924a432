//! The replicas: real gateways as processes, which are killed, frozen, drained and started
//! anew.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use myxi::proto::gateway_client::GatewayClient;
use tokio::{sync::Mutex, time::sleep};
use tonic::transport::Channel;

use crate::load::{Gateway, ServerProcess, within};

pub type Api = GatewayClient<Channel>;

/// Longer than a drain may take, whatever else is broken meanwhile.
const END_DEADLINE: Duration = Duration::from_secs(60);

pub struct Replica {
    number: usize,
    flags: Vec<String>,
    handler: String,
    processors: String,
    running: RefCell<Option<(Gateway, Api)>>,
    /// Goes up when its sessions begin to end.
    generation: Cell<u32>,
    /// Held by the fault that befalls it.
    pub turn: Mutex<()>,
}

impl Replica {
    pub async fn start(
        number: usize,
        flags: Vec<String>,
        handler: String,
        processors: String,
    ) -> anyhow::Result<Self> {
        let replica = Self {
            number,
            flags,
            handler,
            processors,
            running: RefCell::new(None),
            generation: Cell::new(0),
            turn: Mutex::new(()),
        };
        replica.start_anew().await?;
        Ok(replica)
    }

    pub fn number(&self) -> usize {
        self.number
    }

    /// Where clients go, while there is somebody.
    pub fn clients(&self) -> Option<SocketAddr> {
        self.running.borrow().as_ref().map(|(gateway, _)| gateway.addresses.clients)
    }

    pub fn api(&self) -> Option<Api> {
        self.running.borrow().as_ref().map(|(_, api)| api.clone())
    }

    pub fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.ends();
        drop(self.running.take());
    }

    pub async fn start_anew(&self) -> anyhow::Result<()> {
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        let gateway = Gateway::start(&self.handler, &flags, &self.processors).await?;
        let api = gateway.api().await?;
        self.running.replace(Some((gateway, api)));
        Ok(())
    }

    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// `SIGTERM`, and waits for its end.
    pub async fn drain(&self) -> anyhow::Result<()> {
        self.ends();
        self.signal("TERM")?;
        let (mut gateway, _) = self.running.take().context("a replica that runs")?;
        within(END_DEADLINE, "a drain", async {
            let status = loop {
                if let Some(status) = gateway.process.child().try_wait()? {
                    break status;
                }
                sleep(Duration::from_millis(20)).await;
            };
            ensure!(status.success(), "it ended with {status}");
            Ok(())
        })
        .await
    }

    /// What keeps it from being well, if anything does.
    pub async fn trouble(&self) -> Option<String> {
        let address = match &*self.running.borrow() {
            Some((gateway, _)) => gateway.addresses.admin,
            None => return Some("it does not run".into()),
        };
        match Gateway::health_at(address).await {
            Ok(answer) if answer.contains("\"status\":\"ready\"") => None,
            Ok(answer) => Some(answer.lines().last().unwrap_or_default().into()),
            Err(error) => Some(error.to_string()),
        }
    }

    fn ends(&self) {
        self.generation.set(self.generation.get() + 1);
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let running = self.running.borrow();
        let (gateway, _) = running.as_ref().context("a replica that runs")?;
        signal(name, &gateway.process)
    }
}

pub fn signal(name: &str, process: &ServerProcess) -> anyhow::Result<()> {
    let pid = process.id().to_string();
    let status = Command::new("kill").args([&format!("-{name}"), &pid]).status()?;
    ensure!(status.success(), "kill -{name} {pid}");
    Ok(())
}
