//! The gateway, with the memory bus.

use std::rc::Rc;

use anyhow::Context;
use async_trait::async_trait;
use myxi::proto::gateway_client::GatewayClient;
use tonic::transport::Channel;

use crate::{
    load::{
        Application, Gateway, Unit, event, myxi_entry, myxi_script, payload, position_in,
        subscribe, text,
    },
    peer::{Forwarder, Forwarding, KEY, Keeper, Keeping, Peer, Publish, Running},
    placement::Placement,
    report::GATEWAY,
};

pub struct Myxi {
    pub worker_threads: usize,
    /// Further ones.
    pub flags: Vec<String>,
}

#[async_trait(?Send)]
impl Peer for Myxi {
    fn name(&self) -> &'static str {
        GATEWAY
    }

    fn version(&self) -> String {
        format!("myxi {}", env!("CARGO_PKG_VERSION"))
    }

    async fn start(&self, placement: &Placement) -> anyhow::Result<Running> {
        let application = Application::start(&placement.load).await?;
        let gateway = self.gateway(&application, &placement.server).await?;
        Ok(Running {
            process: gateway.process.id(),
            address: gateway.addresses.clients,
            unit: Unit::Frame,
            script: myxi_script,
            publisher: Rc::new(Pushes(gateway.api().await?)),
            application: Some(application),
            _alive: Box::new(gateway),
        })
    }

    fn forwarder(&self) -> Option<&dyn Forwarder> {
        Some(self)
    }

    fn keeper(&self) -> Option<&dyn Keeper> {
        Some(self)
    }
}

#[async_trait(?Send)]
impl Forwarder for Myxi {
    async fn start_forwarding(&self, processors: &str) -> anyhow::Result<Forwarding> {
        let application = Application::start(processors).await?;
        let gateway = self.gateway(&application, processors).await?;
        let action = format!(r#"{{"action":"Echo","tag":1,"payload":{}}}"#, payload());
        Ok(Forwarding {
            process: gateway.process.id(),
            address: gateway.addresses.clients,
            unit: Unit::Frame,
            script: myxi_script,
            action: text(action.as_bytes()).into(),
            application,
            _alive: Box::new(gateway),
        })
    }
}

#[async_trait(?Send)]
impl Keeper for Myxi {
    /// As always.
    async fn start_keeping(&self, _events: u64, placement: &Placement) -> anyhow::Result<Keeping> {
        Ok(Keeping {
            running: self.start(placement).await?,
            enter: myxi_entry,
            come_back: |subscribed| {
                let position = position_in(subscribed).context("a position")?;
                Ok(subscribe(KEY, Some(position)))
            },
            // Beside `Subscribed` and `Replayed`.
            messages: |events| events + 2,
            all: |events| format!(r#""count":{events}}}"#),
        })
    }
}

impl Myxi {
    async fn gateway(
        &self,
        application: &Application,
        processors: &str,
    ) -> anyhow::Result<Gateway> {
        let threads = format!("--worker-threads={}", self.worker_threads);
        let further = self.flags.iter().map(String::as_str);
        let flags: Vec<&str> = [threads.as_str()].into_iter().chain(further).collect();
        Gateway::start(&application.url(), &flags, processors).await
    }
}

struct Pushes(GatewayClient<Channel>);

#[async_trait(?Send)]
impl Publish for Pushes {
    async fn publish(&self) -> anyhow::Result<()> {
        self.0.clone().push_event(event(KEY)).await?;
        Ok(())
    }
}
