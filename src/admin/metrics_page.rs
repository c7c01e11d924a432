//! `/metrics`: what was counted, and what is looked up for it.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::Admin;
use crate::{
    metrics::{CONTENT_TYPE, Now},
    small_http,
};

impl Admin {
    pub(super) fn metrics_page(&self) -> Response<Full<Bytes>> {
        let now = Now {
            ready: self.health.report().status.http() == StatusCode::OK,
            application_reachable: self.health.application_problem().is_none(),
            outbox_bytes: self.directory.outbox_bytes(),
            bus: self.health.bus(),
        };
        small_http::response(StatusCode::OK, CONTENT_TYPE, self.metrics.encode(&now))
    }
}
