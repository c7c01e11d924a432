//! The parts of a gateway, each made as it is configured.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    admin::Access,
    application::{
        Application,
        grpc::{ApplicationState, CallLimit, GrpcApplication, GrpcConfig, Shared},
    },
    bus::{
        Bindings, EventBus, Replicas, SharedLog,
        memory::MemoryBus,
        rabbitmq::{ExchangeConfig, RabbitMqBus, RabbitMqConfig},
    },
    complaints::Complaints,
    config::{ApplicationConfig, BusConfig, Config, Limits, SessionOpened},
    edge::{Edge, Subprotocols},
    event::Exchange,
    gateway_api::peers::LocalAnswers,
    hub::Hub,
    ids::{ReplicaId, SessionIds},
    metrics::Metrics,
    ring::Ring,
    session::{Services, directory::Directory, driver::DriverSettings, life::Sessions},
    workers::{Host, Workers},
};

/// What decides over the clients' connections.
pub fn edge(config: &Config, metrics: Arc<Metrics>) -> Edge {
    Edge {
        paths: config.paths.clone(),
        elsewhere: config.compatibility,
        subprotocols: Subprotocols::new(config.subprotocols.clone()),
        health: OnceLock::new(),
        origins: config.origins.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        forward_headers: config.forward_headers.clone(),
        handshake_timeout: config.limits.handshake_timeout,
        max_message_size: config.limits.max_message_size,
        connections: one_each(config.limits.max_connections),
        complaints: Complaints::of("refused handshakes"),
        metrics,
    }
}

/// What all sessions share.
pub(super) fn sessions(config: &Config, replica: ReplicaId, directory: Arc<Directory>) -> Sessions {
    let settings = DriverSettings {
        ask_application_first: config.session_opened == SessionOpened::Required,
        ping_interval: config.limits.ping_interval,
        recheck_interval: config.recheck_interval,
        max_unread_actions: config.limits.max_unread_actions,
        // A few of the largest messages, or many small ones.
        max_unread_bytes: 4 * config.limits.max_message_size,
        jitter: || rand::random_range(0.75..1.25),
    };
    Sessions {
        ids: SessionIds::new(replica),
        directory,
        max_outbox: config.limits.max_outbox,
        settings: Arc::new(settings),
        farewells: one_each(config.limits.max_connections),
    }
}

fn one_each(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits))
}

/// Makes what each runtime serves its clients with.
#[derive(Clone)]
pub(super) struct Runtimes {
    pub limits: Limits,
    pub edge: Arc<Edge>,
    pub sessions: Arc<Sessions>,
    pub applications: Applications,
    pub ring: Arc<Ring>,
    pub bindings: Arc<Bindings>,
    /// How long a client waits for what is known elsewhere.
    pub patience: Duration,
    pub metrics: Arc<Metrics>,
}

impl Runtimes {
    /// On the runtime that this is called in, which has this number.
    pub(super) fn host(&self, hub: Arc<Hub>, number: usize) -> Host {
        let services = Services {
            hub,
            ring: self.ring.clone(),
            bindings: self.bindings.clone(),
            patience: self.patience,
            application: self.applications.start(number),
            max_subscriptions: self.limits.max_subscriptions,
            max_event_size: self.limits.max_event_size,
            complaints: self.applications.shared.complaints.clone(),
            metrics: self.metrics.clone(),
        };
        let (edge, sessions) = (self.edge.clone(), self.sessions.clone());
        Host { edge, sessions, services: Arc::new(services) }
    }
}

/// Starts one client of the application on each runtime: each has a connection of its own.
#[derive(Clone)]
pub(super) struct Applications {
    config: GrpcConfig,
    pub shared: Shared,
}

impl Applications {
    /// At the `own_ports` there is no application, but this gateway.
    pub(super) fn new(
        config: &Config,
        own_ports: Arc<[(SocketAddr, &'static str)]>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let ApplicationConfig { endpoint, token, timeout, max_in_flight } =
            config.application.clone();
        let shared = Shared {
            calls: Arc::new(CallLimit::new(max_in_flight)),
            state: Arc::new(ApplicationState::new(&endpoint, config.worker_threads)),
            complaints: Complaints::of("failed calls to the application"),
            metrics,
        };
        // Half an outbox: a reply always fits one that is not half full.
        let max_reply_size = config.limits.max_outbox / 2;
        let config = GrpcConfig { endpoint, token, timeout, max_reply_size, own_ports };
        Self { config, shared }
    }

    fn start(&self, number: usize) -> Arc<dyn Application> {
        Arc::new(GrpcApplication::start(self.config.clone(), self.shared.clone(), number))
    }
}

pub(super) fn exchanges(config: &Config) -> Vec<Exchange> {
    names(config, |_| true)
}

/// Those that somebody who comes back can be given something of.
pub(super) fn logs(config: &Config) -> Vec<Exchange> {
    match &config.bus {
        BusConfig::Memory => exchanges(config),
        BusConfig::RabbitMq { .. } => names(config, |exchange| exchange.kind.has_log()),
    }
}

/// What is held of those whose events come key by key.
pub(super) fn bindings(config: &Config) -> Arc<Bindings> {
    Bindings::new(match &config.bus {
        BusConfig::Memory => Vec::new(),
        BusConfig::RabbitMq { .. } => names(config, |exchange| exchange.kind.has_bindings()),
    })
}

fn names(config: &Config, which: impl Fn(&ExchangeConfig) -> bool) -> Vec<Exchange> {
    let exchanges = config.exchanges.iter().filter(|exchange| which(exchange));
    exchanges.map(|exchange| exchange.name.clone()).collect()
}

pub(super) fn start_bus(
    config: &Config,
    replica: ReplicaId,
    bindings: Arc<Bindings>,
    listener: Arc<Workers>,
    answers: Arc<LocalAnswers>,
    ring: &Ring,
) -> (Arc<dyn EventBus>, Arc<dyn Replicas>) {
    match &config.bus {
        BusConfig::Memory => {
            let bus = MemoryBus::start(exchanges(config), listener);
            (bus.clone(), bus)
        }
        BusConfig::RabbitMq { urls } => {
            let max_event_size = config.limits.max_event_size;
            let (urls, exchanges) = (urls.clone(), config.exchanges.clone());
            let config = RabbitMqConfig { urls, exchanges, bindings, replica, max_event_size };
            let bus = RabbitMqBus::start(config, listener, answers);
            let log: Arc<dyn SharedLog> = bus.clone();
            ring.share(&log);
            (bus.clone(), bus)
        }
    }
}

/// Who may ask the admin listener, which listens at `address`.
pub(super) fn access(config: &Config, address: SocketAddr) -> Access {
    Access {
        token: config.admin.token.clone(),
        hosts: config.admin_hosts.clone(),
        on_loopback: address.ip().to_canonical().is_loopback(),
        complaints: Complaints::of("requests with a wrong token"),
    }
}
