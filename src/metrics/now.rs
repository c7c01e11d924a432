//! The page as it is scraped: what was counted, and beside it what is not counted but looked
//! up when it is asked for.

use std::time::Duration;

use prometheus_client::{
    encoding::text,
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
    registry::Registry,
};

use super::{
    Metrics,
    number::{Buckets, labelled},
    process,
};

/// What is looked up.
#[derive(Debug, Clone, Default)]
pub struct Now {
    pub ready: bool,
    pub application_reachable: bool,
    pub outbox_bytes: u64,
    /// Since the start.
    pub log_lines_dropped: u64,
    pub bus: BusNow,
    pub buffer: BufferNow,
}

/// How the bus is; numbers are since the start.
#[derive(Debug, Clone, Default)]
pub struct BusNow {
    pub kind: &'static str,
    pub connected: bool,
    pub blocked: bool,
    pub reconnects: u64,
    pub gaps: u64,
    pub stalls: u64,
    /// Events that were pushed again.
    pub duplicates: u64,
    pub messages_published: u64,
    pub events_per_message: Buckets,
    pub exchanges: Vec<ExchangeNow>,
    /// Entries that were passed over, by reason.
    pub skipped: Vec<(&'static str, u64)>,
}

#[derive(Debug, Clone)]
pub struct ExchangeNow {
    pub name: String,
    pub attached: bool,
    pub lag: Option<Duration>,
}

/// What is kept in memory for clients that come back.
#[derive(Debug, Clone, Default)]
pub struct BufferNow {
    /// In bytes.
    pub most: usize,
    pub exchanges: Vec<KeptNow>,
}

#[derive(Debug, Clone)]
pub struct KeptNow {
    pub name: String,
    pub entries: usize,
    pub bytes: usize,
    /// How long ago the oldest event was pushed.
    pub age: Option<Duration>,
    /// Of the log, under way.
    pub readings: usize,
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
        page.register(
            "process_start_time_seconds",
            "When the gateway started, in Unix seconds",
            ConstGauge::new(self.started_at.seconds_f64()),
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
            ConstCounter::new(now.log_lines_dropped),
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
        buffer(&mut page, &now.buffer);
        page
    }
}

fn bus(page: &mut Registry, bus: &BusNow) {
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
        ConstCounter::new(bus.messages_published),
    );
    page.register(
        "myxi_bus_events_per_message",
        "Events in each of these messages",
        bus.events_per_message.clone(),
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
    page.register(
        "myxi_events_duplicate",
        "Events of the bus's logs that were pushed again under the same event_id, and not delivered",
        ConstCounter::new(bus.duplicates),
    );
    let skipped = Family::<_, Counter>::default();
    for (reason, count) in &bus.skipped {
        skipped.get_or_create(&[("reason", *reason)]).inc_by(*count);
    }
    page.register(
        "myxi_events_skipped",
        "Entries of the bus's logs that are no events and were passed over, by reason",
        skipped,
    );
}

fn buffer(page: &mut Registry, buffer: &BufferNow) {
    page.register(
        "myxi_resume_buffer_max_bytes",
        "What the latest events of all exchanges may take in memory, in bytes",
        ConstGauge::new(buffer.most as u64),
    );
    let exchanges = || buffer.exchanges.iter();
    let of_each = |count: fn(&KeptNow) -> usize| {
        labelled("exchange", exchanges().map(move |one| (one.name.as_str(), count(one) as f64)))
    };
    page.register(
        "myxi_resume_buffer_bytes",
        "Bytes that the latest events take in memory, for clients that come back, by exchange",
        of_each(|kept| kept.bytes),
    );
    page.register(
        "myxi_resume_buffer_entries",
        "Entries of the log that are in memory, by exchange",
        of_each(|kept| kept.entries),
    );
    let ages = exchanges().filter_map(|one| Some((one.name.as_str(), one.age?.as_secs_f64())));
    page.register(
        "myxi_resume_buffer_age_seconds",
        "How long ago the oldest event in memory was pushed, in seconds, by the clock of the \
         gateway that published it; missing when there is none",
        labelled("exchange", ages),
    );
    page.register(
        "myxi_log_readings",
        "Readings of the log that are under way for clients whose place is not in memory any \
         more, by exchange",
        of_each(|kept| kept.readings),
    );
}
