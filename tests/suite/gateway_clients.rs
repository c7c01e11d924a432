//! What stock clients of the `Gateway` service do by themselves, and that they are not sent
//! away for it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::TcpStream,
    sync::watch,
};

use crate::support::{
    DEADLINE, gateway::Gateway, handler::TestHandler, process::Myxi, python, raw::RawServer,
    script::Script, within,
};

/// Frames of HTTP/2 (RFC 9113, 6).
const PREFACE: usize = 24;
const HEADER: usize = 9;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const ACK: u8 = 1;

/// More than stock servers forgive, which send GOAWAY at the third or the fifth.
const PINGS: usize = 6;

/// More than HTTP/2 libraries forgive by themselves; as many as the script gives up.
const GIVEN_UP: usize = 200;

/// Stands before the service and counts what comes.
struct Counter {
    server: RawServer,
    connections: Arc<AtomicUsize>,
    frames: watch::Receiver<usize>,
}

impl Counter {
    /// Counts frames of a kind that are no acknowledgement.
    async fn of(kind: u8, gateway: SocketAddr) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, frames) = watch::channel(0);
        let (opened, count) = (connections.clone(), Arc::new(count));
        let server = RawServer::start(move |client, _| {
            opened.fetch_add(1, Ordering::Relaxed);
            let count = count.clone();
            async move {
                let server = TcpStream::connect(gateway).await.expect("the gateway");
                let ((mut from, mut back), (mut answers, mut to)) =
                    (client.into_split(), server.into_split());
                let asking = async {
                    let mut preface = [0; PREFACE];
                    from.read_exact(&mut preface).await?;
                    to.write_all(&preface).await?;
                    loop {
                        let mut frame = vec![0; HEADER];
                        from.read_exact(&mut frame).await?;
                        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
                        frame.resize(HEADER + length as usize, 0);
                        from.read_exact(&mut frame[HEADER..]).await?;
                        to.write_all(&frame).await?;
                        if frame[3] == kind && (kind != PING || frame[4] & ACK == 0) {
                            count.send_modify(|count| *count += 1);
                        }
                    }
                };
                // Either end is the end of both.
                tokio::select! {
                    ended = asking => { let _: std::io::Result<()> = ended; }
                    _ = copy(&mut answers, &mut back) => {}
                }
            }
        })
        .await;
        Self { server, connections, frames }
    }

    async fn counts(&mut self, wanted: usize) {
        let counted = self.frames.wait_for(|count| *count >= wanted);
        within(DEADLINE, "so many frames", counted).await.expect("it counts");
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A caller of the Gateway service on the stock client of gRPC, here Python's.
fn caller(gateway: SocketAddr, what: &str) -> Script {
    let mut command = python::of_tests("conformance/gateway_client.py");
    command.args([&gateway.to_string(), what]);
    Script::start("the caller", command)
}

#[tokio::test]
async fn compressed_events_are_pushed_and_a_bomb_is_refused() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "k").await;
    let lines = caller(gateway.grpc(), "gzip").rest().await;
    assert_eq!((&*lines[0], &*lines[2]), ("OK", "OK"), "{lines:?}");
    assert!(lines[1].starts_with("RESOURCE_EXHAUSTED "), "{lines:?}");
    let payload = client.event("Pushed").await["payload"].clone();
    assert_eq!(payload.as_str(), Some(&*"abc".repeat(10_000)));
    assert_eq!(client.event("Pushed").await["payload"], 1);
}

#[tokio::test]
async fn a_client_that_pings_often_and_without_calls_is_not_sent_away() {
    let app = TestHandler::start().await;
    let gateway = Gateway::start(&app).await;
    let mut pings = Counter::of(PING, gateway.grpc()).await;
    let mut script = caller(pings.server.address, "keepalive");
    assert_eq!(script.line().await.as_deref(), Some("OK"));
    for round in 1..=2 {
        pings.counts(round * PINGS).await;
        script.tell("again").await;
        assert_eq!(script.line().await.as_deref(), Some("OK"));
    }
    assert_eq!(pings.connections(), 1);
}

#[tokio::test]
async fn calls_given_up_while_the_gateway_was_stopped_cost_nobody_the_connection() {
    let app = TestHandler::start().await;
    let myxi = Myxi::serve(&app, &["--exchange=widgets"]).await;
    let mut resets = Counter::of(RST_STREAM, myxi.grpc()).await;
    let mut script = caller(resets.server.address, "deadlines");
    assert_eq!(script.line().await.as_deref(), Some("OK"));
    myxi.signal("STOP");
    script.tell("go on").await;
    assert_eq!(script.line().await.as_deref(), Some("given up DEADLINE_EXCEEDED"));
    resets.counts(GIVEN_UP).await;
    myxi.signal("CONT");
    assert_eq!(script.line().await.as_deref(), Some("OK"), "the call beside them");
    script.tell("again").await;
    assert_eq!(script.line().await.as_deref(), Some("OK"));
    assert_eq!(resets.connections(), 1);
}
