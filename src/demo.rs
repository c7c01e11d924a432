//! `myxi demo`: the gateway with the memory bus, a bundled example application and a page
//! to try it. Everything between them goes over real sockets.

mod application;
mod page;

use std::{
    io::{self, Write},
    net::SocketAddr,
    thread,
    time::Duration,
};

use anyhow::Context;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint, Server as GrpcServer, server::TcpIncoming};

use self::application::{Application, EXCHANGE, TOKEN};
use crate::{
    config::{Config, DemoConfig},
    net::listener::{Listener, from_this_machine},
    proto::{action_handler_server::ActionHandlerServer, gateway_client::GatewayClient},
    server::Server,
    signals::StopSignals,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Until a signal asks for an end; the application is there to the end of the drain.
pub async fn run(config: DemoConfig) -> anyhow::Result<()> {
    let signals = StopSignals::new()?;
    let application = TcpListener::bind("127.0.0.1:0").await?;
    let application_address = application.local_addr()?;
    let page = Listener::bind(config.page_listen)
        .with_context(|| format!("cannot listen on {} (--page-listen)", config.page_listen))?;
    let page_address = page.local_addr()?;

    let token = config.grpc.token.clone();
    let gateway = Server::start(gateway_config(config, application_address)?).await?;
    greet(greeting(&gateway, application_address, page_address));
    let client = GatewayClient::new(channel(gateway.grpc)?);
    let around = page::Around { clients: gateway.clients, console: gateway.admin };
    tokio::select! {
        result = serve_application(application) => result,
        () = application::push_changes(client, token) => Ok(()),
        () = page::serve(page, around) => Ok(()),
        result = gateway.run_until(signals) => result,
    }
}

/// The gateway's own defaults, but for where it listens.
fn gateway_config(demo: DemoConfig, application: SocketAddr) -> anyhow::Result<Config> {
    let handler = format!("http://{application}");
    let config = Config::from_flags(["--action-handler", &handler, "--exchange", EXCHANGE])?;
    let DemoConfig { listen, grpc, admin, .. } = demo;
    Ok(Config { listen, grpc, admin, ..config })
}

fn channel(gateway: SocketAddr) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", from_this_machine(gateway)))?;
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).connect_lazy())
}

async fn serve_application(listener: TcpListener) -> anyhow::Result<()> {
    let service = ActionHandlerServer::new(Application);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(GrpcServer::builder().serve_with_incoming(service, incoming).await?)
}

/// Whether somebody reads it or not: a pipe that is full or closed holds up nothing.
fn greet(greeting: String) {
    thread::spawn(move || writeln!(io::stdout(), "{greeting}"));
}

fn greeting(gateway: &Server, application: SocketAddr, page: SocketAddr) -> String {
    let [clients, grpc, admin, page] =
        [gateway.clients, gateway.grpc, gateway.admin, page].map(from_this_machine);
    format!(
        "\
myxi demo is up. Open  http://{page}/

  WebSocket    ws://{clients}/
  Gateway      {grpc} (gRPC: PushEvent, with reflection)
  console      http://{admin}/
  application  {application} (gRPC ActionHandler, bundled)

By hand, with any WebSocket client:
  {{\"action\":\"Authenticate\",\"tag\":1,\"payload\":{{\"session_token\":\"{TOKEN}\"}}}}
  {{\"action\":\"Subscribe\",\"tag\":2,\"payload\":{{\"exchange\":\"{EXCHANGE}\",\"routing_key\":1}}}}
  {{\"action\":\"SayHello\",\"tag\":3,\"payload\":{{\"name\":\"Adam\"}}}}

Ctrl-C ends it."
    )
}
