//! Servers that no library would let one write: for what an application must not do.

use std::{future::Future, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Runs until it is dropped.
pub struct RawServer {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RawServer {
    /// Hands over each connection, with its number.
    pub async fn start<F>(serve: impl Fn(TcpStream, usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.expect("descriptors");
                connections.spawn(serve(stream, number));
            }
        });
        Self { address, task }
    }

    /// Speaks HTTP/2; hands over each action, with its number. What the gateway asks on its
    /// own account is answered.
    pub async fn http2(
        answer: impl Fn(SendResponse<Bytes>, usize) + Send + Sync + 'static,
    ) -> Self {
        let requests = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let answer = Arc::new(answer);
        Self::start(move |stream, _| {
            let (requests, answer) = (requests.clone(), answer.clone());
            async move { serve_http2(stream, &*answer, &requests).await }
        })
        .await
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve_http2(
    stream: TcpStream,
    answer: &(dyn Fn(SendResponse<Bytes>, usize) + Send + Sync),
    requests: &std::sync::atomic::AtomicUsize,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    // Held, since a dropped body resets its call.
    let mut bodies: Vec<RecvStream> = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let is_action = request.uri().path().ends_with("/HandleAction");
        bodies.push(request.into_body());
        if !is_action {
            send_grpc(&mut respond, b"\0\0\0\0\0", &[("grpc-status", "0")]);
            continue;
        }
        answer(respond, requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
    }
}

/// A complete gRPC reply of these bytes.
pub fn send_grpc(
    respond: &mut SendResponse<Bytes>,
    body: &'static [u8],
    trailers: &[(&str, &str)],
) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(head, false).expect("the caller waits");
    stream.send_data(Bytes::from_static(body), false).expect("the caller waits");
    let mut map = HeaderMap::new();
    for (name, value) in trailers {
        let name: http::HeaderName = name.parse().unwrap();
        map.insert(name, value.parse().unwrap());
    }
    stream.send_trailers(map).expect("the caller waits");
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

/// Says hello in HTTP/2, until the first request has come.
pub async fn until_first_request(stream: &mut TcpStream) {
    let _ = greet(stream, |kind| kind != HEADERS).await;
}

/// Speaks HTTP/2 and answers pings, which are told, but no call; until the caller hangs up.
pub async fn answer_no_call(stream: &mut TcpStream, mut pinged: impl FnMut()) {
    let _ = greet(stream, |kind| {
        if kind == PING {
            pinged();
        }
        true
    })
    .await;
}

/// Speaks HTTP/2 as long as it is to go on, which is asked of each frame.
async fn greet(stream: &mut TcpStream, mut go_on: impl FnMut(u8) -> bool) -> std::io::Result<()> {
    const ACK: u8 = 1;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    stream.write_all(&frame(SETTINGS, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await?;
        let (kind, flags) = (head[3], head[4]);
        if !go_on(kind) {
            return Ok(());
        }
        if matches!(kind, SETTINGS | PING) && flags & ACK == 0 {
            let echoed = if kind == PING { payload.as_slice() } else { &[] };
            stream.write_all(&frame(kind, ACK, echoed)).await?;
        }
    }
}

/// Names 0 as the last call it took: none was.
pub fn go_away() -> Vec<u8> {
    const GO_AWAY: u8 = 7;
    frame(GO_AWAY, 0, &[0; 8])
}

/// A frame of the whole connection.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short frames only");
    [&[0, 0, length, kind, flags, 0, 0, 0, 0], payload].concat()
}
