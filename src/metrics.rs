//! What is counted: for Prometheus at `/metrics`, and for the operator's console.
//!
//! One [`Metrics`] per process, made in `server` and handed to whoever counts. An event to
//! many sessions costs relaxed additions here, no lock and no allocation. Labels come from
//! fixed sets ([`label`]): what a client wrote is never one.

mod actions;
mod label;
mod number;
mod page;
mod process;
mod recent;
mod text;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

pub use self::{
    actions::ActionRow,
    label::{ActionKind, CallStatus, Closed, ErrorLabel, Label, Outcome, Pushed, Refused, Rpc},
    number::{Counter, Family, Gauge, Histogram, Raised},
    page::{CONTENT_TYPE, Now},
    recent::Quantiles,
};
use self::{
    actions::ActionTable,
    label::{CheckedFor, Decided},
    recent::Recent,
};
use crate::action_handler::{CheckReason, Decision, HandlerError};

/// Everything that is counted since the start of the process.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    started_at: SystemTime,

    /// Clients' TCP connections that are open now.
    pub connections: Arc<Gauge>,
    pub handshakes_refused: Family<Refused>,
    pub sessions_opened: Counter,
    pub sessions_closed: Family<Closed>,
    /// Of messages' text, without what frames them.
    pub received_bytes: Counter,
    pub sent_bytes: Counter,

    actions: Family<Outcome>,
    action_durations: Family<ActionKind, Histogram>,
    errors: Family<ErrorLabel>,
    /// By name, for the console alone.
    action_table: Mutex<ActionTable>,

    calls: Family<Rpc, Calls>,
    recent_calls: Mutex<Recent>,

    /// Held now, by all sessions together.
    pub subscriptions: Gauge,
    checks: Family<CheckedFor, Family<Decided>>,

    pub events_published: Family<Pushed>,
    pub events_received: Counter,
    /// Events queued for subscribers: one event to a hundred of them counts a hundred.
    pub deliveries: Counter,
    pub publish_to_write: Histogram,
}

/// The calls of one RPC to the application.
#[derive(Debug, Default)]
struct Calls {
    in_flight: Gauge,
    durations: Histogram,
    statuses: Family<CallStatus>,
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

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            connections: Arc::default(),
            handshakes_refused: Family::default(),
            sessions_opened: Counter::default(),
            sessions_closed: Family::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            actions: Family::default(),
            action_durations: Family::default(),
            errors: Family::default(),
            action_table: Mutex::default(),
            calls: Family::default(),
            recent_calls: Mutex::default(),
            subscriptions: Gauge::default(),
            checks: Family::default(),
            events_published: Family::default(),
            events_received: Counter::default(),
            deliveries: Counter::default(),
            publish_to_write: Histogram::default(),
        }
    }
}

/// Counting.
impl Metrics {
    /// An action was carried out. `name` is the client's; it is kept for the console only
    /// where the application knows it.
    pub fn action(&self, kind: ActionKind, name: Option<&str>, outcome: Outcome, took: Duration) {
        self.actions.of(outcome).increment();
        self.action_durations.of(kind).observe(took);
        lock(&self.action_table).count(name, outcome, took, self.minute());
    }

    /// An error was told to a client.
    pub fn error(&self, code: ErrorLabel) {
        self.errors.of(code).increment();
    }

    /// A call to the application begins.
    pub fn call(&self, rpc: Rpc) -> Call<'_> {
        self.calls.of(rpc).in_flight.add(1);
        Call { metrics: self, rpc, since: Instant::now() }
    }

    /// A call to the application did not even get its turn.
    pub fn call_without_turn(&self, rpc: Rpc) {
        self.calls.of(rpc).statuses.of(CallStatus::NoTurn).increment();
    }

    /// The application was asked about so many topics.
    pub fn checked(
        &self,
        reason: CheckReason,
        topics: usize,
        answer: &Result<Vec<Decision>, HandlerError>,
    ) {
        let decided = self.checks.of(reason.into());
        match answer {
            Ok(decisions) => {
                decisions.iter().for_each(|one| decided.of((*one).into()).increment());
            }
            Err(_) => decided.of(Decided::Failed).add(topics as u64),
        }
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
}

impl Call<'_> {
    pub fn ended(self, status: CallStatus) {
        let took = self.since.elapsed();
        let calls = self.metrics.calls.of(self.rpc);
        calls.durations.observe(took);
        calls.statuses.of(status).increment();
        lock(&self.metrics.recent_calls).record(self.metrics.minute(), took);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.metrics.calls.of(self.rpc).in_flight.subtract(1);
    }
}

/// Reading.
impl Metrics {
    pub fn totals(&self) -> Totals {
        let sessions_closed = self.sessions_closed.total();
        let sessions_opened = self.sessions_opened.get();
        Totals {
            connections: self.connections.get(),
            sessions: sessions_opened.saturating_sub(sessions_closed),
            subscriptions: self.subscriptions.get(),
            in_flight: self.calls.iter().map(|(_, calls)| calls.in_flight.get()).sum(),
            sessions_opened,
            actions: self.actions.total(),
            errors: self.errors.total(),
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
        some_of(&self.errors)
    }

    /// Sessions that ended, by reason, where there were any.
    pub fn closed(&self) -> Vec<(&'static str, u64)> {
        some_of(&self.sessions_closed)
    }

    /// Of all actions of the last one to two minutes.
    pub fn action_latency(&self) -> Option<Quantiles> {
        lock(&self.action_table).latency(self.minute())
    }

    /// Of the calls to the application in the last one to two minutes.
    pub fn application_latency(&self) -> Option<Quantiles> {
        lock(&self.recent_calls).quantiles(self.minute())
    }

    pub fn started_unix_ms(&self) -> u64 {
        let since = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

fn some_of<L: Label>(family: &Family<L>) -> Vec<(&'static str, u64)> {
    let all = family.iter().map(|(label, counter)| (label.as_str(), counter.get()));
    all.filter(|(_, count)| *count > 0).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
