//! What is counted: for Prometheus at `/metrics`, and for the operator's console.
//!
//! One [`Metrics`] per process, made in `server` and handed to whoever counts. Counting is
//! relaxed additions to what is at hand, without a lock but where an action failed. Labels
//! come from fixed sets ([`label`]): what a client wrote is never one. Nothing here knows
//! those who count; what is theirs, they convert to a label.

mod actions;
mod by_label;
mod label;
mod now;
mod number;
mod page;
mod process;
mod recent;
mod resumes;

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::time::Instant;

pub(crate) use self::{
    actions::{ActionRow, LastError},
    label::{
        ActionKind, Asked, CallRefused, CallStatus, CheckedFor, Closed, Decided, ErrorLabel,
        OutcomeLabel, Pushed, Refused, Resumed, Rpc, Source,
    },
    now::{BufferNow, BusNow, ExchangeNow, KeptNow, Now},
    number::{Buckets, Gauge, Raised},
    page::CONTENT_TYPE,
    recent::Quantiles,
    resumes::Resume,
};
use self::{
    actions::{ActionTable, Failure, Over},
    by_label::ByLabel,
    label::Label,
    number::Durations,
    recent::Recent,
    resumes::Resumes,
};
use crate::time::UnixTime;

/// Everything that is counted since the start of the process.
#[derive(Debug)]
pub struct Metrics {
    /// Clients' TCP connections that are open now.
    pub connections: Gauge,
    pub handshakes_refused: ByLabel<Refused, Counter>,
    pub sessions_opened: Counter,
    pub sessions_closed: ByLabel<Closed, Counter>,
    /// Of messages' text, without what frames them.
    pub received_bytes: Counter,
    pub sent_bytes: Counter,
    /// Held now, by all sessions together.
    pub subscriptions: Gauge,

    actions: ByLabel<OutcomeLabel, Counter>,
    action_durations: ByLabel<ActionKind, Durations>,
    errors: ByLabel<ErrorLabel, Counter>,

    calls_in_flight: ByLabel<Rpc, Gauge>,
    calls: ByLabel<(Rpc, CallStatus), Counter>,
    call_durations: ByLabel<Rpc, Durations>,
    checks: ByLabel<(CheckedFor, Decided), Counter>,

    /// Of the Gateway service, by the application.
    pub gateway_calls_refused: ByLabel<CallRefused, Counter>,
    pub events_published: ByLabel<Pushed, Counter>,
    pub events_received: Counter,
    /// Events queued for subscribers: one event to a hundred of them counts a hundred.
    pub deliveries: Counter,
    pub publish_to_write: Durations,

    pub resumes: Resumes,

    /// By name, for the console alone.
    action_table: ActionTable,
    recent_calls: Recent,

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

/// One action that is over.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    pub kind: ActionKind,
    /// `None` where the message had no name.
    pub name: Option<&'a str>,
    pub outcome: OutcomeLabel,
    /// Why it failed, for the operator.
    pub cause: Option<&'a str>,
    /// When it began.
    pub since: Instant,
}

/// Counting.
impl Metrics {
    /// An action was carried out. What is a client's or the application's in it is kept for
    /// the console only.
    pub fn action(&self, ended: Ended<'_>) {
        let now = Instant::now();
        let took = now - ended.since;
        self.actions[ended.outcome].inc();
        self.action_durations[ended.kind].observe(took);
        let failure = match ended.outcome {
            OutcomeLabel::Ok => None,
            OutcomeLabel::Error(code) => {
                Some(Failure { code: self.errors.text(code), cause: ended.cause })
            }
        };
        self.action_table.count(ended.name, Over { failure, took, minute: self.minute(now) });
    }

    /// An error was told to a client.
    pub fn error(&self, code: ErrorLabel) {
        self.errors[code].inc();
    }

    /// A call to the application begins.
    pub fn call(&self, rpc: Rpc) -> Call<'_> {
        let in_flight = Raised::on(&self.calls_in_flight[rpc]);
        Call { metrics: self, rpc, since: Instant::now(), _in_flight: in_flight }
    }

    /// A call to the application did not even get its turn.
    pub fn call_without_turn(&self, rpc: Rpc) {
        self.calls[(rpc, CallStatus::NoTurn)].inc();
    }

    /// The application was asked about so many topics, and decided so.
    pub fn checked(&self, reason: CheckedFor, decided: Decided, topics: usize) {
        self.checks[(reason, decided)].inc_by(topics as u64);
    }

    /// Since the start.
    fn minute(&self, now: Instant) -> u64 {
        (now - self.started).as_secs() / 60
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
        let Self { metrics, rpc, since, .. } = &self;
        let now = Instant::now();
        let took = now - *since;
        metrics.call_durations[*rpc].observe(took);
        metrics.calls[(*rpc, status)].inc();
        metrics.recent_calls.record(metrics.minute(now), took);
    }
}

/// Reading.
impl Metrics {
    pub fn totals(&self) -> Totals {
        let sessions_opened = self.sessions_opened.get();
        Totals {
            connections: self.connections.get(),
            sessions: sessions_opened.saturating_sub(sum(counts(&self.sessions_closed))),
            subscriptions: self.subscriptions.get(),
            in_flight: self.calls_in_flight.iter().map(|(_, calls)| calls.get()).sum(),
            sessions_opened,
            actions: sum(counts(&self.actions)),
            errors: sum(counts(&self.errors)),
            events: self.events_received.get(),
            deliveries: self.deliveries.get(),
            received_bytes: self.received_bytes.get(),
            sent_bytes: self.sent_bytes.get(),
        }
    }

    /// By name, the most frequent first; whatever has no row of its own is in `other`.
    pub fn actions(&self) -> Vec<ActionRow> {
        self.action_table.rows(self.minute(Instant::now()))
    }

    /// Errors told to clients, by code, where there were any; `application` stands for the
    /// application's own codes.
    pub fn errors(&self) -> Vec<(&'static str, u64)> {
        counts(&self.errors).filter(|(_, count)| *count > 0).collect()
    }

    /// Sessions that ended, by reason, where there were any.
    pub fn closed(&self) -> Vec<(&'static str, u64)> {
        counts(&self.sessions_closed).filter(|(_, count)| *count > 0).collect()
    }

    /// Of all actions of the last one to two minutes.
    pub fn action_latency(&self) -> Option<Quantiles> {
        self.action_table.latency(self.minute(Instant::now()))
    }

    /// Of the calls to the application in the last one to two minutes.
    pub fn application_latency(&self) -> Option<Quantiles> {
        self.recent_calls.quantiles(self.minute(Instant::now()))
    }

    pub fn started_at(&self) -> UnixTime {
        self.started_at
    }
}

/// By the labels' texts.
fn counts<L: Label>(counters: &ByLabel<L, Counter>) -> impl Iterator<Item = (&'static str, u64)> {
    counters.iter().map(|(text, counter)| (text, counter.get()))
}

fn sum(counts: impl Iterator<Item = (&'static str, u64)>) -> u64 {
    counts.map(|(_, count)| count).sum()
}
