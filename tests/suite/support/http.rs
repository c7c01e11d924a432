//! Plain HTTP, as a probe or a browser speaks it.

use std::net::SocketAddr;

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
