//! `/metrics`: what was counted, and what is looked up for it.

use http::StatusCode;

use super::{
    Admin,
    answer::{Answer, fresh},
};
use crate::metrics::{CONTENT_TYPE, Now};

impl Admin {
    pub(super) async fn metrics_page(&self) -> Answer {
        let now = Now {
            ready: self.health.report().status.http() == StatusCode::OK,
            application_reachable: self.health.application_problem().is_none(),
            outbox_bytes: self.directory.outbox_bytes().await,
            bus: self.health.bus(),
        };
        fresh(StatusCode::OK, CONTENT_TYPE, self.metrics.encode(&now))
    }
}
