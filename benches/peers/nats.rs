//! nats-server, its WebSocket listener: a subscription each, published to over TCP.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    rc::Rc,
};

use anyhow::Context;
use async_trait::async_trait;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Mutex};

use crate::{
    load::{
        EVENT_BYTES, Scratch, ServerProcess, Step, Unit, binary, free_ports, payload, step, upgrade,
    },
    peer::{KEY, Publish, Running},
};

pub async fn start(processors: &str) -> anyhow::Result<Running> {
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
    let mut process = ServerProcess::spawn(&command, processors)?;
    let [publishing, address] = [port, websocket_port].map(local);
    process.listens(publishing).await?;
    process.listens(address).await?;
    let publisher = Rc::new(Publisher::connect(publishing).await?);
    Ok(Running {
        process: process.id(),
        address,
        unit: Unit::Bytes(message().len()),
        script,
        publisher,
        alive: Box::new((process, scratch)),
    })
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

struct Publisher {
    socket: Mutex<TcpStream>,
    publish: String,
}

impl Publisher {
    async fn connect(server: SocketAddr) -> io::Result<Self> {
        let mut socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        socket.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n").await?;
        let publish = format!("PUB {KEY} {EVENT_BYTES}\r\n{}\r\n", payload());
        Ok(Self { socket: Mutex::new(socket), publish })
    }
}

#[async_trait(?Send)]
impl Publish for Publisher {
    async fn publish(&self) -> anyhow::Result<()> {
        let written = self.socket.lock().await.write_all(self.publish.as_bytes()).await;
        written.context("publishing to nats-server")
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
