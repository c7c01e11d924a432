//! Every metric that is counted, with its name and its help; the library adds `_total` to
//! counters. `docs/metrics.md` has the same list, and a test holds the two together.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Metric, Registry};
use tokio::time::Instant;

use super::{
    ErrorLabel, Metrics, OutcomeLabel,
    by_label::ByLabel,
    number::{Durations, Gauge},
    resumes::Resumes,
};
use crate::time::UnixTime;

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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

impl Metrics {
    /// `codes`: those of the gateway's own errors, as clients are told them.
    pub fn new(codes: &[&'static str]) -> Self {
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
                ByLabel::each(Counter::default),
            ),
            sessions_opened: page.one("myxi_sessions_opened", "Sessions that were opened"),
            sessions_closed: page.add(
                "myxi_sessions_closed",
                "Sessions that ended, by reason; slow_consumer: cut off because it did not read \
                 (3008)",
                ByLabel::each(Counter::default),
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
                ByLabel::new(OutcomeLabel::values(codes), Counter::default),
            ),
            action_durations: page.add(
                "myxi_action_duration_seconds",
                "Time from the start of an action until it was answered, in seconds, by who \
                 carries it out; waiting behind the session's earlier actions is not in it",
                ByLabel::each(Durations::default),
            ),
            errors: page.add(
                "myxi_errors",
                "Error messages told to clients, by code; application: a code of the application's \
                 own",
                ByLabel::new(ErrorLabel::values(codes), Counter::default),
            ),
            calls_in_flight: page.add(
                "myxi_application_calls_in_flight",
                "gRPC calls to the application that are under way now, by RPC",
                ByLabel::each(Gauge::default),
            ),
            calls: page.add(
                "myxi_application_calls",
                "gRPC calls to the application that ended, by RPC and by its status; in small \
                 letters where it gave none",
                ByLabel::pairs(Counter::default),
            ),
            call_durations: page.add(
                "myxi_application_call_duration_seconds",
                "Time of a gRPC call to the application, in seconds, by RPC; waiting for a turn \
                 (--max-in-flight) is not in it",
                ByLabel::each(Durations::default),
            ),
            checks: page.add(
                "myxi_subscription_checks",
                "Topics that the application was asked about, by why it was asked and what it \
                 decided",
                ByLabel::pairs(Counter::default),
            ),
            gateway_calls_refused: page.add(
                "myxi_gateway_calls_refused",
                "Calls to the Gateway service that were turned away at its door, by reason",
                ByLabel::each(Counter::default),
            ),
            events_published: page.add(
                "myxi_events_published",
                "Events that were to be published through this replica, by result",
                ByLabel::each(Counter::default),
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
                Durations::default(),
            ),
            resumes: Resumes {
                under_way: page.one(
                    "myxi_resumes_under_way",
                    "Wishes of clients for what they missed that are not fulfilled yet",
                ),
                over: page.add(
                    "myxi_resumes",
                    "Wishes of clients for what they missed, by what they gave and what became of it",
                    ByLabel::pairs(Counter::default),
                ),
                events: page.add(
                    "myxi_events_replayed",
                    "Events queued for clients that had missed them, by where they were found: in \
                     memory (--resume-buffer) or in the log",
                    ByLabel::each(Counter::default),
                ),
                log_waiting: page.one(
                    "myxi_log_readers_waiting",
                    "Sessions that wait until the log is read where they were",
                ),
                log_refused: page.one(
                    "myxi_log_readers_refused",
                    "How often a session had waited for a reading of the log for as long as it may",
                ),
            },
            action_table: Default::default(),
            recent_calls: Default::default(),
            started: Instant::now(),
            started_at: UnixTime::now(),
            counted: page.0,
        }
    }
}
