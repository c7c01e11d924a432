//! Socket.IO on Node.js, with rooms, published to by lines over TCP that a few lines of
//! JavaScript beside it read. npm installs it below the target directory.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
};

use anyhow::{Context, ensure};
use async_trait::async_trait;

use super::line_publisher::LinePublisher;
use crate::{
    installed::{output, require},
    load::{ServerProcess, Step, Unit, free_ports, payload, step, text, upgrade},
    peer::{KEY, Peer, Running},
    placement::Placement,
};

const SOURCES: [(&str, &str); 3] = [
    ("package.json", include_str!("socket_io/package.json")),
    ("package-lock.json", include_str!("socket_io/package-lock.json")),
    ("server.js", include_str!("socket_io/server.js")),
];

pub struct SocketIo;

#[async_trait(?Send)]
impl Peer for SocketIo {
    fn name(&self) -> &'static str {
        "Socket.IO"
    }

    fn version(&self) -> String {
        let path = directory().join("node_modules/socket.io/package.json");
        let text = fs::read_to_string(path).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let node = output("node", &["--version"]);
        format!("Socket.IO {} on Node.js {node}", json["version"].as_str().unwrap_or("?"))
    }

    async fn start(&self, placement: &Placement) -> anyhow::Result<Running> {
        require("node", "Node.js")?;
        require("npm", "npm")?;
        let directory = installed()?;
        let [port, publishing_port] = free_ports()?;
        let mut command = Command::new("node");
        command
            .arg(directory.join("server.js"))
            .args([port, publishing_port].map(|p| p.to_string()));
        let mut process = ServerProcess::spawn(&command, &placement.server)?;
        let [address, publishing] = [port, publishing_port].map(local);
        process.listens(address).await?;
        let event = format!("{KEY} {}\n", payload());
        let publisher = LinePublisher::connect(publishing, "", event).await?;
        Ok(Running {
            process: process.id(),
            address,
            unit: Unit::Frame,
            script,
            publisher: Rc::new(publisher),
            application: None,
            _alive: Box::new(process),
        })
    }
}

/// Where it is installed, below the target directory.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("socket-io")
}

fn installed() -> anyhow::Result<PathBuf> {
    let directory = directory();
    fs::create_dir_all(&directory)?;
    let mut changed = !directory.join("node_modules/socket.io/package.json").exists();
    for (name, content) in SOURCES {
        let path = directory.join(name);
        if fs::read_to_string(&path).ok().as_deref() != Some(content) {
            fs::write(path, content)?;
            changed = true;
        }
    }
    if changed {
        let install = ["ci", "--no-audit", "--no-fund"];
        let output = Command::new("npm").current_dir(&directory).args(install).output();
        let output = output.context("npm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "npm ci: {}", said.trim());
    }
    Ok(directory)
}

/// Engine.IO opens, then Socket.IO, then an acknowledged message of the application.
fn script(server: SocketAddr, key: &str) -> Rc<[Step]> {
    Rc::new([
        upgrade(server, "/socket.io/?EIO=4&transport=websocket", None),
        step(Vec::new(), "0{"),
        step(text(br#"40{"token":"secret"}"#), "40{"),
        step(text(format!(r#"420["subscribe","{key}"]"#).as_bytes()), "430"),
    ])
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
