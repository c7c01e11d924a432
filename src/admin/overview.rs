//! Everything at one glance: which part is unwell, and how much there is to do.

use serde::Serialize;

use super::{
    Admin,
    history::{Gauges, Rates, ms},
    resumes::Resumes,
};
use crate::{
    bus::BusStatus,
    health::Status,
    metrics::{ActionRow, LastError, Quantiles, Totals},
    time::UnixTime,
};

#[derive(Debug, Serialize)]
pub(super) struct Overview {
    version: &'static str,
    replica: String,
    started_ms: u64,
    now_ms: u64,
    clients: Clients,
    status: Status,
    reasons: Vec<String>,
    bus: Bus,
    application: Application,
    now: Now,
    per_second: Rates,
    /// Since the start; quantiles are of the last one to two minutes.
    actions: Vec<Action>,
    errors: Vec<ByCode>,
    closed: Vec<ByReason>,
    resumes: Resumes,
}

/// Where they connect, at the host that the console is asked at.
#[derive(Debug, Serialize)]
struct Clients {
    port: u16,
    path: &'static str,
}

#[derive(Debug, Serialize)]
struct Bus {
    kind: &'static str,
    connected: bool,
    blocked: bool,
    lag_ms: Option<f64>,
    /// On the average since the start.
    events_per_message: Option<f64>,
    /// Events that were pushed again, since the start.
    duplicates: u64,
    exchanges: Vec<Exchange>,
}

#[derive(Debug, Serialize)]
struct Exchange {
    name: String,
    attached: bool,
}

#[derive(Debug, Serialize)]
struct Application {
    address: String,
    reachable: bool,
    problem: Option<String>,
    in_flight: u64,
    max_in_flight: usize,
    #[serde(flatten)]
    latency: Latency,
}

#[derive(Debug, Serialize)]
struct Now {
    connections: u64,
    sessions: u64,
    subscriptions: u64,
    outbox_bytes: u64,
    topics: usize,
}

#[derive(Debug, Serialize)]
struct Action {
    action: Box<str>,
    count: u64,
    errors: u64,
    last_error: Option<Told>,
    #[serde(flatten)]
    latency: Latency,
}

/// Why an action failed, as far as the gateway knows.
#[derive(Debug, Serialize)]
struct Told {
    text: Box<str>,
    at_ms: u64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ByCode {
    code: &'static str,
    count: u64,
}

#[derive(Debug, Serialize)]
struct ByReason {
    reason: &'static str,
    count: u64,
}

impl Admin {
    pub(super) async fn overview(&self) -> Overview {
        let report = self.health.report();
        let totals = self.metrics.totals();
        Overview {
            version: env!("CARGO_PKG_VERSION"),
            replica: self.about.replica.to_string(),
            started_ms: self.metrics.started_at().millis(),
            now_ms: UnixTime::now().millis(),
            clients: Clients { port: self.about.clients.port(), path: "/" },
            status: report.status,
            reasons: report.reasons,
            bus: self.health.bus().into(),
            application: self.application(&totals),
            now: self.now(&totals).await,
            per_second: self.history.rates(totals),
            actions: self.metrics.actions().into_iter().map(Action::from).collect(),
            errors: most_first(self.metrics.errors(), |code, count| ByCode { code, count }),
            closed: most_first(self.metrics.closed(), |reason, count| ByReason { reason, count }),
            resumes: self.resumes(),
        }
    }

    fn application(&self, totals: &Totals) -> Application {
        let problem = self.health.application_problem();
        Application {
            address: self.about.application.clone(),
            reachable: problem.is_none(),
            problem,
            in_flight: totals.in_flight,
            max_in_flight: self.about.max_in_flight,
            latency: self.metrics.application_latency().into(),
        }
    }

    async fn now(&self, totals: &Totals) -> Now {
        Now {
            connections: totals.connections,
            sessions: totals.sessions,
            subscriptions: totals.subscriptions,
            outbox_bytes: self.directory.outbox_bytes().await,
            topics: self.topics.count(),
        }
    }

    /// Adds a point to the history.
    pub(super) async fn remember(&self) {
        let gauges = Gauges {
            outbox_bytes: self.directory.outbox_bytes().await,
            bus_lag: self.health.bus().lag(),
            action_p99: self.metrics.action_latency().map(|latency| latency.p99),
            application_p99: self.metrics.application_latency().map(|latency| latency.p99),
        };
        self.history.take(self.metrics.totals(), gauges);
    }
}

fn most_first<T>(
    mut counts: Vec<(&'static str, u64)>,
    row: impl Fn(&'static str, u64) -> T,
) -> Vec<T> {
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    counts.into_iter().map(|(name, count)| row(name, count)).collect()
}

impl From<BusStatus> for Bus {
    fn from(status: BusStatus) -> Self {
        let lag_ms = status.lag().map(ms);
        let events_per_message = status.published.on_average();
        let exchanges = status.exchanges.into_iter();
        Self {
            kind: status.kind,
            connected: status.connected,
            blocked: status.blocked,
            lag_ms,
            events_per_message,
            duplicates: status.duplicates,
            exchanges: exchanges
                .map(|exchange| Exchange {
                    name: exchange.name.to_string(),
                    attached: exchange.attached,
                })
                .collect(),
        }
    }
}

impl From<ActionRow> for Action {
    fn from(row: ActionRow) -> Self {
        let ActionRow { action, count, errors, last_error, latency } = row;
        let last_error = last_error.map(|LastError { text, at }| Told { text, at_ms: at.millis() });
        Self { action, count, errors, last_error, latency: latency.into() }
    }
}

impl From<Option<Quantiles>> for Latency {
    fn from(latency: Option<Quantiles>) -> Self {
        Self {
            p50_ms: latency.map(|latency| ms(latency.p50)),
            p99_ms: latency.map(|latency| ms(latency.p99)),
        }
    }
}
