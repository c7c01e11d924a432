//! Plain HTTP, as a probe or a browser speaks it.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{DEADLINE, within};

/// The status and the body of a GET.
pub async fn get(server: SocketAddr, path: &str, host: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let response = exchange(server, request.as_bytes()).await;
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    (status(head), body.to_owned())
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    /// Of the one response that this is.
    pub fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        Self { status: status(head), head: head.to_owned(), body: body.to_owned() }
    }

    /// A header's value; names are in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A request with these headers, of which one is the `Host`.
pub async fn request(
    server: SocketAddr,
    line: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Response {
    let body = body.as_ref();
    let length = body.len().to_string();
    let own = [("Connection", "close"), ("Content-Length", &*length)];
    let headers = headers.iter().chain(&own).map(|(name, value)| format!("{name}: {value}\r\n"));
    let head = format!("{line} HTTP/1.1\r\n{}\r\n", headers.collect::<String>());
    let response = exchange(server, [head.as_bytes(), body].concat().as_slice()).await;
    Response::read(&response)
}

/// Everything that the server says to these bytes until it closes.
pub async fn exchange(server: SocketAddr, request: &[u8]) -> String {
    within(DEADLINE, "an HTTP response", async {
        let mut stream = TcpStream::connect(server).await.expect("a connection");
        stream.write_all(request).await.expect("sent");
        let mut response = Vec::new();
        // A reset after the response is an end, too.
        let _ = stream.read_to_end(&mut response).await;
        String::from_utf8_lossy(&response).into_owned()
    })
    .await
}

pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
}
