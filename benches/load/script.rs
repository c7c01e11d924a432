//! What a client says and waits for, step by step, before it only counts: the handshake of
//! each protocol, a subscription, one large message.

use std::{net::SocketAddr, rc::Rc};

use anyhow::ensure;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::frames::{self, Frames};

/// Sends, then waits.
pub struct Step {
    send: Vec<u8>,
    until: Until,
}

enum Until {
    /// The end of an HTTP answer that switches protocols.
    Switched,
    /// A message that contains this.
    Message(String),
}

/// The WebSocket handshake.
pub fn upgrade(server: SocketAddr, path: &str, protocol: Option<&str>) -> Step {
    let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        protocol.unwrap_or_default()
    );
    Step { send: request.into_bytes(), until: Until::Switched }
}

/// Sends these frames (maybe none), and waits for a message that contains the answer.
pub fn step(send: Vec<u8>, answer: &str) -> Step {
    Step { send, until: Until::Message(answer.into()) }
}

pub fn text(message: &[u8]) -> Vec<u8> {
    frames::frame(1, message)
}

pub fn binary(message: &[u8]) -> Vec<u8> {
    frames::frame(2, message)
}

/// Plays them over a connection of its own, and answers the message that was awaited last.
pub async fn ask(server: SocketAddr, steps: impl Into<Rc<[Step]>>) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    let (mut progress, mut frames) = (Progress::new(steps.into()), Frames::default());
    let (mut buffer, mut last) = (vec![0; 64 * 1024], Vec::new());
    while !progress.is_done() {
        stream.write_all(progress.unsent()).await?;
        progress.sent(progress.unsent().len());
        let bytes = stream.read(&mut buffer).await?;
        ensure!(bytes > 0, "the connection ended");
        let read = progress.read(&mut frames, &buffer[..bytes], |message, awaits| {
            if awaits {
                last = message.to_owned();
            }
        });
        read.map_err(anyhow::Error::msg)?;
    }
    Ok(String::from_utf8(last)?)
}

/// How far a client is.
pub struct Progress {
    steps: Rc<[Step]>,
    at: usize,
    sent: usize,
    /// Of the answer that is awaited.
    seen: Vec<u8>,
}

impl Progress {
    pub fn new(steps: Rc<[Step]>) -> Self {
        Self { steps, at: 0, sent: 0, seen: Vec::new() }
    }

    pub fn is_done(&self) -> bool {
        self.at == self.steps.len()
    }

    /// And no part of a message is kept here.
    pub fn is_over(&self) -> bool {
        self.is_done() && self.seen.is_empty()
    }

    /// What is to be sent now.
    pub fn unsent(&self) -> &[u8] {
        self.steps.get(self.at).map_or(&[], |step| &step.send[self.sent..])
    }

    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// Reads what came, and tells of each message, and whether one was still awaited then. An
    /// error is what came instead of it.
    pub fn read(
        &mut self,
        frames: &mut Frames,
        mut bytes: &[u8],
        mut heard: impl FnMut(&[u8], bool),
    ) -> Result<(), String> {
        if let Some(Step { until: Until::Switched, .. }) = self.steps.get(self.at) {
            let before = self.seen.len();
            self.seen.extend(bytes);
            let Some(end) = find(&self.seen, b"\r\n\r\n") else { return Ok(()) };
            if !self.seen.starts_with(b"HTTP/1.1 101") {
                return Err(String::from_utf8_lossy(&self.seen).into_owned());
            }
            bytes = &bytes[end + 4 - before..];
            self.next();
        }
        frames.read(bytes, |part| {
            if !frames::is_data(part.opcode) {
                return;
            }
            self.seen.extend(part.bytes);
            if part.ends {
                heard(&self.seen, !self.is_done());
                match self.steps.get(self.at).map(|step| &step.until) {
                    Some(Until::Message(text)) if find(&self.seen, text.as_bytes()).is_some() => {
                        self.next();
                    }
                    _ => self.seen.clear(),
                }
            }
        });
        Ok(())
    }

    fn next(&mut self) {
        (self.at, self.sent) = (self.at + 1, 0);
        self.seen.clear();
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
