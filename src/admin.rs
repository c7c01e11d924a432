//! The operator's listener: liveness, readiness and metrics.

mod metrics_page;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::net::TcpListener;

use crate::{directory::Directory, health::Health, metrics::Metrics, small_http};

pub struct Admin {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub directory: Arc<Directory>,
    /// Names besides localhost and IP addresses that a request may give as its `Host`.
    pub hosts: Vec<String>,
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, admin: Admin) {
    small_http::serve(listener, move |request| admin.answer(request)).await;
}

impl Admin {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !self.allows_host(request.headers()) {
            let text = r#"{"error":"this Host is not served here; name it with --admin-host"}"#;
            return json(StatusCode::FORBIDDEN, text);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = json(StatusCode::METHOD_NOT_ALLOWED, r#"{"error":"only GET"}"#);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/health/live" => json(StatusCode::OK, r#"{"status":"live"}"#),
            "/health/ready" => {
                let report = self.health.report();
                json(report.status.http(), serde_json::to_string(&report).unwrap_or_default())
            }
            "/metrics" => self.metrics_page(),
            _ => {
                let text =
                    r#"{"error":"nothing here; try /health/live, /health/ready or /metrics"}"#;
                json(StatusCode::NOT_FOUND, text)
            }
        }
    }

    /// A web page can make a browser ask under a name of its own (DNS rebinding), but not
    /// under an address or under `localhost`.
    fn allows_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
            return false;
        };
        let name = host_name(host);
        name.eq_ignore_ascii_case("localhost")
            || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
    }
}

/// `Host` without its port.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = small_http::response(status, "application/json", body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
