//! The operator's listener: liveness and readiness.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::{accept::Bounds, health::Health};

/// Probes and a person or two.
pub const CONNECTIONS_MAX: usize = 64;

/// A probe that takes longer is not a probe.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Admin {
    pub health: Arc<Health>,
    /// Names besides loopback and IP addresses that a request may give as its `Host`.
    pub hosts: Vec<String>,
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let connections = || Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let bounds = Bounds { handshakes: connections(), sockets: connections() };
    loop {
        let accepted = bounds.accept(&listener).await;
        let admin = admin.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = admin.answer(&request);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(accepted.stream), service);
            // What goes wrong with a probe's connection is the probe's to tell.
            let _ = timeout(CONNECTION_TIME, connection).await;
            drop((accepted.handshake, accepted.socket));
        });
    }
}

impl Admin {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !self.allows_host(request.headers()) {
            let text = r#"{"error":"this Host is not served here; name it with --admin-host"}"#;
            return json(StatusCode::FORBIDDEN, text.into());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return json(StatusCode::METHOD_NOT_ALLOWED, r#"{"error":"only GET"}"#.into());
        }
        match request.uri().path() {
            "/health/live" => json(StatusCode::OK, r#"{"status":"live"}"#.into()),
            "/health/ready" => {
                let report = self.health.report();
                json(report.status.http(), serde_json::to_string(&report).unwrap_or_default())
            }
            _ => {
                let text = r#"{"error":"nothing here; try /health/live or /health/ready"}"#;
                json(StatusCode::NOT_FOUND, text.into())
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

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
