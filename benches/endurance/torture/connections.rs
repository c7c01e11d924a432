//! The connections of all clients, in a thread that does nothing but read and write them.
//! However busy the rest of this process is with its books, a client that was cut off as a
//! slow one did read.

use std::{net::SocketAddr, thread, time::Instant};

use anyhow::Context;
use tokio::{
    io::AsyncWriteExt,
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    runtime,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::{LocalSet, spawn_local},
};

use crate::{
    client::{CLOSE, Gone, TEXT, open},
    load::frames::{self, Frames},
};

/// Ends, with all connections, on drop.
pub struct Connections(UnboundedSender<Opening>);

struct Opening {
    server: SocketAddr,
    number: usize,
    received: UnboundedSender<(Instant, Received)>,
    /// What is to be written, of the client and in answer to pings.
    writing: UnboundedSender<Vec<u8>>,
    to_write: UnboundedReceiver<Vec<u8>>,
}

pub enum Received {
    Text(Vec<u8>),
    /// Nothing comes behind it.
    End(Gone),
}

/// What its client has of a connection. It ends on drop.
pub struct Connection {
    received: UnboundedReceiver<(Instant, Received)>,
    writing: UnboundedSender<Vec<u8>>,
}

impl Connections {
    pub fn start() -> anyhow::Result<Self> {
        let (opening, mut openings) = mpsc::unbounded_channel::<Opening>();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            LocalSet::new().block_on(&runtime, async {
                while let Some(opening) = openings.recv().await {
                    spawn_local(live(opening));
                }
            });
        };
        thread::Builder::new().name("connections".into()).spawn(serve).context("a thread")?;
        Ok(Self(opening))
    }

    /// What becomes of it is received.
    pub fn open(&self, server: SocketAddr, number: usize) -> Connection {
        let (received_here, received) = mpsc::unbounded_channel();
        let (writing, to_write) = mpsc::unbounded_channel();
        let opening =
            Opening { server, number, received: received_here, writing: writing.clone(), to_write };
        // Otherwise it is dropped, and that is its end.
        let _ = self.0.send(opening);
        Connection { received, writing }
    }
}

impl Connection {
    /// With the time at which it was there. May be cancelled; not to be called after the end.
    pub async fn next(&mut self) -> (Instant, Received) {
        let end = || Received::End(Gone::Unexpected("the end of its thread".into()));
        self.received.recv().await.unwrap_or_else(|| (Instant::now(), end()))
    }

    pub fn say(&self, text: &str) {
        self.write(TEXT, text.as_bytes());
    }

    /// The end follows.
    pub fn close(&self) {
        self.write(CLOSE, &1000u16.to_be_bytes());
    }

    fn write(&self, opcode: u8, payload: &[u8]) {
        // Where the connection has ended that is received.
        let _ = self.writing.send(frames::frame(opcode, payload));
    }
}

async fn live(opening: Opening) {
    let Opening { server, number, received, writing, to_write } = opening;
    let connection = async {
        let (stream, first) = open(server, number).await?;
        let (reading, writing_half) = stream.into_split();
        // A server that stopped reading must not keep this client from reading.
        let writer = spawn_local(write(writing_half, to_write));
        let ended = read(reading, &first, &received, &writing).await;
        writer.abort();
        ended
    };
    tokio::select! {
        Err(gone) = connection => {
            let _ = received.send((Instant::now(), Received::End(gone)));
        }
        () = received.closed() => {}
    }
}

async fn write(mut half: OwnedWriteHalf, mut to_write: UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = to_write.recv().await {
        // The reading half tells of an end.
        if half.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read(
    half: OwnedReadHalf,
    first: &[u8],
    received: &UnboundedSender<(Instant, Received)>,
    writing: &UnboundedSender<Vec<u8>>,
) -> Result<(), Gone> {
    let mut frames = Frames::default();
    let mut payload = Vec::new();
    let mut take = |bytes: &[u8]| {
        let now = Instant::now();
        let mut end = None;
        frames.read(bytes, |part| {
            payload.extend_from_slice(part.bytes);
            if !part.ends {
                return;
            }
            let whole = std::mem::take(&mut payload);
            match part.opcode {
                frames::PING => drop(writing.send(frames::frame(frames::PONG, &whole))),
                CLOSE => {
                    let code = whole.first_chunk().copied().map_or(1005, u16::from_be_bytes);
                    let _ = writing.send(frames::frame(CLOSE, &whole));
                    end = Some(Gone::Closed(code));
                }
                opcode if frames::is_data(opcode) => {
                    let _ = received.send((now, Received::Text(whole)));
                }
                _ => {}
            }
        });
        end.map_or(Ok(()), Err)
    };
    take(first)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        half.readable().await?;
        match half.try_read(&mut buffer) {
            Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            Ok(bytes) => take(&buffer[..bytes])?,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}
