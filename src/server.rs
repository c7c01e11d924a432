//! Puts the parts together: the only file that names them all. Starts them in order.

mod accepting;
mod descriptors;
mod drain;
mod parts;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::{sync::watch, task::JoinSet};

use self::{
    accepting::{accept, attached},
    drain::Drain,
    parts::{Applications, Runtimes, access, bindings, exchanges, logs, sessions, start_bus},
};
pub use self::{descriptors::bounds, parts::edge};
use crate::{
    admin::{self, About, Admin, History, Tail, Topics},
    config::Config,
    gateway_api::{
        self, GatewayApi,
        peers::{LocalAnswers, Peers},
    },
    health::Health,
    hub::{Hub, Interest},
    ids::ReplicaId,
    metrics::Metrics,
    net::{
        inherited::{ADMIN, CLIENTS, GATEWAY, Inherited},
        listener::Listener,
    },
    protocol::ErrorCode,
    ring::Ring,
    session::directory::Directory,
    signals::StopSignals,
    workers::{Worker, Workers},
};

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
    /// Returns once everything listens; neither the broker nor the application need be up.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let inherited = &config.inherited;
        let clients = listen(inherited, CLIENTS, "--listen", config.listen)?;
        let grpc = listen(inherited, GATEWAY, "--grpc-listen", config.grpc.listen)?;
        let admin = listen(inherited, ADMIN, "--admin-listen", config.admin.listen)?;
        let addresses = (clients.local_addr()?, grpc.local_addr()?, admin.local_addr()?);

        let replica = ReplicaId::random();
        let metrics = Arc::new(Metrics::new(ErrorCode::NAMES));
        let directory = Arc::new(Directory::default());
        let edge = Arc::new(edge(&config, metrics.clone()));
        let sessions = Arc::new(sessions(&config, replica, directory.clone()));
        let applications = Applications::new(&config, own_ports(addresses), metrics.clone());
        let max_outbox = config.limits.max_outbox;
        let interest = Interest::new(exchanges(&config));
        let ring = Arc::new(Ring::new(logs(&config), config.limits.resume_buffer));
        let bindings = bindings(&config);
        let hub = || Arc::new(Hub::new(interest.clone(), max_outbox, metrics.clone()));
        let hubs: Vec<_> = (0..config.worker_threads).map(|_| hub()).collect();
        let runtimes = Runtimes {
            limits: config.limits.clone(),
            patience: config.application.timeout,
            edge: edge.clone(),
            sessions: sessions.clone(),
            applications: applications.clone(),
            ring: ring.clone(),
            bindings: bindings.clone(),
            metrics: metrics.clone(),
        };
        let workers = workers(&hubs, &runtimes)?;
        let topics = Arc::new(Topics::new(hubs));
        let tail = Arc::new(Tail::new(topics.clone()));
        let workers = Workers::new(workers, interest, ring.clone(), tail.clone(), metrics.clone());
        let workers = Arc::new(workers);
        let answers = Arc::new(LocalAnswers(directory.clone()));
        let (bus, replicas) =
            start_bus(&config, replica, bindings, workers.clone(), answers, &ring);

        let health = Arc::new(Health::new(
            bus.clone(),
            applications.shared.state.clone(),
            config.ready_requires_bus,
        ));
        if config.health_on_listen {
            // Nothing is accepted yet: nobody was told otherwise.
            let _ = edge.health.set(health.clone());
        }
        let mut tasks = JoinSet::new();
        let (stop_accepting, accepting_stopped) = watch::channel(false);
        let bounds = bounds(&config);
        let handshakes = bounds.handshakes.clone();
        let handed_over = inherited.get(CLIENTS).is_some();
        let of_bus = health.clone();
        let begin = async move {
            if handed_over {
                attached(&of_bus).await;
            }
        };
        tasks.spawn(accept(clients, begin, bounds, workers, accepting_stopped));
        let (stop_grpc, grpc_stopped) = watch::channel(false);
        let peers = Peers::new(replica, directory.clone(), replicas);
        let max_event_size = config.limits.max_event_size;
        let api = GatewayApi { bus: bus.clone(), peers, max_event_size, metrics: metrics.clone() };
        let admin_api = Admin {
            access: access(&config, addresses.2),
            about: About {
                replica,
                clients: addresses.0,
                application: config.application.endpoint.to_string(),
                max_in_flight: config.application.max_in_flight,
            },
            health: health.clone(),
            history: History::new(metrics.totals()),
            metrics,
            directory,
            ring,
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
            given(grpc_stopped),
        ));

        let (clients, grpc_address, admin) = addresses;
        tracing::info!(%replica, %clients, grpc = %grpc_address, %admin, "listening");
        let drain = Drain {
            config: config.drain,
            action_timeout: config.application.timeout,
            max_connections: config.limits.max_connections,
            max_pending_handshakes: config.limits.max_pending_handshakes,
            health,
            stop_accepting,
            handshakes,
            edge,
            sessions,
            stop_grpc,
            grpc: grpc_task,
            bus,
            tasks,
            complaints: applications.shared.complaints.clone(),
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

/// On the socket of this name where there is one.
fn listen(
    inherited: &Inherited,
    name: &str,
    flag: &str,
    address: SocketAddr,
) -> anyhow::Result<Listener> {
    match inherited.get(name) {
        Some(socket) => Listener::inherit(socket)
            .with_context(|| format!("cannot listen on the socket {name} (LISTEN_FDS)")),
        None => {
            Listener::bind(address).with_context(|| format!("cannot listen on {address} ({flag})"))
        }
    }
}

fn own_ports(
    (clients, grpc, admin): (SocketAddr, SocketAddr, SocketAddr),
) -> Arc<[(SocketAddr, &'static str)]> {
    [(clients, "--listen"), (grpc, "--grpc-listen"), (admin, "--admin-listen")].into()
}

/// One for each hub: the first is this runtime, the others are threads.
fn workers(hubs: &[Arc<Hub>], runtimes: &Runtimes) -> anyhow::Result<Vec<Worker>> {
    let mut workers = Vec::with_capacity(hubs.len());
    for (number, hub) in hubs.iter().cloned().enumerate() {
        if number == 0 {
            workers.push(Worker::here(runtimes.host(hub, number)));
            continue;
        }
        let (runtimes, of_host) = (runtimes.clone(), hub.clone());
        let host = move || runtimes.host(of_host, number);
        let worker = Worker::spawn(format!("sessions-{number}"), hub, host);
        workers.push(worker.context("cannot start a worker thread")?);
    }
    Ok(workers)
}

/// Resolves when the word is given, or when nobody is left to give it.
async fn given(mut word: watch::Receiver<bool>) {
    let _ = word.wait_for(|given| *given).await;
}
