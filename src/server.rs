//! Puts the parts together: the only file that names them all. Starts them in order.

mod accepting;
mod descriptors;
mod drain;
mod signals;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::Context;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use self::{accepting::accept, drain::Drain};
pub use self::{descriptors::bounds, signals::StopSignals};
use crate::{
    admin::{self, About, Access, Admin, History, Tail, Topics},
    application::{
        ActionHandler,
        grpc::{ApplicationState, CallLimit, GrpcActionHandler, GrpcHandlerConfig, Shared},
    },
    bus::{
        EventBus, Replicas,
        memory::MemoryBus,
        rabbitmq::{RabbitMqBus, RabbitMqConfig},
    },
    complaints::Complaints,
    config::{BusConfig, Config, HandlerConfig, Limits, SessionOpened},
    edge::{Door, Front, Subprotocols},
    event::Exchange,
    gateway_api::{
        self, GatewayApi,
        peers::{LocalAnswers, Peers},
    },
    health::Health,
    hub::Hub,
    ids::{ReplicaId, SessionIds},
    metrics::Metrics,
    protocol::ErrorCode,
    session::{actions::Services, directory::Directory, driver::SessionSettings},
    workers::{Worker, Workers},
};

/// Connections that may wait to be accepted, as far as the system lets them (on Linux
/// `net.core.somaxconn`, 4096 unless changed). Whoever finds no room tries again after a
/// second, then after three: everybody who lost a replica comes at once.
const BACKLOG: u32 = 4096;

/// Serves until a signal asks for an end.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let signals = StopSignals::new()?;
    Server::start(config).await?.run_until(signals).await
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
        let metrics = Arc::new(Metrics::new(ErrorCode::NAMES));
        let directory = Arc::new(Directory::default());
        let front = Arc::new(front(&config, replica, directory.clone(), metrics.clone()));
        let handlers = Handlers::new(&config, own_ports(addresses), metrics.clone());
        let max_outbox = config.limits.max_outbox;
        let hub = || Arc::new(Hub::new(exchanges(&config), max_outbox, metrics.clone()));
        let hubs: Vec<_> = (0..config.worker_threads).map(|_| hub()).collect();
        let here = Door::new(hubs[0].clone(), &config.limits, front.clone(), &handlers, 0);
        let workers = workers(&config, here, &hubs[1..], &front, &handlers)?;
        let topics = Arc::new(Topics::new(hubs));
        let tail = Arc::new(Tail::new(topics.clone()));
        let workers = Arc::new(Workers::new(workers, tail.clone(), metrics.clone()));
        let answers = Arc::new(LocalAnswers(directory.clone()));
        let (bus, replicas) = start_bus(&config, replica, workers.clone(), answers);

        let health = Arc::new(Health::new(
            bus.clone(),
            handlers.shared.state.clone(),
            config.ready_requires_bus,
        ));
        if config.health_on_listen {
            // Nothing is accepted yet: nobody was told otherwise.
            let _ = front.health.set(health.clone());
        }
        let mut tasks = JoinSet::new();
        let (stop_accepting, accepting_stopped) = watch::channel(false);
        tasks.spawn(accept(clients, bounds(&config), workers, accepting_stopped));
        let (stop_grpc, grpc_stopped) = watch::channel(false);
        let peers = Peers::new(replica, directory.clone(), replicas);
        let max_event_size = config.limits.max_event_size;
        let api = GatewayApi { bus: bus.clone(), peers, max_event_size, metrics: metrics.clone() };
        let admin_api = Admin {
            access: access(&config, addresses.2),
            about: About {
                replica,
                clients: addresses.0,
                application: config.action_handler.endpoint.to_string(),
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
            complaints: handlers.shared.complaints.clone(),
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

/// Starts one handler on each runtime: each has a connection of its own.
#[derive(Clone)]
struct Handlers {
    config: GrpcHandlerConfig,
    shared: Shared,
}

impl Handlers {
    fn new(
        config: &Config,
        own_ports: Arc<[(SocketAddr, &'static str)]>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let HandlerConfig { endpoint, token, timeout, max_in_flight } =
            config.action_handler.clone();
        let shared = Shared {
            calls: Arc::new(CallLimit::new(max_in_flight)),
            state: Arc::new(ApplicationState::new(&endpoint, config.worker_threads)),
            complaints: Complaints::of("failed calls to the application"),
            metrics,
        };
        // Half an outbox: a reply always fits one that is not half full.
        let max_reply_size = config.limits.max_outbox / 2;
        let config = GrpcHandlerConfig { endpoint, token, timeout, max_reply_size, own_ports };
        Self { config, shared }
    }

    /// On the runtime that this is called in, which has this number.
    fn start(&self, number: usize) -> Arc<dyn ActionHandler> {
        Arc::new(GrpcActionHandler::start(self.config.clone(), self.shared.clone(), number))
    }
}

fn own_ports(
    (clients, grpc, admin): (SocketAddr, SocketAddr, SocketAddr),
) -> Arc<[(SocketAddr, &'static str)]> {
    [(clients, "--listen"), (grpc, "--grpc-listen"), (admin, "--admin-listen")].into()
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
        complaints: Complaints::of("refused handshakes"),
        metrics,
    }
}

impl Door {
    fn new(
        hub: Arc<Hub>,
        limits: &Limits,
        front: Arc<Front>,
        handlers: &Handlers,
        number: usize,
    ) -> Arc<Self> {
        let metrics = front.metrics.clone();
        let services = Services {
            hub,
            handler: handlers.start(number),
            max_subscriptions: limits.max_subscriptions,
            max_event_size: limits.max_event_size,
            complaints: handlers.shared.complaints.clone(),
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
        let door = move || Door::new(of_door, &limits, front, &handlers, number);
        let worker = Worker::spawn(format!("sessions-{number}"), hub, door);
        workers.push(worker.context("cannot start a worker thread")?);
    }
    Ok(workers)
}

fn exchanges(config: &Config) -> Vec<Exchange> {
    config.exchanges.iter().map(|exchange| exchange.name.clone()).collect()
}

fn start_bus(
    config: &Config,
    replica: ReplicaId,
    listener: Arc<Workers>,
    answers: Arc<LocalAnswers>,
) -> (Arc<dyn EventBus>, Arc<dyn Replicas>) {
    match &config.bus {
        BusConfig::Memory => {
            let bus = MemoryBus::start(exchanges(config), listener);
            (bus.clone(), bus)
        }
        BusConfig::RabbitMq { urls } => {
            let max_event_size = config.limits.max_event_size;
            let config = RabbitMqConfig {
                urls: urls.clone(),
                exchanges: config.exchanges.clone(),
                replica,
                max_event_size,
            };
            let bus = RabbitMqBus::start(config, listener, answers);
            (bus.clone(), bus)
        }
    }
}

/// Who may ask the admin listener, which listens at `address`.
fn access(config: &Config, address: SocketAddr) -> Access {
    Access {
        token: config.admin.token.clone(),
        hosts: config.admin_hosts.clone(),
        on_loopback: address.ip().to_canonical().is_loopback(),
        complaints: Complaints::of("requests with a wrong token"),
    }
}

/// Comes back when the word is given, or when nobody is left to give it.
async fn told(mut word: watch::Receiver<bool>) {
    let _ = word.wait_for(|given| *given).await;
}
