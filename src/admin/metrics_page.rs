//! `/metrics`: what was counted, and what is looked up for it.

use http::{HeaderMap, StatusCode, header};

use super::{
    Admin,
    answer::{Answer, fresh},
};
use crate::{
    bus::{BusStatus, EventsPerMessage, ExchangeStatus},
    logging,
    metrics::{Buckets, BufferNow, BusNow, CONTENT_TYPE, ExchangeNow, KeptNow, Now},
    ring::Held,
};

/// For people: a browser saves what it does not know.
const PLAIN: &str = "text/plain; charset=utf-8";

impl Admin {
    pub(super) async fn metrics_page(&self, headers: &HeaderMap) -> Answer {
        let now = Now {
            ready: self.health.report().status.http() == StatusCode::OK,
            application_reachable: self.health.application_problem().is_none(),
            outbox_bytes: self.directory.outbox_bytes().await,
            log_lines_dropped: logging::dropped_lines(),
            bus: self.health.bus().into(),
            buffer: BufferNow {
                most: self.ring.capacity(),
                exchanges: self.ring.held().into_iter().map(KeptNow::from).collect(),
            },
        };
        let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let for_people = accepted.is_some_and(|accept| accept.contains("text/html"));
        let content_type = if for_people { PLAIN } else { CONTENT_TYPE };
        fresh(StatusCode::OK, content_type, self.metrics.encode(&now))
    }
}

impl From<BusStatus> for BusNow {
    fn from(bus: BusStatus) -> Self {
        let exchanges = bus.exchanges.into_iter();
        Self {
            kind: bus.kind,
            connected: bus.connected,
            blocked: bus.blocked,
            reconnects: bus.reconnects,
            gaps: bus.gaps,
            duplicates: bus.duplicates,
            stalls: bus.stalls,
            messages_published: bus.published.all_messages(),
            events_per_message: bus.published.into(),
            exchanges: exchanges.map(ExchangeNow::from).collect(),
            skipped: bus.skipped.by_reason().map(|(why, count)| (why.into(), count)).collect(),
        }
    }
}

impl From<EventsPerMessage> for Buckets {
    fn from(published: EventsPerMessage) -> Self {
        let bounds = EventsPerMessage::BOUNDS.map(|most| most as f64);
        let counts = bounds.into_iter().zip(published.messages).collect();
        Self { counts, sum: published.events as f64 }
    }
}

impl From<ExchangeStatus> for ExchangeNow {
    fn from(exchange: ExchangeStatus) -> Self {
        let ExchangeStatus { name, attached, lag } = exchange;
        Self { name: name.to_string(), attached, lag }
    }
}

impl From<Held> for KeptNow {
    fn from(held: Held) -> Self {
        let Held { exchange, entries, bytes, age, readings } = held;
        Self { name: exchange.to_string(), entries, bytes, age, readings }
    }
}
