//! Writing into a stream past AMQP 0.9.1, as clients of RabbitMQ's native stream protocol do:
//! what they write is taken as it is, whether or not it is AMQP 1.0, and an offset that they
//! store takes an offset of the log with no entry at it.
//!
//! The protocol by hand, as much of it as this needs. Each call has a connection of its own.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::{DEADLINE, rabbitmq::RabbitMq, within};

const DECLARE_PUBLISHER: u16 = 1;
const PUBLISH: u16 = 2;
const PUBLISH_CONFIRM: u16 = 3;
const STORE_OFFSET: u16 = 10;
const QUERY_OFFSET: u16 = 11;
const PEER_PROPERTIES: u16 = 17;
const SASL_HANDSHAKE: u16 = 18;
const SASL_AUTHENTICATE: u16 = 19;
const TUNE: u16 = 20;
const OPEN: u16 = 21;
const CLOSE: u16 = 22;

/// In a command's key: it answers.
const ANSWER: u16 = 0x8000;

const VERSION: u16 = 1;
const OK: u16 = 1;
const OFFSET_NOT_FOUND: u16 = 19;

/// In the first byte of what is published: it is a batch, compressed like this.
const BATCH: u8 = 0x80;
const UNCOMPRESSED: u8 = 0;
const GZIP: u8 = 1;

/// The only publisher of a connection, and the only thing that it publishes.
const PUBLISHER: u8 = 1;
const PUBLISHING_ID: u64 = 1;

/// An entry that no consumer of AMQP 0.9.1 can be given; see [`crate::broker_facts`].
pub const NO_AMQP: &[u8] = b"this is no AMQP 1.0";

impl RabbitMq {
    /// Writes these entries, whatever they are, and comes back when they are confirmed. They
    /// are a batch to the protocol: they stand in one chunk of the log, side by side.
    pub async fn write_raw(&self, stream: &str, entries: &[&[u8]]) {
        let entries: Vec<_> = entries.iter().map(|entry| bytes(entry)).collect();
        self.write_batch(stream, UNCOMPRESSED, entries.len(), &entries.concat()).await;
    }

    /// Writes a compressed batch. The broker does not look into it: it takes so many offsets,
    /// and no consumer of AMQP 0.9.1 can be given it.
    pub async fn write_compressed(&self, stream: &str, entries: u16) {
        self.write_batch(stream, GZIP, entries.into(), b"whatever").await;
    }

    /// Stores an offset as a consumer of the stream's own protocol does, and comes back when
    /// it is in the log. It takes an offset there, at which no entry is.
    pub async fn store_offset(&self, stream: &str, consumer: &str, offset: u64) {
        let mut client = Client::open(self).await;
        let (consumer, stream) = (string(consumer), string(stream));
        client.send(STORE_OFFSET, &[&consumer, &stream, &offset.to_be_bytes()]).await;
        // It is not answered, but read back.
        let stored = async {
            let expected = [&OK.to_be_bytes()[..], &offset.to_be_bytes()].concat();
            loop {
                let answer = client.ask(QUERY_OFFSET, &[&consumer, &stream]).await;
                if answer == expected {
                    return;
                }
                let code = u16::from_be_bytes([answer[0], answer[1]]);
                assert!([OK, OFFSET_NOT_FOUND].contains(&code), "querying an offset: {answer:?}");
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(DEADLINE, "the offset is stored", stored).await;
        client.close().await;
    }

    async fn write_batch(&self, stream: &str, compression: u8, entries: usize, batch: &[u8]) {
        let mut client = Client::open(self).await;
        let (publisher, nameless) = ([PUBLISHER], string(""));
        client.ask_ok(DECLARE_PUBLISHER, &[&publisher, &nameless, &string(stream)]).await;
        let one_message = [&publisher[..], &1u32.to_be_bytes(), &PUBLISHING_ID.to_be_bytes()];
        let (kind, count) = ([BATCH | compression << 4], (entries as u16).to_be_bytes());
        let uncompressed = (batch.len() as u32).to_be_bytes();
        let batch = [&kind[..], &count, &uncompressed, &bytes(batch)];
        client.send(PUBLISH, &[one_message.as_slice(), &batch].concat()).await;
        let confirmed = client.receive(PUBLISH_CONFIRM).await;
        assert_eq!(confirmed, one_message.concat(), "it is confirmed");
        client.close().await;
    }
}

/// AMQP 1.0 that a consumer of AMQP 0.9.1 can be given, with this routing key.
pub fn amqp_message(routing_key: &str, body: &[u8]) -> Vec<u8> {
    // A section is described by a small number; see "messaging format" in AMQP 1.0.
    let section = |number: u8| [0, 0x53, number];
    let symbol = |text: &str| [&[0xa3, text.len() as u8], text.as_bytes()].concat();
    let text = |text: &str| [&[0xa1, text.len() as u8], text.as_bytes()].concat();
    let pair = [&[2], &symbol("x-routing-key")[..], &text(routing_key)].concat();
    let annotations = [&[0xc1, pair.len() as u8], &pair[..]].concat();
    let data = [&[0xb0], &bytes(body)[..]].concat();
    [&section(0x72)[..], &annotations, &section(0x75), &data].concat()
}

struct Client {
    socket: TcpStream,
    correlation: u32,
}

impl Client {
    async fn open(broker: &RabbitMq) -> Self {
        // A moment after AMQP's port is open, so is this one.
        let connecting = async {
            loop {
                match TcpStream::connect(("127.0.0.1", broker.stream_port())).await {
                    Ok(socket) => return socket,
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let socket = within(DEADLINE, "a connection to the streams", connecting).await;
        let mut client = Self { socket, correlation: 0 };
        client.ask_ok(PEER_PROPERTIES, &[&0u32.to_be_bytes()]).await;
        client.ask_ok(SASL_HANDSHAKE, &[]).await;
        client.ask_ok(SASL_AUTHENTICATE, &[&string("PLAIN"), &bytes(b"\0guest\0guest")]).await;
        let tune = client.receive(TUNE).await;
        client.send(ANSWER | TUNE, &[&tune]).await;
        client.ask_ok(OPEN, &[&string("/")]).await;
        client
    }

    async fn close(mut self) {
        self.ask_ok(CLOSE, &[&OK.to_be_bytes(), &string("done")]).await;
    }

    async fn ask_ok(&mut self, command: u16, content: &[&[u8]]) {
        let answer = self.ask(command, content).await;
        assert!(answer.starts_with(&OK.to_be_bytes()), "command {command}: {answer:?}");
    }

    /// The answer, from its code on.
    async fn ask(&mut self, command: u16, content: &[&[u8]]) -> Vec<u8> {
        self.correlation += 1;
        let correlation = self.correlation.to_be_bytes();
        self.send(command, &[&[&correlation[..]], content].concat()).await;
        let answer = self.receive(ANSWER | command).await;
        let rest = answer.strip_prefix(&correlation).expect("the answer to what was asked");
        rest.to_vec()
    }

    async fn send(&mut self, command: u16, content: &[&[u8]]) {
        let (command, version) = (command.to_be_bytes(), VERSION.to_be_bytes());
        let frame = bytes(&[&[&command[..], &version], content].concat().concat());
        self.socket.write_all(&frame).await.expect("written");
    }

    /// The content of the next frame of this kind. Others are not for us.
    async fn receive(&mut self, command: u16) -> Vec<u8> {
        let receiving = async {
            loop {
                let size = self.socket.read_u32().await.expect("a frame's size");
                let mut frame = vec![0; size as usize];
                self.socket.read_exact(&mut frame).await.expect("a frame");
                if frame.starts_with(&command.to_be_bytes()) {
                    return frame.split_off(4);
                }
            }
        };
        within(DEADLINE, "an answer of the streams", receiving).await
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn bytes(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32).to_be_bytes(), content].concat()
}
