//! The gateway, with the memory bus and one thread for sessions.

use std::rc::Rc;

use async_trait::async_trait;
use myxi::proto::gateway_client::GatewayClient;
use tonic::transport::Channel;

use crate::{
    load::{Application, Gateway, Unit, event, myxi_script},
    peer::{KEY, Processors, Publish, Running},
};

pub async fn start(processors: &Processors, flags: &[String]) -> anyhow::Result<Running> {
    let application = Application::start(&processors.load).await?;
    let flags: Vec<&str> =
        ["--worker-threads=1"].into_iter().chain(flags.iter().map(String::as_str)).collect();
    let gateway = Gateway::start(&application.url(), &flags, &processors.server).await?;
    Ok(Running {
        process: gateway.process.id(),
        address: gateway.addresses.clients,
        unit: Unit::Frame,
        script: myxi_script,
        publisher: Rc::new(Pushes(gateway.api().await?)),
        alive: Box::new((gateway, application)),
    })
}

struct Pushes(GatewayClient<Channel>);

#[async_trait(?Send)]
impl Publish for Pushes {
    async fn publish(&self) -> anyhow::Result<()> {
        self.0.clone().push_event(event(KEY)).await?;
        Ok(())
    }
}
