//! Where and with what it was measured.

use std::{fs, process::Command};

use crate::{args::Server, load::available, placement::Placement, socket_io};

/// A few lines of Markdown.
pub fn describe(servers: &[Server], placement: &Placement) -> String {
    let versions: Vec<_> = servers.iter().map(|server| version(*server)).collect();
    let command: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let command = format!("cargo bench --bench peers -- {}", command.join(" "));
    format!(
        "- Date: {}\n- Machine: {}, {} processors; Linux {}\n- Processors: the server {}, the \
         load side {}\n- Versions: {}\n- Command: `{}`\n",
        output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        model(),
        available().len(),
        output("uname", &["-r"]),
        placement.server,
        placement.load,
        versions.join("; "),
        command.trim_end_matches([' ', '-']),
    )
}

fn version(server: Server) -> String {
    match server {
        Server::Myxi => format!("myxi {}", env!("CARGO_PKG_VERSION")),
        Server::Nats => output("nats-server", &["--version"]),
        Server::Nchan => {
            format!("nginx {}, nchan {}", package("nginx"), package("libnginx-mod-nchan"))
        }
        Server::Rabbitmq => format!("RabbitMQ {}", package("rabbitmq-server")),
        Server::SocketIo => {
            let path = socket_io::directory().join("node_modules/socket.io/package.json");
            let text = fs::read_to_string(path).unwrap_or_default();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let node = output("node", &["--version"]);
            format!("Socket.IO {} on Node.js {node}", json["version"].as_str().unwrap_or("?"))
        }
        Server::Floor => "the bare floor of this benchmark".into(),
    }
}

fn package(name: &str) -> String {
    output("dpkg-query", &["-W", "-f", "${Version}", name])
}

fn model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    model.and_then(|line| line.split_once(": ")).map_or("?", |(_, model)| model).to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.ok().filter(|said| !said.is_empty()).unwrap_or_else(|| format!("{program}: ?"))
}
