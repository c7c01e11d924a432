//! The gateway, with the memory bus.

use std::rc::Rc;

use async_trait::async_trait;
use myxi::proto::gateway_client::GatewayClient;
use tonic::transport::Channel;

use crate::{
    load::{Application, Gateway, Unit, event, myxi_script},
    peer::{KEY, Publish, Running},
    placement::Placement,
};

pub async fn start(
    placement: &Placement,
    worker_threads: usize,
    flags: &[String],
) -> anyhow::Result<Running> {
    let application = Application::start(&placement.load).await?;
    let threads = format!("--worker-threads={worker_threads}");
    let flags: Vec<&str> =
        [threads.as_str()].into_iter().chain(flags.iter().map(String::as_str)).collect();
    let gateway = Gateway::start(&application.url(), &flags, &placement.server).await?;
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

struct Pushes(GatewayClient<Channel>);

#[async_trait(?Send)]
impl Publish for Pushes {
    async fn publish(&self) -> anyhow::Result<()> {
        self.0.clone().push_event(event(KEY)).await?;
        Ok(())
    }
}
