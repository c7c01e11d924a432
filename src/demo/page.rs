//! Serves the demo's one page.

use std::{future::ready, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;

use crate::net::{host, listener::Listener, small_http};

const PAGE: &str = include_str!("page.html");

/// What the page needs to know of the gateway: where clients connect, and the console.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    pub clients: SocketAddr,
    pub console: SocketAddr,
}

pub(super) async fn serve(listener: Listener, around: Around) {
    small_http::serve(listener, move |request, _| ready(answer(&request, around))).await;
}

fn answer<B>(request: &Request<B>, around: Around) -> Response<Full<Bytes>> {
    if request.uri().path() != "/" {
        return small_http::response(StatusCode::NOT_FOUND, "text/plain", "the page is at /\n");
    }
    // The name under which the page is asked for: the gateway lets pages of its own name in.
    let host = host::requested(request.headers()).unwrap_or("127.0.0.1");
    let page = PAGE
        .replace("{{gateway}}", &format!("{host}:{}", around.clients.port()))
        .replace("{{console}}", &console(host, around.console));
    small_http::response(StatusCode::OK, "text/html; charset=utf-8", page)
}

/// By its own address, which needs no `--admin-host`, unless it listens on all of them.
fn console(host: &str, listener: SocketAddr) -> String {
    match listener.ip().is_unspecified() {
        true => format!("{host}:{}", listener.port()),
        false => listener.to_string(),
    }
}
