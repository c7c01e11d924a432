//! One client as an application's page would be: it says something and waits for the
//! answer. What is pushed to it meanwhile is counted.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::sleep,
};

use crate::load::{
    EXCHANGE,
    frames::{self, Frames},
};

/// The network that these clients come from; each address has 28,000 ports.
pub const SOURCE: [u8; 3] = [127, 0, 2];
const SOURCES: usize = 16;

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    #[error("{0}")]
    Connection(#[from] io::Error),
    #[error("the handshake was answered with {0}")]
    Handshake(String),
    #[error("closed with {0}")]
    Closed(u16),
    #[error("unexpected: {0}")]
    Unexpected(String),
}

#[derive(Debug, Deserialize)]
pub struct Message {
    pub event: String,
    #[serde(default)]
    pub tag: Option<u64>,
    #[serde(default)]
    pub payload: Value,
    /// Of a pushed event.
    #[serde(default)]
    pub mq: Option<Mq>,
}

/// Where an event was pushed to.
#[derive(Debug, Deserialize)]
pub struct Mq {
    #[serde(rename = "e")]
    pub exchange: String,
    #[serde(rename = "rk")]
    pub routing_key: String,
    /// Its position.
    #[serde(default)]
    pub id: Option<Box<str>>,
}

impl Message {
    /// The code, where it is an error.
    pub fn error(&self) -> Option<&str> {
        (self.event == "Error").then(|| self.payload["error"].as_str()).flatten()
    }

    /// How long to wait, where it says that nothing happened.
    pub fn retry_after(&self) -> Option<Duration> {
        let retryable = self.event == "Error" && self.payload["retryable"] == true;
        let after = self.payload["retry_after_ms"].as_u64().unwrap_or_default();
        retryable.then_some(Duration::from_millis(after))
    }
}

/// What clients count together.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages that answer nothing.
    pub pushed: Cell<u64>,
    /// Answers that said: later.
    pub busy: Cell<u64>,
}

pub struct Client {
    stream: TcpStream,
    frames: Frames,
    payload: Vec<u8>,
    inbox: VecDeque<(u8, Vec<u8>)>,
    last_tag: u64,
    counts: Rc<Counts>,
    pub session: String,
}

impl Client {
    /// Comes back with the `Welcome`.
    pub async fn connect(
        server: SocketAddr,
        number: usize,
        counts: Rc<Counts>,
    ) -> Result<Self, Gone> {
        let (stream, first) = open(server, number).await?;
        let mut client = Self {
            stream,
            frames: Frames::default(),
            payload: Vec::new(),
            inbox: VecDeque::new(),
            last_tag: 0,
            counts,
            session: String::new(),
        };
        client.receive(&first);
        let welcome = client.next().await?;
        client.session = welcome.payload["id"].as_str().unwrap_or_default().into();
        match welcome.event.as_str() {
            "Welcome" => Ok(client),
            other => Err(Gone::Unexpected(other.into())),
        }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub async fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(&frames::frame(TEXT, text.as_bytes())).await
    }

    /// Says it with a tag, which it returns.
    async fn start(&mut self, action: &str, payload: &Value) -> io::Result<u64> {
        self.last_tag += 1;
        let tag = self.last_tag;
        self.say(&json!({"action": action, "tag": tag, "payload": payload}).to_string()).await?;
        Ok(tag)
    }

    /// The next answer to what was said with that tag.
    async fn answer(&mut self, tag: u64) -> Result<Message, Gone> {
        loop {
            let message = self.next().await?;
            if message.tag == Some(tag) {
                return Ok(message);
            }
        }
    }

    /// The first answer, whatever it is.
    pub async fn ask(&mut self, action: &str, payload: &Value) -> Result<Message, Gone> {
        let tag = self.start(action, payload).await?;
        self.answer(tag).await
    }

    /// Acts until the answer is another than "later".
    pub async fn act(&mut self, action: &str, payload: &Value) -> Result<Message, Gone> {
        loop {
            let answer = self.ask(action, payload).await?;
            let Some(after) = answer.retry_after() else { return Ok(answer) };
            self.later(after).await;
        }
    }

    async fn later(&mut self, after: Duration) {
        self.counts.busy.set(self.counts.busy.get() + 1);
        sleep(after).await;
    }

    pub async fn authenticate(&mut self) -> Result<(), Gone> {
        match self.act("Authenticate", &json!({})).await?.event.as_str() {
            "Done" => Ok(()),
            other => Err(Gone::Unexpected(other.into())),
        }
    }

    /// Until all are.
    pub async fn subscribe(&mut self, keys: &[String]) -> Result<(), Gone> {
        let payload = json!({"exchange": EXCHANGE, "routing_keys": keys});
        'again: loop {
            let tag = self.start("Subscribe", &payload).await?;
            for _ in keys {
                let answer = self.answer(tag).await?;
                if let Some(after) = answer.retry_after() {
                    self.later(after).await;
                    continue 'again;
                }
                if answer.event != "Subscribed" {
                    return Err(Gone::Unexpected(format!("{answer:?}")));
                }
            }
            return Ok(());
        }
    }

    /// The next message; may be cancelled.
    pub async fn next(&mut self) -> Result<Message, Gone> {
        loop {
            while let Some((opcode, payload)) = self.inbox.pop_front() {
                match opcode {
                    frames::PING => {
                        self.stream.write_all(&frames::frame(frames::PONG, &payload)).await?;
                    }
                    CLOSE => {
                        let code = payload.first_chunk().copied().map_or(1005, u16::from_be_bytes);
                        // Best effort: the other side has ended.
                        let _ = self.stream.try_write(&frames::frame(CLOSE, &payload));
                        return Err(Gone::Closed(code));
                    }
                    opcode if frames::is_data(opcode) => {
                        let message: Message = serde_json::from_slice(&payload)
                            .map_err(|error| Gone::Unexpected(error.to_string()))?;
                        if message.mq.is_some() || message.event == "Sent" {
                            self.counts.pushed.set(self.counts.pushed.get() + 1);
                        }
                        return Ok(message);
                    }
                    _ => {}
                }
            }
            self.stream.readable().await?;
            let read = BUFFER.with_borrow_mut(|buffer| {
                let read = self.stream.try_read(buffer);
                if let Ok(bytes) = read {
                    self.receive(&buffer[..bytes]);
                }
                read
            });
            match read {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let Self { frames, payload, inbox, .. } = self;
        frames.read(bytes, |part| {
            payload.extend(part.bytes);
            if part.ends {
                inbox.push_back((part.opcode, std::mem::take(payload)));
            }
        });
    }

    /// Closes, and waits for the answer.
    pub async fn close(mut self) -> Result<(), Gone> {
        self.stream.write_all(&frames::frame(CLOSE, &1000u16.to_be_bytes())).await?;
        loop {
            match self.next().await {
                Ok(_) => {}
                Err(Gone::Closed(1000)) => return Ok(()),
                Err(gone) => return Err(gone),
            }
        }
    }
}

/// A WebSocket, and what came behind the handshake's answer already.
pub async fn open(server: SocketAddr, number: usize) -> Result<(TcpStream, Vec<u8>), Gone> {
    let mut stream = connect(server, number).await?;
    stream.write_all(upgrade_request(server).as_bytes()).await?;
    let mut head = Vec::new();
    let end = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some(at) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
    };
    if !head.starts_with(b"HTTP/1.1 101") {
        let status = head.get(9..12).unwrap_or_default();
        return Err(Gone::Handshake(String::from_utf8_lossy(status).into()));
    }
    Ok((stream, head.split_off(end)))
}

/// A bare connection from an address of [`SOURCE`].
pub async fn connect(server: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let [a, b, c] = SOURCE;
    let source = Ipv4Addr::new(a, b, c, (number % SOURCES) as u8 + 1);
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.set_nodelay(true)?;
    socket.connect(server).await
}

pub fn upgrade_request(server: SocketAddr) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}
