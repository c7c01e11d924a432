//! Serves the demo's one page.

use std::{future::ready, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header, uri::Authority};
use http_body_util::Full;
use tokio::net::TcpListener;

use crate::net::small_http;

const PAGE: &str = include_str!("page.html");

/// What the page needs to know of the gateway: where clients connect, and the console.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    pub clients: SocketAddr,
    pub console: SocketAddr,
}

pub(super) async fn serve(listener: TcpListener, around: Around) {
    small_http::serve(listener, move |request, _| ready(answer(&request, around))).await;
}

fn answer<B>(request: &Request<B>, around: Around) -> Response<Full<Bytes>> {
    if request.uri().path() != "/" {
        return small_http::response(StatusCode::NOT_FOUND, "text/plain", "the page is at /\n");
    }
    let host = host(request).unwrap_or_else(|| "127.0.0.1".into());
    let page = PAGE
        .replace("{{gateway}}", &format!("{host}:{}", around.clients.port()))
        .replace("{{console}}", &console(&host, around.console));
    small_http::response(StatusCode::OK, "text/html; charset=utf-8", page)
}

/// The name under which the page is asked for: the gateway lets pages of its own name in.
fn host<B>(request: &Request<B>) -> Option<String> {
    let authority = request.headers().get(header::HOST)?.to_str().ok()?;
    let authority: Authority = authority.parse().ok()?;
    let in_a_name = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let host = authority.host();
    host.bytes().all(in_a_name).then(|| host.to_owned())
}

/// By its own address, which needs no `--admin-host`, unless it listens on all of them.
fn console(host: &str, listener: SocketAddr) -> String {
    match listener.ip().is_unspecified() {
        true => format!("{host}:{}", listener.port()),
        false => listener.to_string(),
    }
}
