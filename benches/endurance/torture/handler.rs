//! The application as a process of its own, so that it can be killed and frozen: this very
//! program again.

use std::{
    cell::RefCell,
    env,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use anyhow::Context;
use tokio::sync::Mutex;

use super::fleet::signal;
use crate::{
    application::Handler,
    args,
    load::{Application, ServerProcess, free_ports},
};

/// No connection of another process begins here and takes the port while nobody listens.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);

/// What the process does. It is killed.
pub async fn serve(args: &args::Handler, processors: &str) -> anyhow::Result<()> {
    let application = Application::start_at(args.listen, Handler::default(), processors).await?;
    std::future::pending::<()>().await;
    drop(application);
    Ok(())
}

pub struct HandlerProcess {
    address: SocketAddr,
    processors: String,
    process: RefCell<Option<ServerProcess>>,
    /// Held by the fault that befalls it.
    pub turn: Mutex<()>,
}

impl HandlerProcess {
    pub async fn start(processors: &str) -> anyhow::Result<Self> {
        let [port] = free_ports()?;
        let handler = Self {
            address: (ADDRESS, port).into(),
            processors: processors.into(),
            process: RefCell::default(),
            turn: Mutex::new(()),
        };
        handler.start_anew().await?;
        Ok(handler)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `kill -9`.
    pub fn kill(&self) {
        drop(self.process.take());
    }

    /// Where it was.
    pub async fn start_anew(&self) -> anyhow::Result<()> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["handler", "--listen", &self.address.to_string()]);
        let mut process = ServerProcess::spawn(&command, &self.processors)?;
        process.listens(self.address).await?;
        self.process.replace(Some(process));
        Ok(())
    }

    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        signal(name, self.process.borrow().as_ref().context("a handler that runs")?)
    }
}
