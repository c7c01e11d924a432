//! A quick look at the release gateway's speed: `cargo bench --bench smoke`.
//!
//! Starts the real binary with the memory bus, and from this process an application and
//! its clients. Prints deliveries per second, gateway CPU per delivery (both as the
//! operating system counts them) and memory per idle connection. Absolute figures of one
//! machine: good for comparing two commits on it, for nothing else.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use myxi::proto::{
    CheckSubscriptionsRequest, CheckSubscriptionsResponse, Decision, HandleActionRequest,
    HandleActionResponse, PushEventRequest, SessionClosedRequest, SessionClosedResponse,
    SessionOpenedRequest, SessionOpenedResponse,
    action_handler_server::{ActionHandler, ActionHandlerServer},
    gateway_client::GatewayClient,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server, server::TcpIncoming},
};

const SUBSCRIBERS: usize = 500;
const OUTSTANDING: usize = 8;
const EVENT_BYTES: usize = 128;
const IDLE_CONNECTIONS: usize = 5_000;
const RUN: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let application = TcpListener::bind("127.0.0.1:0").await?;
    let handler = format!("http://{}", application.local_addr()?);
    tokio::spawn(
        Server::builder().serve_with_incoming(
            ActionHandlerServer::new(AllowAll),
            TcpIncoming::from(application),
        ),
    );
    let gateway = Gateway::start(&handler)?;
    let addresses = gateway.addresses().await;

    for outstanding in [OUTSTANDING, 1] {
        fan_out(&gateway, addresses, outstanding).await?;
    }
    idle(&gateway, addresses).await
}

/// Pushes events to many subscribers of one key, a few events on their way at any time.
async fn fan_out(
    gateway: &Gateway,
    addresses: Addresses,
    outstanding: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let progress = Arc::new(Progress::default());
    let mut clients = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let stream = subscribe(addresses.clients, "fan-out").await?;
        clients.push(tokio::spawn(count(stream, progress.clone())));
    }
    let api = GatewayClient::connect(format!("http://{}", addresses.grpc)).await?;
    let (began, cpu) = (Instant::now(), gateway.cpu());
    let own_cpu = cpu_of("self");
    let pushers: Vec<_> =
        (0..outstanding).map(|_| tokio::spawn(push(api.clone(), progress.clone()))).collect();
    tokio::time::sleep(RUN).await;
    let (elapsed, cpu) = (began.elapsed(), gateway.cpu() - cpu);
    let own_cpu = cpu_of("self") - own_cpu;
    pushers.iter().chain(&clients).for_each(tokio::task::JoinHandle::abort);
    let deliveries = progress.frames.load(Ordering::Relaxed);
    println!(
        "{SUBSCRIBERS} subscribers of one key, {EVENT_BYTES} B, {outstanding} outstanding: \
         {:.0} deliveries/s, {:.2} µs of gateway CPU each (the clients: {:.2} µs)",
        deliveries as f64 / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / deliveries as f64,
        own_cpu.as_secs_f64() * 1e6 / deliveries as f64,
    );
    Ok(())
}

/// Each event waits until everyone has the one before it from this pusher.
async fn push(mut api: GatewayClient<Channel>, progress: Arc<Progress>) {
    let payload = format!("{{\"x\":\"{}\"}}", "x".repeat(EVENT_BYTES - 8));
    loop {
        let request = PushEventRequest {
            exchange: "bench".into(),
            routing_key: "fan-out".into(),
            event: "E".into(),
            payload: payload.clone(),
            event_id: None,
        };
        let target = SUBSCRIBERS * (progress.pushed.fetch_add(1, Ordering::Relaxed) + 1);
        api.push_event(request).await.expect("pushed");
        progress.reached(target).await;
    }
}

async fn idle(gateway: &Gateway, addresses: Addresses) -> Result<(), Box<dyn std::error::Error>> {
    let before = gateway.memory();
    let began = Instant::now();
    let mut clients = Vec::new();
    for number in 0..IDLE_CONNECTIONS {
        clients.push(subscribe(addresses.clients, &format!("idle-{number}")).await?);
    }
    let elapsed = began.elapsed();
    println!(
        "{IDLE_CONNECTIONS} idle connections with a subscription each: {:.1} KiB each; \
         {:.0} of them opened per second, one after another",
        (gateway.memory() - before) as f64 / IDLE_CONNECTIONS as f64,
        IDLE_CONNECTIONS as f64 / elapsed.as_secs_f64(),
    );
    Ok(())
}

/// How far the subscribers of one run are, all together.
#[derive(Default)]
struct Progress {
    pushed: AtomicUsize,
    frames: AtomicUsize,
    moved: Notify,
}

impl Progress {
    async fn reached(&self, frames: usize) {
        loop {
            let moved = self.moved.notified();
            if self.frames.load(Ordering::Relaxed) >= frames {
                return;
            }
            moved.await;
        }
    }
}

/// Connects and subscribes, with as little as that takes.
async fn subscribe(gateway: SocketAddr, key: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(gateway).await?;
    let handshake = format!(
        "GET / HTTP/1.1\r\nHost: {gateway}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(handshake.as_bytes()).await?;
    let action = format!(
        "{{\"action\":\"Subscribe\",\"payload\":{{\"exchange\":\"bench\",\"routing_key\":\"{key}\"}}}}"
    );
    let mut frame = vec![0x81, 0x80 | u8::try_from(action.len()).expect("a short frame")];
    // A mask of zeroes is a mask.
    frame.extend([0; 4]);
    frame.extend(action.as_bytes());
    stream.write_all(&frame).await?;
    let mut seen = Vec::new();
    while !seen.windows(12).any(|window| window == b"\"Subscribed\"") || !seen.ends_with(b"}}") {
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(stream)
}

/// Counts frames by their bytes: all are of one length.
async fn count(mut stream: TcpStream, progress: Arc<Progress>) {
    let (mut buffer, mut frame, mut rest) = (vec![0; 16 * 1024], 0, 0);
    loop {
        let Ok(bytes) = stream.read(&mut buffer).await else { return };
        if bytes == 0 {
            return;
        }
        if frame == 0 {
            assert_eq!(buffer[1], 126, "a frame with a length of two bytes");
            frame = 4 + usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
        }
        let whole = (rest + bytes) / frame;
        rest = (rest + bytes) % frame;
        let before = progress.frames.fetch_add(whole, Ordering::Relaxed);
        // Only a whole event more is news to a pusher.
        if before / SUBSCRIBERS != (before + whole) / SUBSCRIBERS {
            progress.moved.notify_waiters();
        }
    }
}

#[derive(Clone, Copy)]
struct Addresses {
    clients: SocketAddr,
    grpc: SocketAddr,
}

/// The gateway's process, killed on drop.
struct Gateway {
    child: Child,
    log: std::sync::Mutex<Option<std::process::ChildStderr>>,
}

impl Gateway {
    fn start(handler: &str) -> std::io::Result<Self> {
        let flags = ["serve", "--exchange=bench", "--log-format=json", "--worker-threads=1"];
        let mut child = Command::new(env!("CARGO_BIN_EXE_myxi"))
            .args(flags)
            .args(["--action-handler", handler])
            .args([
                "--listen=127.0.0.1:0",
                "--grpc-listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
            ])
            .stderr(Stdio::piped())
            .spawn()?;
        let log = std::sync::Mutex::new(child.stderr.take());
        Ok(Self { child, log })
    }

    /// As the gateway says in its log. The rest of the log is read and dropped.
    async fn addresses(&self) -> Addresses {
        let log = self.log.lock().expect("not poisoned").take().expect("taken once");
        let log = tokio::process::ChildStderr::from_std(log).expect("a pipe");
        let mut lines = BufReader::new(log).lines();
        loop {
            let line = lines.next_line().await.expect("readable").expect("the gateway runs");
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            let address = |name: &str| line[name].as_str()?.parse().ok();
            if let (Some(clients), Some(grpc)) = (address("clients"), address("grpc")) {
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Addresses { clients, grpc };
            }
        }
    }

    fn cpu(&self) -> Duration {
        cpu_of(&self.child.id().to_string())
    }

    /// Proportional set size in KiB.
    fn memory(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let rollup = std::fs::read_to_string(path).expect("Linux");
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        pss.and_then(|pss| pss.split_whitespace().next()?.parse().ok()).expect("a Pss line")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process.
fn cpu_of(process: &str) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux");
    // Behind the name in brackets, the 12th and the 13th field.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks: u32 =
        fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// An application that lets everybody do everything.
struct AllowAll;

#[tonic::async_trait]
impl ActionHandler for AllowAll {
    async fn handle_action(
        &self,
        _: Request<HandleActionRequest>,
    ) -> Result<Response<HandleActionResponse>, Status> {
        Ok(Response::new(HandleActionResponse::default()))
    }

    async fn check_subscriptions(
        &self,
        request: Request<CheckSubscriptionsRequest>,
    ) -> Result<Response<CheckSubscriptionsResponse>, Status> {
        let decisions = vec![Decision::Allow.into(); request.get_ref().topics.len()];
        Ok(Response::new(CheckSubscriptionsResponse { decisions }))
    }

    async fn session_opened(
        &self,
        _: Request<SessionOpenedRequest>,
    ) -> Result<Response<SessionOpenedResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn session_closed(
        &self,
        _: Request<SessionClosedRequest>,
    ) -> Result<Response<SessionClosedResponse>, Status> {
        Err(Status::unimplemented("not wanted"))
    }
}
