//! A real RabbitMQ, private to this test process: a node on free ports, with its own epmd,
//! data and cookie, which can be killed, stopped, frozen and blocked. Several of them are a
//! [`super::cluster`].
//!
//! A node takes seconds to start and 100 MB of memory, so there are few for all tests:
//! [`RabbitMq::shared`] for those that leave it alone, and [`RabbitMq::exclusive`], each of which
//! one test at a time may disturb.

mod home;

use std::{
    fs,
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use lapin::{
    Connection, ConnectionProperties,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{OnceCell, Semaphore, SemaphorePermit},
    time::sleep,
};

pub use self::home::Home;
use self::home::free_ports;
use super::within;

const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// Three at once on a machine that has other things to do.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A stream that was declared for the first time a moment ago may not survive a kill.
const SETTLE: Duration = Duration::from_secs(3);

/// What a user needs who is nobody but myxi's, in every one of `configure`, `write` and
/// `read`; as docs/deploy.md says.
pub const RIGHTS: &str = r"^myxi\.";

/// What the names of direct exchanges begin with in tests.
pub const LEGACY: &str = "legacy";

/// The same beside exchanges of these names, as docs/deploy.md says it of one.
const LEGACY_RIGHTS: &str = r"^(myxi\.|legacy\.)";

/// The broker's users: one who may do anything, for the tests, and for the gateways one with
/// [`RIGHTS`] and one with [`LEGACY_RIGHTS`]. Each has its name for a password.
const DEFINITIONS: &str = r#"{
    "vhosts": [{"name": "/"}],
    "users": [
        {"name": "guest", "tags": "administrator",
         "password_hash": "AQIDBEMMOXwY6PKx/JKP9PAqfsb4ozuD0Ta3pxxa9gEYBMmD"},
        {"name": "myxi", "tags": "",
         "password_hash": "AQIDBEb4KjHkCeDOqPtMef70souETq5zuu19OUkTOS/VyMi2"},
        {"name": "legacy", "tags": "",
         "password_hash": "AQIDBGlZd4QPAuVPD3Vkd0eQIZvAjs4dPH3tUw9E/ow5JWBY"}
    ],
    "permissions": [
        {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
        {"user": "myxi", "vhost": "/", "configure": RIGHTS, "write": RIGHTS, "read": RIGHTS},
        {"user": "legacy", "vhost": "/", "configure": LEGACY, "write": LEGACY, "read": LEGACY}
    ]
}"#;

pub struct RabbitMq {
    home: Arc<Home>,
    name: String,
    dir: PathBuf,
    amqp_port: u16,
    dist_port: u16,
    stream_port: u16,
    node: Option<Child>,
    frozen: bool,
    blocked: bool,
}

impl RabbitMq {
    /// The node for tests that neither stop nor slow it. Use exchange names of your own
    /// (see [`unique`]).
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<RabbitMq> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// A node for a test that disturbs it: nobody else has it meanwhile, and it is found healthy.
    pub async fn exclusive() -> Exclusive {
        let turn = TURNS.acquire().await.expect("never closed");
        let idle = IDLE.lock().unwrap().pop();
        let node = match idle {
            Some(node) => node,
            None => Self::start().await,
        };
        let mut exclusive = Exclusive { node: Some(node), _turn: turn };
        exclusive.heal().await;
        exclusive
    }

    /// A node of its own. Prefer the two above.
    pub async fn start() -> Self {
        let mut node = Self::new(Arc::new(Home::new()), "test", "");
        node.restart().await;
        node.streams_ready().await;
        node
    }

    /// A node that has not been started yet, with further lines of `rabbitmq.conf`.
    pub fn new(home: Arc<Home>, name: &str, config: &str) -> Self {
        let dir = home.dir().join(name);
        fs::create_dir(&dir).expect("a directory for a node");
        let [amqp_port, dist_port, stream_port] = free_ports();
        let definitions = dir.join("definitions.json");
        let config = format!(
            "stream.listeners.tcp.1 = 127.0.0.1:{stream_port}\n\
             load_definitions = {}\n{config}",
            definitions.display()
        );
        let json = |text: &str| serde_json::to_string(text).expect("JSON");
        let users = DEFINITIONS.replace(": RIGHTS", &format!(": {}", json(RIGHTS)));
        let users = users.replace(": LEGACY", &format!(": {}", json(LEGACY_RIGHTS)));
        fs::write(definitions, users).expect("its users");
        for (file, content) in
            [("enabled_plugins", "[rabbitmq_stream]."), ("rabbitmq.conf", &config)]
        {
            fs::write(dir.join(file), content).expect("a file for RabbitMQ");
        }
        Self {
            home,
            name: format!("{name}@localhost"),
            dir,
            amqp_port,
            dist_port,
            stream_port,
            node: None,
            frozen: false,
            blocked: false,
        }
    }

    /// Neither stopped nor killed.
    pub fn is_started(&self) -> bool {
        self.node.is_some()
    }

    /// Can be asked.
    pub fn is_running(&self) -> bool {
        self.is_started() && !self.frozen
    }

    /// As Erlang knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For gateways: of a user with no more than [`RIGHTS`].
    pub fn url(&self) -> String {
        self.url_of("myxi", "%2f")
    }

    /// The same beside direct exchanges whose names begin with [`LEGACY`].
    pub fn legacy_url(&self) -> String {
        self.url_of("legacy", "%2f")
    }

    /// Of a user whose password is its name, on a virtual host.
    pub fn url_of(&self, user: &str, vhost: &str) -> String {
        format!("amqp://{user}:{user}@127.0.0.1:{}/{vhost}", self.amqp_port)
    }

    pub fn port(&self) -> u16 {
        self.amqp_port
    }

    /// Where it speaks the native protocol of streams; see [`super::stream_protocol`].
    pub fn stream_port(&self) -> u16 {
        self.stream_port
    }

    /// A connection of the test's own, as another program has one.
    pub async fn connect(&self) -> Connection {
        self.try_connect().await.expect("a connection to RabbitMQ")
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        sleep(SETTLE).await;
        if let Some(mut node) = self.node.take() {
            signal("KILL", &format!("-{}", node.id()));
            node.wait().expect("RabbitMQ ends");
        }
        self.frozen = false;
    }

    /// Stops it as an operator does.
    pub async fn stop(&mut self) {
        if let Some(mut node) = self.node.take() {
            signal("TERM", &self.pid());
            let ended = async {
                while node.try_wait().expect("RabbitMQ's state").is_none() {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            within(START_DEADLINE, "RabbitMQ ends", ended).await;
        }
    }

    /// Starts it again, with its port and data, and comes back as soon as it takes AMQP
    /// connections. Its streams take a little longer.
    pub async fn restart(&mut self) {
        assert!(self.node.is_none(), "RabbitMQ is running");
        self.blocked = false;
        let _ = fs::remove_file(self.dir.join("pid"));
        let server = self.command("rabbitmq-server");
        self.node = Some(self.home.spawn(server, &self.dir.join("node.log")));
        let up = async {
            loop {
                if let Ok(connection) = self.try_connect().await {
                    let _ = connection.close(200, "OK".into()).await;
                    return;
                }
                if self.node.as_mut().is_some_and(|n| n.try_wait().is_ok_and(|s| s.is_some())) {
                    panic!("RabbitMQ ended; it said:\n{}", self.log());
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        within(START_DEADLINE, "RabbitMQ starts", up).await;
    }

    /// Stops its clock: it keeps its connections, takes new ones, and answers nothing.
    pub fn freeze(&mut self) {
        self.frozen = true;
        let pid = self.pid();
        signal("STOP", &pid);
        // One thread after another stops.
        while !is_stopped(&pid) {
            std::thread::yield_now();
        }
    }

    pub fn thaw(&mut self) {
        self.frozen = false;
        signal("CONT", &self.pid());
    }

    /// Raises the memory alarm.
    pub async fn block_publishers(&mut self) {
        self.blocked = true;
        self.ctl(&["set_vm_memory_high_watermark", "0"]).await;
    }

    pub async fn unblock_publishers(&mut self) {
        self.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
        self.blocked = false;
    }

    /// The queue of the replica that this id of a replica or a session begins with.
    pub async fn replica_queue(&self, id: &str) -> Option<String> {
        let queues = self.ctl(&["list_queues", "--no-table-headers", "name"]).await;
        let prefix = format!("myxi.replica.{}.", &id[..8]);
        queues.lines().find(|name| name.starts_with(&prefix)).map(str::to_owned)
    }

    /// Runs `rabbitmqctl`, and answers what it says.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        self.tool("rabbitmqctl", arguments).await
    }

    /// What an expression is worth in the node, which it may change.
    pub async fn eval(&self, erlang: &str) -> String {
        self.ctl(&["eval", erlang]).await.trim().to_owned()
    }

    /// Runs one of RabbitMQ's tools, and answers what it says.
    pub async fn tool(&self, tool: &str, arguments: &[&str]) -> String {
        let said = self.try_tool(tool, arguments).await;
        said.unwrap_or_else(|said| panic!("{tool} {arguments:?}: {said}"))
    }

    /// The same, of what may fail: whatever it refers to may be gone by then.
    pub async fn try_tool(&self, tool: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.command(tool);
        command.arg("-q").args(arguments).stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = run.await.expect("it is awaited").expect("it runs");
        let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (said(&output.stdout), said(&output.stderr));
        if output.status.success() { Ok(out) } else { Err(out + &err) }
    }

    /// The keys that lead from an exchange to queues of this name, or that begins so.
    pub async fn bindings(&self, exchange: &str, queue: &str) -> Vec<String> {
        let columns = ["source_name", "destination_name", "routing_key"];
        let list =
            self.ctl(&[&["list_bindings", "--no-table-headers"], &columns[..]].concat()).await;
        let bindings = list.lines().filter_map(|line| {
            let mut columns = line.split('\t');
            let [source, destination] = [columns.next()?, columns.next()?];
            let of_these = source == exchange && destination.starts_with(queue);
            of_these.then(|| columns.next().unwrap_or_default().to_owned())
        });
        bindings.collect()
    }

    /// The connections whose name has this in it, as the broker knows them.
    pub async fn connections(&self, name: &str) -> Vec<String> {
        let list = self.ctl(&["list_connections", "pid", "client_properties"]).await;
        let named = list.lines().filter(|line| line.contains(name));
        named.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// Publishes (routing key, body) as a client that does not know that a routing key is
    /// UTF-8. No library is one: this speaks AMQP by itself, all in one breath.
    pub async fn publish_bytes(&self, exchange: &str, messages: &[(&[u8], &[u8])]) {
        let bare = |&(key, body)| (key, b"\0\0".as_slice(), body);
        self.publish_raw(exchange, &messages.iter().map(bare).collect::<Vec<_>>()).await;
    }

    /// The same of (routing key, properties as they travel, body).
    pub async fn publish_raw(&self, exchange: &str, messages: &[(&[u8], &[u8], &[u8])]) {
        let mut bytes = b"AMQP\0\0\x09\x01".to_vec();
        let mut frame = |kind: u8, channel: u16, parts: &[&[u8]]| {
            let payload = parts.concat();
            bytes.push(kind);
            bytes.extend(channel.to_be_bytes());
            bytes.extend((payload.len() as u32).to_be_bytes());
            bytes.extend(payload);
            bytes.push(0xce);
        };
        let short = |text: &[u8]| [&[text.len() as u8], text].concat();
        // start-ok, tune-ok, open; then a channel.
        let login = b"\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest\x05en_US";
        frame(1, 0, &[b"\0\x0a\0\x0b", login]);
        frame(1, 0, &[b"\0\x0a\0\x1f", b"\0\x08\0\x02\0\0\0\0"]);
        frame(1, 0, &[b"\0\x0a\0\x28", b"\x01/\0\0"]);
        frame(1, 1, &[b"\0\x14\0\x0a", b"\0"]);
        for (routing_key, properties, body) in messages {
            let (exchange, key) = (short(exchange.as_bytes()), short(routing_key));
            frame(1, 1, &[b"\0\x3c\0\x28\0\0", &exchange, &key, b"\0"]);
            frame(2, 1, &[b"\0\x3c\0\0", &(body.len() as u64).to_be_bytes(), properties]);
            frame(3, 1, &[body]);
        }
        frame(1, 1, &[b"\0\x14\0\x28", b"\0\xc8\0\0\0\0\0"]);

        let address = ("127.0.0.1", self.amqp_port);
        let mut socket = TcpStream::connect(address).await.expect("a connection to RabbitMQ");
        socket.write_all(&bytes).await.expect("written");
        let closed = async {
            let mut said = Vec::new();
            while !said.ends_with(b"\0\x14\0\x29\xce") {
                let read = socket.read_buf(&mut said).await.expect("what RabbitMQ says");
                assert!(read > 0, "no close-ok, but {said:?}");
            }
        };
        within(START_DEADLINE, "RabbitMQ has read all", closed).await;
    }

    /// Undoes what was done to it.
    pub async fn heal(&mut self) {
        if self.frozen {
            self.thaw();
        }
        if self.node.is_none() {
            self.restart().await;
        }
        if self.blocked {
            self.unblock_publishers().await;
        }
        self.streams_ready().await;
    }

    /// Waits until streams can be used, by using one.
    async fn streams_ready(&self) {
        let ready = async {
            while self.declare_stream("test.ready").await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        within(START_DEADLINE, "RabbitMQ's streams are ready", ready).await;
    }

    async fn declare_stream(&self, name: &str) -> lapin::Result<()> {
        let connection = self.try_connect().await?;
        let channel = connection.create_channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.into(), options, arguments).await?;
        connection.close(200, "OK".into()).await
    }

    async fn try_connect(&self) -> lapin::Result<Connection> {
        // lapin leaks a task for every connection that is refused.
        TcpStream::connect(("127.0.0.1", self.amqp_port)).await?;
        let url = self.url_of("guest", "%2f");
        Connection::connect(&url, ConnectionProperties::default()).await
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.home.command(&format!("{SCRIPTS}/{program}"), &self.dir);
        command
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.amqp_port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_CONFIG_FILE", self.dir.join("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.dir.join("enabled_plugins"))
            .env("RABBITMQ_LOG_BASE", self.dir.join("log"))
            .env("RABBITMQ_MNESIA_BASE", self.dir.join("data"))
            .env("RABBITMQ_PID_FILE", self.dir.join("pid"))
            // Erlang's schedulers spin while they wait, unless told not to.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none +sbwtdcpu none +sbwtdio none");
        command
    }

    /// The Erlang machine itself, without the scripts around it.
    fn pid(&self) -> String {
        let pid = fs::read_to_string(self.dir.join("pid")).expect("RabbitMQ's pid file");
        pid.trim().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("node.log")).unwrap_or_default()
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if let Some(mut node) = self.node.take() {
            let group = format!("-{}", node.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = node.wait();
        }
    }
}

/// As many tests at a time disturb a node; others wait, and hold up a thread each.
static TURNS: Semaphore = Semaphore::const_new(2);
/// Those that nobody has.
static IDLE: Mutex<Vec<RabbitMq>> = Mutex::new(Vec::new());

/// See [`RabbitMq::exclusive`].
pub struct Exclusive {
    /// There until it is given back.
    node: Option<RabbitMq>,
    _turn: SemaphorePermit<'static>,
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        IDLE.lock().unwrap().extend(self.node.take());
    }
}

impl Deref for Exclusive {
    type Target = RabbitMq;

    fn deref(&self) -> &RabbitMq {
        self.node.as_ref().expect("it is there")
    }
}

impl DerefMut for Exclusive {
    fn deref_mut(&mut self) -> &mut RabbitMq {
        self.node.as_mut().expect("it is there")
    }
}

fn signal(name: &str, pid: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), "--", pid]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

fn is_stopped(pid: &str) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("Linux");
    tasks.flatten().all(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('T'))
    })
}
