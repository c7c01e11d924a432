//! Serves the demo's one page.

use std::future::ready;

use bytes::Bytes;
use http::StatusCode;
use tokio::net::TcpListener;

use crate::small_http;

const PAGE: &str = include_str!("page.html");

/// `port` is the gateway's, on the host that the page is asked for.
pub(super) async fn serve(listener: TcpListener, port: u16) {
    let page = Bytes::from(PAGE.replace("{{port}}", &port.to_string()));
    let serving = small_http::serve(listener, move |request, _| {
        ready(match request.uri().path() {
            "/" => small_http::response(StatusCode::OK, "text/html; charset=utf-8", page.clone()),
            _ => small_http::response(StatusCode::NOT_FOUND, "text/plain", "the page is at /\n"),
        })
    });
    serving.await;
}
