//! The bare floor: what the kernel alone takes. One thread that does nothing but accept,
//! switch protocols, and for each event write one frame to each client, one call each. It
//! keeps no books, asks nobody and cannot wait: a client that does not read ends it.
//!
//! It is this program again, as a process of its own.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    rc::Rc,
};

use anyhow::Context;
use async_trait::async_trait;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

use super::line_publisher::LinePublisher;
use crate::{
    load::{EVENT_BYTES, ServerProcess, Step, Unit, free_ports, payload, upgrade},
    peer::{Peer, Running},
    placement::Placement,
    report::FLOOR,
};

pub struct BareFloor;

#[async_trait(?Send)]
impl Peer for BareFloor {
    fn name(&self) -> &'static str {
        FLOOR
    }

    fn version(&self) -> String {
        "the bare floor of this benchmark".into()
    }

    async fn start(&self, placement: &Placement) -> anyhow::Result<Running> {
        let [port, publishing_port] = free_ports()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--serve-floor").args([port, publishing_port].map(|port| port.to_string()));
        let mut process = ServerProcess::spawn(&command, &placement.server)?;
        let [address, publishing] = [port, publishing_port].map(local);
        process.listens(address).await?;
        let publisher = LinePublisher::connect(publishing, "", payload()).await?;
        Ok(Running {
            process: process.id(),
            address,
            unit: Unit::Frame,
            script: |server, _| Rc::<[Step]>::from([upgrade(server, "/", None)]),
            publisher: Rc::new(publisher),
            application: None,
            _alive: Box::new(process),
        })
    }
}

/// In the process of its own, until it is killed.
pub fn serve(ports: &[u16]) -> anyhow::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let [port, publishing_port] = ports.try_into().context("two ports")?;
    let mut listener = TcpListener::bind(local(port))?;
    let publishing = std::net::TcpListener::bind(local(publishing_port))?;
    let (publisher, _) = publishing.accept()?;
    publisher.set_nonblocking(true)?;
    let mut publisher = TcpStream::from_std(publisher);

    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    poll.registry().register(&mut publisher, PUBLISHER, Interest::READABLE)?;
    let mut floor = Floor { clients: Vec::new(), frame: frame(), partial: 0 };
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => while_ready(|| floor.accept(&listener, &poll))?,
                PUBLISHER => while_ready(|| floor.deliver(&mut publisher))?,
                Token(number) => floor.serve(number)?,
            }
        }
    }
}

const LISTENER: Token = Token(usize::MAX - 1);
const PUBLISHER: Token = Token(usize::MAX - 2);

struct Floor {
    clients: Vec<Option<TcpStream>>,
    frame: Vec<u8>,
    /// Bytes of an event that has come in part.
    partial: usize,
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        let (mut client, _) = listener.accept()?;
        client.set_nodelay(true)?;
        let token = Token(self.clients.len());
        poll.registry().register(&mut client, token, Interest::READABLE)?;
        self.clients.push(Some(client));
        Ok(())
    }

    /// Lets a client in. Its request is believed to come in one piece.
    fn serve(&mut self, number: usize) -> io::Result<()> {
        let slot = &mut self.clients[number];
        let Some(client) = slot else { return Ok(()) };
        let mut buffer = [0; 1024];
        match client.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(bytes) if buffer[..bytes].ends_with(b"\r\n\r\n") => client.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            ),
            _ => {
                *slot = None;
                Ok(())
            }
        }
    }

    fn deliver(&mut self, publisher: &mut TcpStream) -> io::Result<()> {
        let mut buffer = [0; 16 * EVENT_BYTES];
        let bytes = match publisher.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => self.partial + bytes,
        };
        self.partial = bytes % EVENT_BYTES;
        for _ in 0..bytes / EVENT_BYTES {
            for client in self.clients.iter_mut().flatten() {
                client.write_all(&self.frame)?;
            }
        }
        Ok(())
    }
}

/// From a server, so unmasked: a length of two bytes.
fn frame() -> Vec<u8> {
    [&[0x81, 126], &(EVENT_BYTES as u16).to_be_bytes()[..], payload().as_bytes()].concat()
}

fn while_ready(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            result => result?,
        }
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
