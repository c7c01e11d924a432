//! What is counted: for Prometheus at `/metrics`, and for the operator's console.
//!
//! One [`Metrics`] per process, made in `server` and handed to whoever counts. An event to
//! many sessions costs relaxed additions here and, for the one that is timed, a histogram's
//! lock. Labels come from fixed sets ([`label`]): what a client wrote is never one.

mod actions;
mod label;
mod number;
mod page;
mod process;
mod recent;

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use strum::VariantArray;
use tokio::time::Instant;

use self::{
    actions::ActionTable,
    label::{CheckedFor, Decided, Label},
    recent::Recent,
};
pub use self::{
    actions::{ActionRow, Ended, LastError},
    label::{
        ActionKind, By, CallRefused, CallStatus, Closed, ErrorLabel, Outcome, Pushed, Refused, Rpc,
    },
    number::{Gauge, Raised},
    page::{CONTENT_TYPE, Now},
    recent::Quantiles,
};
use crate::{
    application::{CheckReason, Decision, HandlerError},
    time::UnixTime,
};

/// Everything that is counted since the start of the process.
#[derive(Debug)]
pub struct Metrics {
    /// Clients' TCP connections that are open now.
    pub connections: Gauge,
    pub handshakes_refused: Family<By<Refused>, Counter>,
    pub sessions_opened: Counter,
    pub sessions_closed: Family<By<Closed>, Counter>,
    /// Of messages' text, without what frames them.
    pub received_bytes: Counter,
    pub sent_bytes: Counter,
    /// Held now, by all sessions together.
    pub subscriptions: Gauge,

    actions: Family<By<Outcome>, Counter>,
    action_durations: Family<By<ActionKind>, Histogram>,
    errors: Family<By<ErrorLabel>, Counter>,

    calls_in_flight: Family<By<Rpc>, Gauge>,
    calls: Family<(By<Rpc>, By<CallStatus>), Counter>,
    call_durations: Family<By<Rpc>, Histogram>,
    checks: Family<(By<CheckedFor>, By<Decided>), Counter>,

    /// Of the Gateway service, by the application.
    pub gateway_calls_refused: Family<By<CallRefused>, Counter>,
    pub events_published: Family<By<Pushed>, Counter>,
    pub events_received: Counter,
    /// Events queued for subscribers: one event to a hundred of them counts a hundred.
    pub deliveries: Counter,
    /// In seconds.
    pub publish_to_write: Histogram,

    /// By name, for the console alone.
    action_table: Mutex<ActionTable>,
    recent_calls: Mutex<Recent>,

    started: Instant,
    started_at: UnixTime,
    /// All of the above that is on the page.
    counted: Registry,
}

/// Plain numbers for who computes rates and totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// These are now, …
    pub connections: u64,
    pub sessions: u64,
    pub subscriptions: u64,
    /// Calls to the application.
    pub in_flight: u64,
    /// … and these since the start.
    pub sessions_opened: u64,
    pub actions: u64,
    /// Errors told to clients.
    pub errors: u64,
    /// Received from the bus.
    pub events: u64,
    pub deliveries: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
}

/// Counting.
impl Metrics {
    /// An action was carried out. What is a client's or the application's in it is kept for
    /// the console only.
    pub fn action(&self, kind: ActionKind, ended: Ended<'_>) {
        self.actions.get_or_create(&By(ended.outcome)).inc();
        self.action_durations.get_or_create(&By(kind)).observe(ended.took.as_secs_f64());
        lock(&self.action_table).count(ended, self.minute());
    }

    /// An error was told to a client.
    pub fn error(&self, code: ErrorLabel) {
        self.errors.get_or_create(&By(code)).inc();
    }

    /// A call to the application begins.
    pub fn call(&self, rpc: Rpc) -> Call<'_> {
        let in_flight = Raised::on(&self.calls_in_flight.get_or_create(&By(rpc)));
        Call { metrics: self, rpc, since: Instant::now(), _in_flight: in_flight }
    }

    /// A call to the application did not even get its turn.
    pub fn call_without_turn(&self, rpc: Rpc) {
        self.called(rpc, CallStatus::NoTurn);
    }

    /// The application was asked about so many topics.
    pub fn checked(
        &self,
        reason: CheckReason,
        topics: usize,
        answer: &Result<Vec<Decision>, HandlerError>,
    ) {
        let count = |decided, topics| {
            self.checks.get_or_create(&(By(reason.into()), By(decided))).inc_by(topics);
        };
        match answer {
            Ok(decisions) => decisions.iter().for_each(|one| count((*one).into(), 1)),
            Err(_) => count(Decided::Failed, topics as u64),
        }
    }

    fn called(&self, rpc: Rpc, status: CallStatus) {
        self.calls.get_or_create(&(By(rpc), By(status))).inc();
    }

    fn minute(&self) -> u64 {
        self.started.elapsed().as_secs() / 60
    }
}

/// A call to the application that is under way. Dropped before its end, it has none.
#[derive(Debug)]
pub struct Call<'a> {
    metrics: &'a Metrics,
    rpc: Rpc,
    since: Instant,
    _in_flight: Raised,
}

impl Call<'_> {
    pub fn ended(self, status: CallStatus) {
        let took = self.since.elapsed();
        let durations = &self.metrics.call_durations;
        durations.get_or_create(&By(self.rpc)).observe(took.as_secs_f64());
        self.metrics.called(self.rpc, status);
        lock(&self.metrics.recent_calls).record(self.metrics.minute(), took);
    }
}

/// Reading.
impl Metrics {
    pub fn totals(&self) -> Totals {
        let sessions_opened = self.sessions_opened.get();
        let in_flight = |rpc: &Rpc| self.calls_in_flight.get_or_create(&By(*rpc)).get();
        Totals {
            connections: self.connections.get(),
            sessions: sessions_opened.saturating_sub(sum(self.all_closed())),
            subscriptions: self.subscriptions.get(),
            in_flight: Rpc::VARIANTS.iter().map(in_flight).sum(),
            sessions_opened,
            actions: sum(counts(&self.actions, Outcome::all())),
            errors: sum(self.all_errors()),
            events: self.events_received.get(),
            deliveries: self.deliveries.get(),
            received_bytes: self.received_bytes.get(),
            sent_bytes: self.sent_bytes.get(),
        }
    }

    /// By name, the most frequent first; whatever has no row of its own is in `other`.
    pub fn actions(&self) -> Vec<ActionRow> {
        lock(&self.action_table).rows(self.minute())
    }

    /// Errors told to clients, by code, where there were any; `application` stands for the
    /// application's own codes.
    pub fn errors(&self) -> Vec<(&'static str, u64)> {
        self.all_errors().filter(|(_, count)| *count > 0).collect()
    }

    /// Sessions that ended, by reason, where there were any.
    pub fn closed(&self) -> Vec<(&'static str, u64)> {
        self.all_closed().filter(|(_, count)| *count > 0).collect()
    }

    /// Of all actions of the last one to two minutes.
    pub fn action_latency(&self) -> Option<Quantiles> {
        lock(&self.action_table).latency(self.minute())
    }

    /// Of the calls to the application in the last one to two minutes.
    pub fn application_latency(&self) -> Option<Quantiles> {
        lock(&self.recent_calls).quantiles(self.minute())
    }

    pub fn started_at(&self) -> UnixTime {
        self.started_at
    }

    fn all_errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        counts(&self.errors, ErrorLabel::all())
    }

    fn all_closed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        counts(&self.sessions_closed, Closed::VARIANTS.iter().copied())
    }
}

/// By the label's text.
fn counts<L: Label>(
    family: &Family<By<L>, Counter>,
    labels: impl Iterator<Item = L>,
) -> impl Iterator<Item = (&'static str, u64)> {
    labels.map(|label| (label.into(), family.get_or_create(&By(label)).get()))
}

fn sum(counts: impl Iterator<Item = (&'static str, u64)>) -> u64 {
    counts.map(|(_, count)| count).sum()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
