//! Every metric of `/metrics`, with its name and its help; the library adds `_total` to
//! counters. `docs/metrics.md` has the same list, and a test holds the two together.

use std::{
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::text,
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
    registry::{Metric, Registry},
};
use strum::VariantArray;
use tokio::time::Instant;

use super::{
    ActionKind, CallRefused, CallStatus, Closed, ErrorLabel, Metrics, Outcome, Pushed, Refused,
    Rpc,
    label::{By, CheckedFor, Decided},
    number::{Counted, Gauge, by, durations, each, labelled, pairs},
    process,
};
use crate::{
    bus::{BusStatus, EventsPerMessage},
    logging,
};

pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is not counted but looked up when it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Now {
    pub ready: bool,
    pub application_reachable: bool,
    pub outbox_bytes: u64,
    pub bus: BusStatus,
}

/// What is counted.
struct Page(Registry);

impl Page {
    /// Puts a metric on the page, and hands it out to be counted with.
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn one<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.add(name, help, M::default())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut page = Page(Registry::default());
        Self {
            connections: page.one(
                "myxi_connections",
                "TCP connections of clients that are open now, with those whose handshake is not \
                 finished",
            ),
            handshakes_refused: page.add(
                "myxi_handshakes_refused",
                "Requests and connections on the clients' listener that became no WebSocket, by \
                 reason",
                each(by(Refused::VARIANTS), Counter::default),
            ),
            sessions_opened: page.one("myxi_sessions_opened", "Sessions that were opened"),
            sessions_closed: page.add(
                "myxi_sessions_closed",
                "Sessions that ended, by reason; slow_consumer: cut off because it did not read \
                 (3008)",
                each(by(Closed::VARIANTS), Counter::default),
            ),
            received_bytes: page
                .one("myxi_received_bytes", "Bytes of messages read from clients, without framing"),
            sent_bytes: page.one(
                "myxi_sent_bytes",
                "Bytes of messages written to clients' sockets, without framing",
            ),
            subscriptions: page
                .one("myxi_subscriptions", "Subscriptions that all sessions hold now"),
            actions: page.add(
                "myxi_actions",
                "Actions of clients by outcome: ok, the error code that the client was told first, \
                 or application for a code of the application's own",
                each(Outcome::all().map(By), Counter::default),
            ),
            action_durations: page.add(
                "myxi_action_duration_seconds",
                "Time from the start of an action until it was answered, in seconds, by who \
                 carries it out; waiting behind the session's earlier actions is not in it",
                each(by(ActionKind::VARIANTS), durations),
            ),
            errors: page.add(
                "myxi_errors",
                "Error messages told to clients, by code; application: a code of the application's \
                 own",
                each(ErrorLabel::all().map(By), Counter::default),
            ),
            calls_in_flight: page.add(
                "myxi_application_calls_in_flight",
                "gRPC calls to the application that are under way now, by RPC",
                each(by(Rpc::VARIANTS), Gauge::default),
            ),
            calls: page.add(
                "myxi_application_calls",
                "gRPC calls to the application that ended, by RPC and by its status; in small \
                 letters where it gave none",
                each(pairs(Rpc::VARIANTS, CallStatus::VARIANTS), Counter::default),
            ),
            call_durations: page.add(
                "myxi_application_call_duration_seconds",
                "Time of a gRPC call to the application, in seconds, by RPC; waiting for a turn \
                 (--max-in-flight) is not in it",
                each(by(Rpc::VARIANTS), durations),
            ),
            checks: page.add(
                "myxi_subscription_checks",
                "Topics that the application was asked about, by why it was asked and what it \
                 decided",
                each(pairs(CheckedFor::VARIANTS, Decided::VARIANTS), Counter::default),
            ),
            gateway_calls_refused: page.add(
                "myxi_gateway_calls_refused",
                "Calls to the Gateway service that were turned away at its door, by reason",
                each(by(CallRefused::VARIANTS), Counter::default),
            ),
            events_published: page.add(
                "myxi_events_published",
                "Events that were to be published through this replica, by result",
                each(by(Pushed::VARIANTS), Counter::default),
            ),
            events_received: page.one(
                "myxi_events_received",
                "Events that this replica received from the bus, wanted by its clients or not",
            ),
            deliveries: page.one(
                "myxi_deliveries",
                "Events queued for subscribers of this replica: one event to a hundred counts a \
                 hundred",
            ),
            publish_to_write: page.add(
                "myxi_publish_to_write_seconds",
                "Time from when a gateway took an event from the application until it was written \
                 to a subscriber's socket, in seconds; of one subscriber on each thread at most",
                durations(),
            ),
            action_table: Mutex::default(),
            recent_calls: Mutex::default(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            counted: page.0,
        }
    }
}

impl Metrics {
    /// The page for Prometheus.
    pub fn encode(&self, now: &Now) -> String {
        let mut text = String::new();
        text::encode_registry(&mut text, &self.counted)
            .and_then(|()| text::encode(&mut text, &self.looked_up(now)))
            .expect("a string takes everything");
        text
    }

    fn looked_up(&self, now: &Now) -> Registry {
        let mut page = Registry::default();
        page.register(
            "myxi_build_info",
            "Always 1; the version of this gateway is its label",
            labelled("version", [(env!("CARGO_PKG_VERSION"), 1)]),
        );
        page.register(
            "myxi_ready",
            "1 while /health/ready answers 200 (ready or degraded), 0 otherwise",
            ConstGauge::new(u32::from(now.ready)),
        );
        let started = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        page.register(
            "process_start_time_seconds",
            "When the gateway started, in Unix seconds",
            ConstGauge::new(started.as_secs_f64()),
        );
        if let Some(time) = process::cpu_time() {
            page.register(
                "process_cpu_seconds",
                "User and system CPU time of the process, in seconds, as /proc tells it",
                ConstCounter::new(time.as_secs_f64()),
            );
        }
        if let Some(bytes) = process::resident_bytes() {
            page.register(
                "process_resident_memory_bytes",
                "Resident memory of the process, in bytes, as /proc tells it",
                ConstGauge::new(bytes),
            );
        }
        page.register(
            "myxi_log_lines_dropped",
            "Lines of the log that nobody read in time, and that were lost",
            ConstCounter::new(logging::dropped_lines()),
        );
        page.register(
            "myxi_sessions",
            "Sessions (WebSocket connections) that are open now",
            ConstGauge::new(self.totals().sessions),
        );
        page.register(
            "myxi_outbox_bytes",
            "Bytes that wait for clients to read them, summed over all sessions at the scrape",
            ConstGauge::new(now.outbox_bytes),
        );
        page.register(
            "myxi_application_reachable",
            "0 while the last attempt to connect to the application failed, 1 otherwise",
            ConstGauge::new(u32::from(now.application_reachable)),
        );
        bus(&mut page, &now.bus);
        page
    }
}

fn bus(page: &mut Registry, bus: &BusStatus) {
    page.register(
        "myxi_bus_info",
        "Always 1; the kind of the bus is its label",
        labelled("kind", [(bus.kind, 1)]),
    );
    page.register(
        "myxi_bus_connected",
        "1 while the connections to the broker are up (always with the memory bus), 0 otherwise",
        ConstGauge::new(u32::from(bus.connected)),
    );
    page.register(
        "myxi_bus_blocked",
        "1 while the broker holds publishers back (a memory or disk alarm), 0 otherwise",
        ConstGauge::new(u32::from(bus.blocked)),
    );
    page.register(
        "myxi_bus_reconnects",
        "Connections to the broker that were made again after one was lost",
        ConstCounter::new(bus.reconnects),
    );
    page.register(
        "myxi_bus_gaps",
        "Gaps told to the subscriptions of an exchange: events may be missing",
        ConstCounter::new(bus.gaps),
    );
    page.register(
        "myxi_bus_stalls",
        "How often a log was not read though it was published to, and reading was begun anew",
        ConstCounter::new(bus.stalls),
    );
    page.register(
        "myxi_bus_messages_published",
        "Messages with events that the broker confirmed to this replica",
        ConstCounter::new(bus.published.all_messages()),
    );
    page.register(
        "myxi_bus_events_per_message",
        "Events in each of these messages",
        events_per_message(&bus.published),
    );
    let exchanges = || bus.exchanges.iter();
    page.register(
        "myxi_bus_exchange_attached",
        "1 while the exchange's events are read, 0 otherwise, by configured exchange",
        labelled("exchange", exchanges().map(|one| (one.name.as_str(), one.attached))),
    );
    let lags = exchanges().filter_map(|one| Some((one.name.as_str(), one.lag?.as_secs_f64())));
    page.register(
        "myxi_bus_lag_seconds",
        "Age of the last event that was read, in seconds, by the clock of the gateway that \
         published it; missing when none came within a minute",
        labelled("exchange", lags),
    );
    let skipped = Family::<_, Counter>::default();
    for (reason, count) in bus.skipped.by_reason() {
        skipped.get_or_create(&[("reason", reason)]).inc_by(count);
    }
    page.register(
        "myxi_events_skipped",
        "Entries of the bus's logs that are no events and were passed over, by reason",
        skipped,
    );
}

fn events_per_message(published: &EventsPerMessage) -> Counted {
    let bounds = EventsPerMessage::BOUNDS.map(|most| most as f64);
    let buckets = bounds.into_iter().zip(published.messages).collect();
    Counted { buckets, sum: published.events as f64 }
}
