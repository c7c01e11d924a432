//! Every metric of `/metrics`, with its name and its help. `docs/metrics.md` has the same
//! list, and a test holds the two together.

use std::time::{Duration, UNIX_EPOCH};

use super::{Family, Label, Metrics, process, text::Page};
use crate::bus::BusStatus;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is not counted but looked up when it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Now {
    pub ready: bool,
    pub application_reachable: bool,
    pub outbox_bytes: u64,
    pub bus: BusStatus,
}

impl Metrics {
    /// The page for Prometheus.
    pub fn encode(&self, now: &Now) -> String {
        let mut page = Page::default();
        self.process(&mut page, now);
        self.clients(&mut page, now);
        self.performed(&mut page);
        self.application(&mut page, now);
        self.events(&mut page);
        bus(&mut page, &now.bus);
        page.into_text()
    }

    fn process(&self, page: &mut Page, now: &Now) {
        page.gauge("myxi_build_info", "Always 1; the version of this gateway is its label.")
            .labelled(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        page.gauge(
            "myxi_ready",
            "1 while /health/ready answers 200 (ready or degraded), 0 otherwise.",
        )
        .value(u8::from(now.ready));
        let started = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        page.gauge("process_start_time_seconds", "When the gateway started, in Unix seconds.")
            .value(started.as_secs_f64());
        if let Some(time) = process::cpu_time() {
            let help = "User and system CPU time of the process, in seconds, as /proc tells it.";
            page.counter("process_cpu_seconds_total", help).value(time.as_secs_f64());
        }
        if let Some(bytes) = process::resident_bytes() {
            let help = "Resident memory of the process, in bytes, as /proc tells it.";
            page.gauge("process_resident_memory_bytes", help).value(bytes);
        }
    }

    fn clients(&self, page: &mut Page, now: &Now) {
        page.gauge(
            "myxi_connections",
            "TCP connections of clients that are open now, with those whose handshake is not finished.",
        )
        .value(self.connections.get());
        page.counter(
            "myxi_handshakes_refused_total",
            "Requests and connections on the clients' listener that became no WebSocket, by reason.",
        )
        .family(&[], &self.handshakes_refused);
        page.gauge("myxi_sessions", "Sessions (WebSocket connections) that are open now.")
            .value(self.totals().sessions);
        page.counter("myxi_sessions_opened_total", "Sessions that were opened.")
            .counted(&self.sessions_opened);
        page.counter(
            "myxi_sessions_closed_total",
            "Sessions that ended, by reason; slow_consumer: cut off because it did not read (3008).",
        )
        .family(&[], &self.sessions_closed);
        page.counter(
            "myxi_received_bytes_total",
            "Bytes of messages read from clients, without framing.",
        )
        .counted(&self.received_bytes);
        page.counter(
            "myxi_sent_bytes_total",
            "Bytes of messages written to clients' sockets, without framing.",
        )
        .counted(&self.sent_bytes);
        page.gauge(
            "myxi_outbox_bytes",
            "Bytes that wait for clients to read them, summed over all sessions at the scrape.",
        )
        .value(now.outbox_bytes);
        page.gauge("myxi_subscriptions", "Subscriptions that all sessions hold now.")
            .value(self.subscriptions.get());
    }

    fn performed(&self, page: &mut Page) {
        page.counter(
            "myxi_actions_total",
            "Actions of clients by outcome: ok, the error code that the client was told first, \
             or application for a code of the application's own.",
        )
        .family(&[], &self.actions);
        page.histogram(
            "myxi_action_duration_seconds",
            "Time from the start of an action until it was answered, in seconds, by who carries it \
             out; waiting behind the session's earlier actions is not in it.",
        );
        by(page, &self.action_durations, |page, labels, durations| {
            page.durations(labels, durations);
        });
        page.counter(
            "myxi_errors_total",
            "Error messages told to clients, by code; application: a code of the application's own.",
        )
        .family(&[], &self.errors);
    }

    fn application(&self, page: &mut Page, now: &Now) {
        page.gauge(
            "myxi_application_reachable",
            "0 while the last attempt to connect to the application failed, 1 otherwise.",
        )
        .value(u8::from(now.application_reachable));
        page.gauge(
            "myxi_application_calls_in_flight",
            "gRPC calls to the application that are under way now, by RPC.",
        );
        by(page, &self.calls, |page, labels, calls| {
            page.labelled(labels, calls.in_flight.get());
        });
        page.counter(
            "myxi_application_calls_total",
            "gRPC calls to the application that ended, by RPC and by its status; in small letters \
             where it gave none.",
        );
        by(page, &self.calls, |page, labels, calls| {
            page.family(labels, &calls.statuses);
        });
        page.histogram(
            "myxi_application_call_duration_seconds",
            "Time of a gRPC call to the application, in seconds, by RPC; waiting for a turn \
             (--max-in-flight) is not in it.",
        );
        by(page, &self.calls, |page, labels, calls| {
            page.durations(labels, &calls.durations);
        });
        page.counter(
            "myxi_subscription_checks_total",
            "Topics that the application was asked about, by why it was asked and what it decided.",
        );
        by(page, &self.checks, |page, labels, decided| {
            page.family(labels, decided);
        });
    }

    fn events(&self, page: &mut Page) {
        page.counter(
            "myxi_events_published_total",
            "Events that were to be published through this replica, by result.",
        )
        .family(&[], &self.events_published);
        page.counter(
            "myxi_events_received_total",
            "Events that this replica received from the bus, wanted by its clients or not.",
        )
        .counted(&self.events_received);
        page.counter(
            "myxi_deliveries_total",
            "Events queued for subscribers of this replica: one event to a hundred counts a hundred.",
        )
        .counted(&self.deliveries);
        page.histogram(
            "myxi_publish_to_write_seconds",
            "Time from when a gateway took an event from the application until it was written to a \
             subscriber's socket, in seconds; of one subscriber for each event at most.",
        )
        .durations(&[], &self.publish_to_write);
    }
}

fn bus(page: &mut Page, bus: &BusStatus) {
    page.gauge("myxi_bus_info", "Always 1; the kind of the bus is its label.")
        .labelled(&[("kind", bus.kind)], 1);
    page.gauge(
        "myxi_bus_connected",
        "1 while the connections to the broker are up (always with the memory bus), 0 otherwise.",
    )
    .value(u8::from(bus.connected));
    page.gauge(
        "myxi_bus_blocked",
        "1 while the broker holds publishers back (a memory or disk alarm), 0 otherwise.",
    )
    .value(u8::from(bus.blocked));
    page.counter(
        "myxi_bus_reconnects_total",
        "Connections to the broker that were made again after one was lost.",
    )
    .value(bus.reconnects);
    page.gauge(
        "myxi_bus_exchange_attached",
        "1 while the exchange's events are read, 0 otherwise, by configured exchange.",
    );
    for exchange in &bus.exchanges {
        let labels = [("exchange", exchange.name.as_str())];
        page.labelled(&labels, u8::from(exchange.attached));
    }
    page.gauge(
        "myxi_bus_lag_seconds",
        "Age of the last event that was read, in seconds, by the clock of the gateway that \
         published it; missing when none came within a minute.",
    );
    for exchange in &bus.exchanges {
        if let Some(lag) = exchange.lag {
            let labels = [("exchange", exchange.name.as_str())];
            page.labelled(&labels, Duration::as_secs_f64(&lag));
        }
    }
    page.counter(
        "myxi_events_skipped_total",
        "Entries of the bus's logs that are no events and were passed over, by reason.",
    );
    for (reason, count) in bus.skipped.by_reason() {
        page.labelled(&[("reason", reason)], count);
    }
}

/// Writes what belongs to each value of a label.
fn by<L: Label, T>(
    page: &mut Page,
    family: &Family<L, T>,
    write: impl Fn(&mut Page, &[(&str, &str)], &T),
) {
    for (label, of_label) in family.iter() {
        write(page, &[(L::NAME, label.as_str())], of_label);
    }
}
