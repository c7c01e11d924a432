//! Gateways on one broker, before one application.

use std::net::Ipv4Addr;

use myxi::proto::gateway_client::GatewayClient;
use tonic::transport::Channel;

use super::{DEADLINE, Setup, contender::Build};
use crate::{
    load::{Application, Clients, Gateway, Pace, Unit, myxi_script, within},
    peer::AT_ONCE,
};

/// They end with it.
pub struct Replicas {
    pub gateways: Vec<Gateway>,
    /// Of each.
    pub apis: Vec<GatewayClient<Channel>>,
    _application: Application,
}

impl Replicas {
    /// Returns when all have reached the broker.
    pub async fn start(build: &Build, count: usize, setup: &Setup<'_>) -> anyhow::Result<Self> {
        Self::start_with(build, count, &[], setup).await
    }

    /// As [`Self::start`], with further flags.
    pub async fn start_with(
        build: &Build,
        count: usize,
        further: &[&str],
        setup: &Setup<'_>,
    ) -> anyhow::Result<Self> {
        let application = Application::start(setup.processors).await?;
        let (url, exchange) = (setup.broker.url(), format!("--exchange={}", build.exchange));
        let own = ["--worker-threads=1", "--rabbitmq-url", &url, &exchange];
        let given = setup.flags.iter().map(String::as_str);
        let flags: Vec<&str> =
            own.into_iter().chain(further.iter().copied()).chain(given).collect();
        let (mut gateways, mut apis) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let any_port = (Ipv4Addr::LOCALHOST, 0).into();
            let (handler, processors) = (application.url(), setup.processors);
            let program = &build.program;
            let gateway =
                Gateway::start_program(program, any_port, &handler, &flags, processors).await?;
            gateway.ready().await?;
            apis.push(gateway.api().await?);
            gateways.push(gateway);
        }
        Ok(Self { gateways, apis, _application: application })
    }

    /// Opens so many clients at each, which have a key each.
    pub async fn clients(
        &self,
        at_each: usize,
        key: impl Fn(usize) -> String,
    ) -> anyhow::Result<Clients> {
        let clients = Clients::new(Unit::Frame, Pace::Sparing)?;
        for gateway in &self.gateways {
            let server = gateway.addresses.clients;
            let opening =
                clients.open(server, at_each, AT_ONCE, |number| myxi_script(server, &key(number)));
            within(DEADLINE, "clients subscribe", opening).await?;
        }
        Ok(clients)
    }
}
