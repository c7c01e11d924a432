//! Centrifugo, alone with its memory engine: a subscription each over its JSON protocol,
//! published to over its gRPC API; its RPCs proxied over gRPC to the application that the
//! gateway's actions go to; for clients that come back, with a history that they recover from.
//! Clients are anonymous and it asks nobody about them, which is the least that it does.

mod contract;
mod proxied;

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    rc::Rc,
};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use serde_json::{Value, json};
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use self::contract::{PUBLISH, PublishRequest, PublishResponse};
use crate::{
    installed::{output, require},
    load::{
        Application, Scratch, ServerProcess, Step, Unit, free_ports, payload, step, text, upgrade,
    },
    peer::{Forwarder, Forwarding, KEY, Keeper, Keeping, Peer, Publish, Running},
    placement::Placement,
};

const NAME: &str = "Centrifugo";

pub struct Centrifugo;

#[async_trait(?Send)]
impl Peer for Centrifugo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        // A module that is built by its users does not know its own version; Go does.
        let built = output("sh", &["-c", "go version -m \"$(command -v centrifugo)\""]);
        let module = built.lines().find_map(|line| line.trim().strip_prefix("mod\t"));
        let version = module.and_then(|module| module.split('\t').nth(1));
        version.map_or_else(
            || output("centrifugo", &["version"]),
            |version| format!("Centrifugo {version}"),
        )
    }

    async fn start(&self, placement: &Placement) -> anyhow::Result<Running> {
        self.start_with_history(0, placement).await
    }

    fn forwarder(&self) -> Option<&dyn Forwarder> {
        Some(self)
    }

    fn keeper(&self) -> Option<&dyn Keeper> {
        Some(self)
    }
}

impl Centrifugo {
    async fn start_with_history(
        &self,
        events: u64,
        placement: &Placement,
    ) -> anyhow::Result<Running> {
        let process = Process::start(None, events, &placement.server).await?;
        let channel = Channel::from_shared(format!("http://{}", process.api))?.connect().await?;
        Ok(Running {
            process: process.server.id(),
            address: process.clients,
            unit: Unit::Line,
            script,
            publisher: Rc::new(Publisher(channel)),
            application: None,
            _alive: Box::new(process),
        })
    }
}

#[async_trait(?Send)]
impl Keeper for Centrifugo {
    async fn start_keeping(&self, events: u64, placement: &Placement) -> anyhow::Result<Keeping> {
        Ok(Keeping {
            running: self.start_with_history(events, placement).await?,
            enter,
            come_back,
            // The answer has them all.
            messages: |_| 1,
            all: |_| r#""recovered":true"#.into(),
        })
    }
}

#[async_trait(?Send)]
impl Forwarder for Centrifugo {
    async fn start_forwarding(&self, processors: &str) -> anyhow::Result<Forwarding> {
        let application = proxied::start(processors).await?;
        let process = Process::start(Some(&application), 0, processors).await?;
        let call = format!(r#"{{"id":3,"rpc":{{"method":"Echo","data":{}}}}}"#, payload());
        Ok(Forwarding {
            process: process.server.id(),
            address: process.clients,
            unit: Unit::Line,
            script,
            action: text(call.as_bytes()).into(),
            application,
            _alive: Box::new(process),
        })
    }
}

/// Killed on drop.
struct Process {
    server: ServerProcess,
    clients: SocketAddr,
    api: SocketAddr,
    _scratch: Scratch,
}

impl Process {
    /// With a history of so many events, or none.
    async fn start(
        application: Option<&Application>,
        history: u64,
        processors: &str,
    ) -> anyhow::Result<Self> {
        let install = "it with `go install github.com/centrifugal/centrifugo/v6@latest`";
        require("centrifugo", install)?;
        let [port, api_port] = free_ports()?;
        let scratch = Scratch::new("centrifugo")?;
        let settings = settings(port, api_port, application, history).to_string();
        let settings = scratch.write("config.json", &settings)?;
        let mut command = Command::new("centrifugo");
        command.arg("--config").arg(settings);
        let mut server = ServerProcess::spawn(&command, processors)?;
        let [clients, api] = [port, api_port].map(|port| (Ipv4Addr::LOCALHOST, port).into());
        server.listens(clients).await?;
        server.listens(api).await?;
        Ok(Self { server, clients, api, _scratch: scratch })
    }
}

fn settings(port: u16, api_port: u16, application: Option<&Application>, history: u64) -> Value {
    let endpoint = application.map(|application| format!("grpc://{}", application.address));
    json!({
        "http_server": { "address": "127.0.0.1", "port": port },
        "grpc_api": { "enabled": true, "address": "127.0.0.1", "port": api_port },
        "usage_stats": { "disabled": true },
        "log": { "level": "none" },
        "client": {
            "allow_anonymous_connect_without_token": true,
            // A ping would be counted as a message.
            "ping_interval": "10m",
            "recovery_max_publication_limit": history,
        },
        "channel": {
            "without_namespace": {
                "allow_subscribe_for_client": true,
                "allow_subscribe_for_anonymous": true,
                "history_size": history,
                "history_ttl": if history > 0 { "1h" } else { "0s" },
                "force_recovery": history > 0,
            },
        },
        "rpc": {
            "proxy": { "endpoint": endpoint.unwrap_or_default(), "timeout": "3s" },
            "without_namespace": { "proxy_enabled": application.is_some() },
        },
    })
}

fn script(server: SocketAddr, key: &str) -> Rc<[Step]> {
    let subscribe = format!(r#"{{"id":2,"subscribe":{{"channel":"{key}"}}}}"#);
    let mut script = enter(server);
    script.push(step(text(subscribe.as_bytes()), r#""subscribe":"#));
    script.into()
}

fn enter(server: SocketAddr) -> Vec<Step> {
    vec![
        upgrade(server, "/connection/websocket", None),
        step(text(br#"{"id":1,"connect":{}}"#), r#""connect":"#),
    ]
}

fn come_back(subscribed: &str) -> anyhow::Result<Vec<u8>> {
    let answer = subscribed.lines().find(|line| line.contains(r#""subscribe":"#));
    let answer: Value = serde_json::from_str(answer.context("an answer")?)?;
    let (epoch, offset) = (&answer["subscribe"]["epoch"], &answer["subscribe"]["offset"]);
    // What is nothing is not said.
    let offset = offset.as_u64().unwrap_or_default();
    let subscribe = json!({ "channel": KEY, "recover": true, "epoch": epoch, "offset": offset });
    Ok(text(json!({ "id": 2, "subscribe": subscribe }).to_string().as_bytes()))
}

struct Publisher(Channel);

#[async_trait(?Send)]
impl Publish for Publisher {
    async fn publish(&self) -> anyhow::Result<()> {
        let request = PublishRequest { channel: KEY.into(), data: payload().into_bytes() };
        let mut api = Grpc::new(self.0.clone());
        api.ready().await?;
        let codec = ProstCodec::<PublishRequest, PublishResponse>::default();
        let path = PathAndQuery::from_static(PUBLISH);
        let answer = api.unary(Request::new(request), path, codec).await?.into_inner();
        ensure!(answer.error.is_none(), "Centrifugo refuses an event: {:?}", answer.error);
        Ok(())
    }
}
