//! One exchange's way to the broker and back.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::{task::JoinSet, time::Instant};

use super::{
    BrokerUrl, ExchangeConfig,
    direct::{self, Feeder, Feeding},
    health::Health,
    publisher::{Published, Publisher},
    stream,
    supervisor::{Link, Supervisor},
    window::Window,
};
use crate::{
    bus::{Bindings, BusListener, ExchangeStatus},
    event::Exchange,
    ids::ReplicaId,
};

pub(super) struct Lane {
    pub publisher: Publisher,
    pub reading: Link,
    pub health: Arc<Health>,
    /// What feeds its log beside those who publish to it.
    feeder: Option<Arc<Feeder>>,
}

/// What all lanes of a bus have.
pub(super) struct Shared {
    pub urls: Arc<[BrokerUrl]>,
    pub replica: ReplicaId,
    pub publishing: Link,
    /// For what no exchange's log waits for.
    pub asking: Publisher,
    pub window: Window,
    pub published: Arc<Published>,
    pub bindings: Arc<Bindings>,
    pub listener: Arc<dyn BusListener>,
    pub max_event_size: usize,
}

impl Lane {
    pub(super) fn start(config: ExchangeConfig, shared: &Shared, tasks: &mut JoinSet<()>) -> Self {
        let (name, kind) = (config.name.clone(), config.kind);
        let reading = connect(&shared.urls, shared.replica, &format!("reading {name}"), tasks);
        let health = Arc::new(Health::new(&name));
        let (publisher, driver) = Publisher::new(
            shared.publishing.clone(),
            shared.window.quota(),
            Some(config.clone()),
            shared.published.clone(),
        );
        tasks.spawn(driver.run());
        let keys = shared.bindings.of(&name).cloned();
        if kind.has_log() {
            let reader = stream::Reader::new(
                config,
                reading.clone(),
                publisher.clone(),
                shared.listener.clone(),
                shared.max_event_size,
                health.clone(),
                keys.clone(),
            );
            tasks.spawn(reader.run());
        } else {
            let reader = direct::Reader {
                config,
                replica: shared.replica,
                link: reading.clone(),
                publisher: publisher.clone(),
                listener: shared.listener.clone(),
                keys: keys.clone().unwrap_or_default(),
                max_event_size: shared.max_event_size,
                health: health.clone(),
            };
            tasks.spawn(reader.run());
        }
        let feeder = (kind.has_log() && kind.has_bindings()).then(|| {
            let purpose = format!("feeding {name}");
            let feeder = Arc::new(Feeder {
                link: connect(&shared.urls, shared.replica, &purpose, tasks),
                feeding: Feeding::new(&name),
                exchange: name,
                replica: shared.replica,
                publisher: shared.asking.clone(),
                keys: keys.unwrap_or_default(),
            });
            tasks.spawn(feeder.clone().run());
            feeder
        });
        Self { publisher, reading, health, feeder }
    }

    /// Its connections, with their purpose.
    pub(super) fn links(&self) -> impl Iterator<Item = (&'static str, &Link)> {
        let feeding = self.feeder.iter().map(|feeder| ("feeding", &feeder.link));
        [("reading", &self.reading)].into_iter().chain(feeding)
    }

    pub(super) fn attached_once(&self) -> bool {
        let begun = |feeder: &Arc<Feeder>| feeder.feeding.begun.load(Relaxed);
        self.health.attached.load(Relaxed) && self.feeder.as_ref().is_none_or(begun)
    }

    pub(super) fn status(&self, name: &Exchange) -> ExchangeStatus {
        let reading = self.health.problem.get().is_none();
        let feeding = self.feeding_problem().is_none();
        let connected = self.links().all(|(_, link)| link.problem().is_none());
        ExchangeStatus {
            name: name.clone(),
            attached: connected && reading && feeding,
            lag: self.health.lag.lately(),
        }
    }

    /// What is wrong where its connections are up.
    pub(super) fn problems(&self) -> impl Iterator<Item = (&'static str, String)> {
        let publishing = self.publisher.problem().map(|reason| ("publishing", reason));
        let reading = self.health.problem.get().map(|reason| ("reading", reason));
        let feeding = self.feeding_problem().map(|reason| ("feeding", reason));
        publishing.into_iter().chain(reading).chain(feeding)
    }

    fn feeding_problem(&self) -> Option<String> {
        self.feeder.as_ref()?.feeding.problem.get()
    }

    /// When nothing runs any more, and its connections are still there.
    pub(super) async fn leave(&self, deadline: Instant) {
        if let Some(feeder) = &self.feeder {
            feeder.leave(deadline).await;
        }
    }
}

/// A connection that is kept, for a purpose that operators see.
pub(super) fn connect(
    urls: &Arc<[BrokerUrl]>,
    replica: ReplicaId,
    purpose: &str,
    tasks: &mut JoinSet<()>,
) -> Link {
    let name = format!("myxi {replica} {purpose}");
    let (supervisor, link) = Supervisor::new(name, urls.clone());
    tasks.spawn(supervisor.run());
    link
}
