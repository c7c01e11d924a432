//! nats-server, its WebSocket listener: a subscription each, published to over TCP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    rc::Rc,
};

use async_trait::async_trait;

use super::line_publisher::LinePublisher;
use crate::{
    installed::{output, require},
    load::{
        EVENT_BYTES, Scratch, ServerProcess, Step, Unit, binary, free_ports, payload, step, upgrade,
    },
    peer::{KEY, Peer, Running},
    placement::Placement,
};

pub struct Nats;

#[async_trait(?Send)]
impl Peer for Nats {
    fn name(&self) -> &'static str {
        "nats-server"
    }

    fn version(&self) -> String {
        output("nats-server", &["--version"])
    }

    async fn start(&self, placement: &Placement) -> anyhow::Result<Running> {
        require("nats-server", "Debian's nats-server")?;
        let [port, websocket_port] = free_ports()?;
        let scratch = Scratch::new("nats")?;
        // A ping would disturb the count of bytes.
        let settings = format!(
            "listen: \"127.0.0.1:{port}\"\nping_interval: \"10m\"\n\
             websocket {{ listen: \"127.0.0.1:{websocket_port}\", no_tls: true }}\n"
        );
        let settings = scratch.write("nats.conf", &settings)?;
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(settings);
        let mut process = ServerProcess::spawn(&command, &placement.server)?;
        let [publishing, address] = [port, websocket_port].map(local);
        process.listens(publishing).await?;
        process.listens(address).await?;
        let publish = format!("PUB {KEY} {EVENT_BYTES}\r\n{}\r\n", payload());
        let publisher =
            LinePublisher::connect(publishing, "CONNECT {\"verbose\":false}\r\n", publish).await?;
        Ok(Running {
            process: process.id(),
            address,
            unit: Unit::Bytes(message().len()),
            script,
            publisher: Rc::new(publisher),
            application: None,
            _alive: Box::new((process, scratch)),
        })
    }
}

/// As a subscriber gets it. A frame may hold several.
fn message() -> String {
    format!("MSG {KEY} 1 {EVENT_BYTES}\r\n{}\r\n", payload())
}

fn script(server: SocketAddr, key: &str) -> Rc<[Step]> {
    let subscribe = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"user\":\"u\",\"pass\":\"p\"}}\r\n\
         SUB {key} 1\r\nPING\r\n"
    );
    Rc::new([
        upgrade(server, "/", None),
        step(Vec::new(), "INFO"),
        step(binary(subscribe.as_bytes()), "PONG"),
    ])
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
