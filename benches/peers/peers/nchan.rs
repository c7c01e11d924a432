//! nginx with nchan: its WebSocket subscriber, published to over HTTP connections that are
//! kept.

use std::{
    cell::RefCell,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    rc::Rc,
};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    installed::package,
    load::{EVENT_BYTES, Scratch, ServerProcess, Step, Unit, free_ports, payload, upgrade},
    peer::{KEY, Peer, Publish, Running},
    placement::Placement,
};

const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

pub struct Nchan;

#[async_trait(?Send)]
impl Peer for Nchan {
    fn name(&self) -> &'static str {
        "nginx, nchan"
    }

    fn version(&self) -> String {
        format!("nginx {}, nchan {}", package("nginx"), package("libnginx-mod-nchan"))
    }

    async fn start(&self, placement: &Placement) -> anyhow::Result<Running> {
        ensure!(Path::new(MODULE).exists(), "no {MODULE}: install Debian's libnginx-mod-nchan");
        let [port] = free_ports()?;
        let scratch = Scratch::new("nchan")?;
        let directory = scratch.path().display();
        // One worker, as there is one processor.
        let settings = format!(
            "load_module {MODULE};
            daemon off; worker_processes 1; worker_rlimit_nofile 20000;
            pid {directory}/pid; error_log {directory}/error.log;
            events {{ worker_connections 16000; }}
            http {{
                access_log off; tcp_nodelay on; keepalive_requests 1000000000;
                client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
                fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
                scgi_temp_path {directory}/scgi;
                server {{
                    listen 127.0.0.1:{port} backlog=4096;
                    location ~ ^/publish/(.+)$ {{ nchan_publisher http; nchan_channel_id $1; }}
                    location ~ ^/subscribe/(.+)$ {{
                        nchan_subscriber websocket; nchan_channel_id $1;
                        nchan_subscriber_first_message newest;
                    }}
                }}
            }}"
        );
        let settings = scratch.write("nginx.conf", &settings)?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(scratch.path()).arg("-c").arg(settings);
        let mut process = ServerProcess::spawn(&command, &placement.server)?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        process.listens(address).await?;
        Ok(Running {
            process: process.id(),
            address,
            unit: Unit::Frame,
            script,
            publisher: Rc::new(Publisher::new(address)),
            application: None,
            _alive: Box::new((process, scratch)),
        })
    }
}

/// To connect is to subscribe.
fn script(server: SocketAddr, key: &str) -> Rc<[Step]> {
    Rc::new([upgrade(server, &format!("/subscribe/{key}"), None)])
}

struct Publisher {
    server: SocketAddr,
    request: String,
    /// Connections that wait for no answer.
    idle: RefCell<Vec<TcpStream>>,
}

impl Publisher {
    fn new(server: SocketAddr) -> Self {
        let payload = payload();
        let request = format!(
            "POST /publish/{KEY} HTTP/1.1\r\nHost: {server}\r\nContent-Length: {EVENT_BYTES}\r\n\r\n{payload}"
        );
        Self { server, request, idle: RefCell::default() }
    }
}

#[async_trait(?Send)]
impl Publish for Publisher {
    async fn publish(&self) -> anyhow::Result<()> {
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let connection = TcpStream::connect(self.server).await?;
                connection.set_nodelay(true)?;
                connection
            }
        };
        connection.write_all(self.request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        while !is_complete(&answer)? {
            let read = connection.read_buf(&mut answer).await?;
            ensure!(read > 0, "nchan closed a publisher's connection");
        }
        self.idle.borrow_mut().push(connection);
        Ok(())
    }
}

/// Head and body of an answer that says its length.
fn is_complete(answer: &[u8]) -> anyhow::Result<bool> {
    let text = std::str::from_utf8(answer)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(false) };
    ensure!(head.starts_with("HTTP/1.1 2"), "nchan answers a publisher: {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.context("a length")?.parse()?;
    Ok(body.len() >= length)
}
