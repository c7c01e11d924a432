//! The release gateway as a process, and how a client of it gets its subscription.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    rc::Rc,
    time::Duration,
};

use anyhow::Context;
use myxi::proto::{PushEventRequest, gateway_client::GatewayClient};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::sleep,
};
use tonic::transport::Channel;

use super::{ServerProcess, Step, step, text, upgrade, within};

pub const EXCHANGE: &str = "bench";

/// The payload of an event that is pushed; every peer's message is as long.
pub const EVENT_BYTES: usize = 128;

const START_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
pub struct Addresses {
    pub clients: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
}

/// Killed on drop.
pub struct Gateway {
    pub process: ServerProcess,
    pub addresses: Addresses,
}

impl Gateway {
    /// With one exchange, [`EXCHANGE`], unless flags name others, on ports of its own.
    pub async fn start(handler: &str, flags: &[&str], processors: &str) -> anyhow::Result<Self> {
        let any_port = (Ipv4Addr::LOCALHOST, 0).into();
        Self::start_at(any_port, handler, flags, processors).await
    }

    /// As [`Self::start`], where clients have been told to go.
    pub async fn start_at(
        clients: SocketAddr,
        handler: &str,
        flags: &[&str],
        processors: &str,
    ) -> anyhow::Result<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_myxi"));
        Self::start_program(program, clients, handler, flags, processors).await
    }

    /// As [`Self::start_at`], of another build.
    pub async fn start_program(
        program: &Path,
        clients: SocketAddr,
        handler: &str,
        flags: &[&str],
        processors: &str,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--log-format=json", "--action-handler", handler]);
        if !flags.iter().any(|flag| flag.starts_with("--exchange")) {
            command.args(["--exchange", EXCHANGE]);
        }
        command
            .args(["--listen", &clients.to_string()])
            .args(["--grpc-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
            .args(flags);
        let mut process = ServerProcess::spawn_with(&command, processors, |command| {
            command.stderr(Stdio::piped());
        })?;
        let addresses = within(START_DEADLINE, "the gateway starts", addresses(&mut process));
        let addresses = addresses.await?;
        Ok(Self { process, addresses })
    }

    /// Waits until the gateway has reached its broker.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let ready = async {
            while !self.health().await?.starts_with("HTTP/1.1 200") {
                sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        within(START_DEADLINE, "the gateway is ready", ready).await
    }

    /// The answer of `/health/ready`, with its head.
    pub async fn health(&self) -> anyhow::Result<String> {
        Self::health_at(self.addresses.admin).await
    }

    /// As [`Self::health`], of a gateway that may end meanwhile.
    pub async fn health_at(admin: SocketAddr) -> anyhow::Result<String> {
        let mut admin = TcpStream::connect(admin).await?;
        let request = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        admin.write_all(request).await?;
        let mut answer = String::new();
        admin.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    pub async fn api(&self) -> anyhow::Result<GatewayClient<Channel>> {
        let url = format!("http://{}", self.addresses.grpc);
        GatewayClient::connect(url).await.context("the gateway's gRPC port")
    }
}

/// As the gateway says in its log. What it says later, from warnings up, is passed on.
async fn addresses(process: &mut ServerProcess) -> anyhow::Result<Addresses> {
    let log = process.child().stderr.take().context("a log")?;
    let mut lines = BufReader::new(tokio::process::ChildStderr::from_std(log)?).lines();
    let mut said = String::new();
    loop {
        let line = lines.next_line().await?;
        let line = line.with_context(|| format!("the gateway ended: {said}"))?;
        let fields: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let address = |name: &str| fields[name].as_str()?.parse().ok();
        if let (Some(clients), Some(grpc), Some(admin)) =
            (address("clients"), address("grpc"), address("admin"))
        {
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.contains("\"WARN\"") || line.contains("\"ERROR\"") {
                        eprintln!("the gateway: {line}");
                    }
                }
            });
            return Ok(Addresses { clients, grpc, admin });
        }
        said = line;
    }
}

/// Upgrade, authenticate, subscribe: each when the one before is answered.
pub fn myxi_script(gateway: SocketAddr, routing_key: &str) -> Rc<[Step]> {
    let mut script = myxi_entry(gateway);
    script.push(step(subscribe(routing_key, None), r#""Subscribed""#));
    script.into()
}

/// The same but for the subscription.
pub fn myxi_entry(gateway: SocketAddr) -> Vec<Step> {
    let authenticate = text(br#"{"action":"Authenticate","tag":1}"#);
    vec![upgrade(gateway, "/", None), step(authenticate, r#""Done""#)]
}

/// What a client says to be subscribed, maybe one that comes back from a position.
pub fn subscribe(routing_key: &str, after: Option<&str>) -> Vec<u8> {
    let mut payload = json!({ "exchange": EXCHANGE, "routing_key": routing_key });
    if let Some(position) = after {
        payload["after"] = position.into();
    }
    text(json!({ "action": "Subscribe", "payload": payload }).to_string().as_bytes())
}

/// The last one that a message tells.
pub fn position_in(message: &str) -> Option<&str> {
    let (_, position) = message.rsplit_once(r#""id":""#)?;
    Some(position.split_once('"')?.0)
}

/// An event with a payload of [`EVENT_BYTES`].
pub fn event(routing_key: impl Into<String>) -> PushEventRequest {
    PushEventRequest {
        exchange: EXCHANGE.into(),
        routing_key: routing_key.into(),
        event: "E".into(),
        payload: payload(),
        event_id: None,
    }
}

/// JSON of [`EVENT_BYTES`] bytes.
pub fn payload() -> String {
    format!("{{\"x\":\"{}\"}}", "x".repeat(EVENT_BYTES - 8))
}
