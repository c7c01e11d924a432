//! `/metrics`: what was counted, and what is looked up for it.

use http::{HeaderMap, StatusCode, header};

use super::{
    Admin,
    answer::{Answer, fresh},
};
use crate::metrics::{CONTENT_TYPE, Now};

/// For people: a browser saves what it does not know.
const PLAIN: &str = "text/plain; charset=utf-8";

impl Admin {
    pub(super) async fn metrics_page(&self, headers: &HeaderMap) -> Answer {
        let now = Now {
            ready: self.health.report().status.http() == StatusCode::OK,
            application_reachable: self.health.application_problem().is_none(),
            outbox_bytes: self.directory.outbox_bytes().await,
            bus: self.health.bus(),
        };
        let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let for_people = accepted.is_some_and(|accept| accept.contains("text/html"));
        let content_type = if for_people { PLAIN } else { CONTENT_TYPE };
        fresh(StatusCode::OK, content_type, self.metrics.encode(&now))
    }
}
