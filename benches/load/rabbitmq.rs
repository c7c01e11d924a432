//! A RabbitMQ node of a benchmark's own: its ports, epmd, data and cookie.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::ensure;
use lapin::{
    Connection, ConnectionProperties,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use tokio::time::sleep;

use super::{Scratch, ServerProcess, free_ports, within};

const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

const START_DEADLINE: Duration = Duration::from_secs(90);

/// Killed on drop.
pub struct RabbitMq {
    pub process: ServerProcess,
    pub amqp: SocketAddr,
    pub web_stomp: SocketAddr,
    _epmd: ServerProcess,
    _scratch: Scratch,
}

impl RabbitMq {
    pub fn is_installed() -> bool {
        Path::new(SCRIPTS).join("rabbitmq-server").exists()
    }

    /// With these plugins, if any, for example `rabbitmq_web_stomp`.
    pub async fn start(plugins: &str, processors: &str) -> anyhow::Result<Self> {
        let server = format!("{SCRIPTS}/rabbitmq-server");
        ensure!(Path::new(&server).exists(), "no {server}: install Debian's rabbitmq-server");
        let [amqp, dist, epmd_port, stomp, web_stomp] = free_ports()?;
        let scratch = Scratch::new("rabbitmq")?;
        scratch.write("enabled_plugins", &format!("[{plugins}]."))?;
        let mut settings = String::from("log.file.level = warning\n");
        if !plugins.is_empty() {
            settings += &format!("stomp.listeners.tcp.1 = 127.0.0.1:{stomp}\n");
            settings +=
                &format!("web_stomp.tcp.ip = 127.0.0.1\nweb_stomp.tcp.port = {web_stomp}\n");
        }
        scratch.write("rabbitmq.conf", &settings)?;

        // Left to itself, the node starts one that outlives it.
        let mut epmd = Command::new("epmd");
        epmd.args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"]);
        let mut epmd = ServerProcess::spawn(&epmd, processors)?;
        epmd.listens(local(epmd_port)).await?;

        let mut command = Command::new(&server);
        command
            .current_dir(scratch.path())
            .env("HOME", scratch.path())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", epmd_port.to_string())
            .env("RABBITMQ_NODENAME", "bench@localhost")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", amqp.to_string())
            .env("RABBITMQ_DIST_PORT", dist.to_string())
            .env("RABBITMQ_CONFIG_FILE", scratch.path().join("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", scratch.path().join("enabled_plugins"))
            .env("RABBITMQ_LOG_BASE", scratch.path().join("log"))
            .env("RABBITMQ_MNESIA_BASE", scratch.path().join("data"))
            .env("RABBITMQ_PID_FILE", scratch.path().join("pid"))
            // Erlang's schedulers spin while they wait, unless told not to.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none +sbwtdcpu none +sbwtdio none");
        let log = fs::File::create(scratch.path().join("node.log"))?;
        let error_log = log.try_clone()?;
        let mut process = ServerProcess::spawn_with(&command, processors, |command| {
            command.stdout(log).stderr(error_log);
        })?;
        process.listens(local(amqp)).await?;
        if !plugins.is_empty() {
            process.listens(local(web_stomp)).await?;
        }
        let node = Self {
            process,
            amqp: local(amqp),
            web_stomp: local(web_stomp),
            _epmd: epmd,
            _scratch: scratch,
        };
        within(START_DEADLINE, "RabbitMQ's streams are ready", node.streams_ready()).await?;
        Ok(node)
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.amqp)
    }

    pub async fn connect(&self) -> lapin::Result<Connection> {
        Connection::connect(&self.url(), ConnectionProperties::default()).await
    }

    /// They come up a second or two after the port. Waits by using one.
    async fn streams_ready(&self) -> anyhow::Result<()> {
        while let Err(_not_yet) = self.declare_stream("bench.ready").await {
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    pub async fn declare_stream(&self, name: &str) -> lapin::Result<()> {
        let connection = self.connect().await?;
        let channel = connection.create_channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.into(), options, arguments).await?;
        connection.close(200, "OK".into()).await
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
