//! Puts the parts together: the only file that names them all. Starts them in order.

mod drain;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::Context;
use async_trait::async_trait;
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{Signal, SignalKind, signal},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use self::drain::Drain;
use crate::{
    accept::Bounds,
    action_handler::{
        ActionHandler,
        grpc::{CallLimit, GrpcActionHandler, GrpcHandlerConfig},
    },
    actions::Services,
    admin::{self, About, Access, Admin, History, Tail, Topics},
    bus::{
        BusListener, BusNotice, EventBus,
        memory::MemoryBus,
        rabbitmq::{RabbitMqBus, RabbitMqConfig},
    },
    config::{BusConfig, Config, HandlerConfig, Limits, SessionOpened},
    directory::Directory,
    event::Exchange,
    gateway_api::{self, GatewayApi},
    health::Health,
    http::{Door, Front, Subprotocols},
    hub::{Delivery, Hub},
    ids::{ReplicaId, SessionId, SessionIds},
    metrics::Metrics,
    peers::{self, LocalSessions, Peers, SessionCommand},
    protocol,
    rate_limit::RateLimit,
    session::SessionSettings,
    worker::{Notice, Worker},
};

/// Descriptors kept for listeners, the broker, the application and the Gateway service.
const RESERVED_DESCRIPTORS: usize = 64;

/// Two of a worker's runtime, one for its connection to the application, and one more
/// while that is made anew.
const DESCRIPTORS_PER_WORKER: usize = 4;

/// Connections that may wait to be accepted, as far as the system lets them (on Linux
/// `net.core.somaxconn`, 4096 unless changed). Whoever finds no room tries again after a
/// second, then after three: everybody who lost a replica comes at once.
const BACKLOG: u32 = 4096;

/// Serves until a signal asks for an end.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let signals = StopSignals::new()?;
    Server::start(config).await?.run_until(signals).await
}

/// What asks a process to end: SIGINT and SIGTERM.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// From here on they do not end the process by themselves.
    pub fn new() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A running gateway. Dropped without a drain, it ends at once.
pub struct Server {
    /// Where it listens: the ports are real ones, also where the configuration says 0.
    pub clients: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    drain: Drain,
}

impl Server {
    /// Comes back once everything listens; neither the broker nor the application need be up.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let clients = bind("--listen", config.listen)?;
        let grpc = bind("--grpc-listen", config.grpc.listen)?;
        let admin = bind("--admin-listen", config.admin.listen)?;
        let addresses = (clients.local_addr()?, grpc.local_addr()?, admin.local_addr()?);

        let replica = ReplicaId::random();
        let metrics = Arc::new(Metrics::default());
        let directory = Arc::new(Directory::default());
        let front = Arc::new(front(&config, replica, directory.clone(), metrics.clone()));
        let handlers = Handlers::new(&config, metrics.clone());
        let max_outbox = config.limits.max_outbox;
        let hub = || Arc::new(Hub::new(exchanges(&config), max_outbox, metrics.clone()));
        let hubs: Vec<_> = (0..config.worker_threads).map(|_| hub()).collect();
        let here = Door::new(hubs[0].clone(), &config.limits, front.clone(), handlers.make());
        let handler = here.services.handler.clone();
        let workers = Arc::new(workers(&config, here, &hubs[1..], &front, &handlers)?);
        let topics = Arc::new(Topics::new(hubs));
        let tail = Arc::new(Tail::new(topics.clone()));
        let fan_out = FanOut {
            workers: workers.clone(),
            sessions: directory.clone(),
            tail: tail.clone(),
            metrics: metrics.clone(),
        };
        let bus = start_bus(&config, replica, Arc::new(fan_out));

        let health = Arc::new(Health::new(bus.clone(), handler, config.ready_requires_bus));
        if config.health_on_listen {
            // Nothing is accepted yet: nobody was told otherwise.
            let _ = front.health.set(health.clone());
        }
        let mut tasks = JoinSet::new();
        let (stop_accepting, accepting_stopped) = watch::channel(false);
        tasks.spawn(accept(clients, bounds(&config), workers, accepting_stopped));
        let (stop_grpc, grpc_stopped) = watch::channel(false);
        let peers = Peers::new(replica, directory.clone(), bus.clone());
        let max_event_size = config.limits.max_event_size;
        let api = GatewayApi { bus: bus.clone(), peers, max_event_size, metrics: metrics.clone() };
        let admin_api = Admin {
            access: access(&config, addresses.2),
            about: About {
                replica,
                clients: addresses.0,
                max_in_flight: config.action_handler.max_in_flight,
            },
            health: health.clone(),
            history: History::new(metrics.totals()),
            metrics,
            directory,
            topics,
            tail,
            gateway: api.clone(),
        };
        tasks.spawn(admin::serve(admin, admin_api));
        let mut grpc_task = JoinSet::new();
        grpc_task.spawn(gateway_api::serve(
            grpc,
            api,
            config.grpc.token.clone(),
            told(grpc_stopped),
        ));

        let (clients, grpc_address, admin) = addresses;
        tracing::info!(%replica, %clients, grpc = %grpc_address, %admin, "listening");
        let drain = Drain {
            config: config.drain,
            action_timeout: config.action_handler.timeout,
            max_connections: config.limits.max_connections,
            health,
            stop_accepting,
            front,
            stop_grpc,
            grpc: grpc_task,
            bus,
            tasks,
        };
        Ok(Self { clients, grpc: grpc_address, admin, drain })
    }

    /// Serves until a signal asks for an end, and then drains. A second signal ends at once,
    /// which is an error: clients may have lost what a drain would have given them.
    pub async fn run_until(self, mut signals: StopSignals) -> anyhow::Result<()> {
        signals.next().await;
        tracing::info!("draining; a second signal ends at once");
        tokio::select! {
            () = self.drain() => tracing::info!("drained"),
            () = signals.next() => anyhow::bail!("ended by a second signal, before the drain was over"),
        }
        Ok(())
    }

    /// Sends the clients away in turn, finishes what was begun, and ends.
    pub async fn drain(self) {
        self.drain.run().await;
    }
}

fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| format!("cannot listen on {address} ({flag})"))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // What is left of a former gateway's connections must not keep the next one out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Makes one handler for each runtime: each has a connection of its own, all share the
/// bound on calls in flight.
#[derive(Clone)]
struct Handlers {
    config: GrpcHandlerConfig,
    calls: Arc<CallLimit>,
    metrics: Arc<Metrics>,
}

impl Handlers {
    fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let HandlerConfig { endpoint, token, timeout, max_in_flight } =
            config.action_handler.clone();
        // Half an outbox: a reply always fits one that is not half full.
        let max_reply_size = config.limits.max_outbox / 2;
        let config = GrpcHandlerConfig { endpoint, token, timeout, max_reply_size };
        Self { config, calls: Arc::new(CallLimit::new(max_in_flight)), metrics }
    }

    fn make(&self) -> Arc<dyn ActionHandler> {
        let Self { config, calls, metrics } = self.clone();
        Arc::new(GrpcActionHandler::new(config, calls, metrics))
    }
}

/// What all connections share, as it is configured.
pub fn front(
    config: &Config,
    replica: ReplicaId,
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
) -> Front {
    let session = SessionSettings {
        ask_application_first: config.session_opened == SessionOpened::Required,
        ping_interval: config.limits.ping_interval,
        recheck_interval: config.recheck_interval,
        max_unread_actions: config.limits.max_unread_actions,
        // A few of the largest messages, or many small ones.
        max_unread_bytes: 4 * config.limits.max_message_size,
    };
    let places = || Arc::new(Semaphore::new(config.limits.max_connections));
    Front {
        paths: config.paths.clone(),
        subprotocols: Subprotocols::new(config.subprotocols.clone()),
        health: OnceLock::new(),
        origins: config.origins.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        forward_headers: config.forward_headers.clone(),
        handshake_timeout: config.limits.handshake_timeout,
        max_message_size: config.limits.max_message_size,
        max_outbox: config.limits.max_outbox,
        connections: places(),
        farewells: places(),
        session: Arc::new(session),
        session_ids: SessionIds::new(replica),
        directory,
        complaints: RateLimit::default(),
        metrics,
    }
}

impl Door {
    fn new(
        hub: Arc<Hub>,
        limits: &Limits,
        front: Arc<Front>,
        handler: Arc<dyn ActionHandler>,
    ) -> Arc<Self> {
        let metrics = front.metrics.clone();
        let services = Services {
            hub,
            handler,
            max_subscriptions: limits.max_subscriptions,
            max_event_size: limits.max_event_size,
            complaints: RateLimit::default(),
            metrics,
        };
        Arc::new(Self { front, services: Arc::new(services) })
    }
}

/// The first worker is this runtime, the others are threads, one for each further hub.
fn workers(
    config: &Config,
    here: Arc<Door>,
    hubs: &[Arc<Hub>],
    front: &Arc<Front>,
    handlers: &Handlers,
) -> anyhow::Result<Vec<Worker>> {
    let mut workers = vec![Worker::here(here)];
    for (number, hub) in (1..).zip(hubs.iter().cloned()) {
        let (limits, front, handlers) = (config.limits.clone(), front.clone(), handlers.clone());
        let of_door = hub.clone();
        let door = move || Door::new(of_door, &limits, front, handlers.make());
        let worker = Worker::spawn(format!("sessions-{number}"), hub, door);
        workers.push(worker.context("cannot start a worker thread")?);
    }
    Ok(workers)
}

fn exchanges(config: &Config) -> Vec<Exchange> {
    config.exchanges.iter().map(|exchange| exchange.name.clone()).collect()
}

/// Where the bus meets the sessions.
struct FanOut {
    workers: Arc<Vec<Worker>>,
    sessions: Arc<Directory>,
    tail: Arc<Tail>,
    metrics: Arc<Metrics>,
}

#[async_trait]
impl BusListener for FanOut {
    async fn notice(&self, notice: BusNotice) {
        let notice = match notice {
            // Whoever hears that the gateway is ready may subscribe at once.
            BusNotice::Attached(exchange) => {
                return self.workers.iter().for_each(|worker| worker.attached(&exchange));
            }
            BusNotice::Event(event) => {
                self.metrics.events_received.inc();
                self.tail.pass(&event);
                Notice::Event(Arc::new(Delivery::new(event)))
            }
            BusNotice::Gap(exchange) => Notice::Gap(exchange),
        };
        for worker in self.workers.iter() {
            worker.notice(&notice).await;
        }
    }

    async fn question(&self, question: Vec<u8>) -> Vec<u8> {
        peers::answer(&*self.sessions, &question)
    }
}

impl LocalSessions for Directory {
    fn perform(&self, id: SessionId, command: &SessionCommand) -> bool {
        let Some(client) = self.get(id) else { return false };
        let outbox = client.outbox();
        match command {
            SessionCommand::Send(event) => {
                outbox.try_push(protocol::event(&event.name, None, &event.payload))
            }
            SessionCommand::Disconnect(reason) => {
                outbox.seal(reason.clone());
                true
            }
        }
    }
}

fn start_bus(config: &Config, replica: ReplicaId, listener: Arc<FanOut>) -> Arc<dyn EventBus> {
    let exchanges = config.exchanges.clone();
    match &config.bus {
        BusConfig::Memory => MemoryBus::start(exchanges, listener),
        BusConfig::RabbitMq { urls } => {
            let max_event_size = config.limits.max_event_size;
            let config = RabbitMqConfig { urls: urls.clone(), exchanges, replica, max_event_size };
            RabbitMqBus::start(config, listener)
        }
    }
}

/// Who may ask the admin listener, which listens at `address`.
fn access(config: &Config, address: SocketAddr) -> Access {
    Access {
        token: config.admin.token.clone(),
        hosts: config.admin_hosts.clone(),
        on_loopback: address.ip().to_canonical().is_loopback(),
        complaints: RateLimit::default(),
    }
}

/// What may be open at once, within what the system allows this process.
pub fn bounds(config: &Config) -> Bounds {
    let limits = &config.limits;
    let reserved = RESERVED_DESCRIPTORS + DESCRIPTORS_PER_WORKER * config.worker_threads;
    let wanted = limits.max_connections + limits.max_pending_handshakes;
    let allowed = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(descriptors) => usize::try_from(descriptors).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of file descriptors");
            wanted + reserved
        }
    };
    // Half of very few, so that there is always room for a client.
    let sockets = wanted.min(allowed - reserved.min(allowed / 2));
    if sockets < limits.max_connections {
        tracing::warn!(
            "the system allows {allowed} file descriptors: no more than {sockets} connections \
             (raise it with ulimit -n, LimitNOFILE= or --ulimit nofile=)"
        );
    }
    Bounds {
        handshakes: Arc::new(Semaphore::new(limits.max_pending_handshakes)),
        sockets: Arc::new(Semaphore::new(sockets)),
    }
}

/// Hands each connection to the next worker, until it is told to stop.
async fn accept(
    listener: TcpListener,
    bounds: Bounds,
    workers: Arc<Vec<Worker>>,
    stop: watch::Receiver<bool>,
) {
    let serving = async {
        for worker in workers.iter().cycle() {
            let accepted = bounds.accept(&listener).await;
            if let Err(error) = worker.serve(accepted).await {
                tracing::warn!(%error, "a connection could not be handed to its worker");
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = told(stop) => {}
    }
}

/// Comes back when the word is given, or when nobody is left to give it.
async fn told(mut word: watch::Receiver<bool>) {
    let _ = word.wait_for(|given| *given).await;
}
