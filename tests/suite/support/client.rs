//! A WebSocket client that awaits what it needs, and no longer than a deadline.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::Request,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{DEADLINE, schema};

/// Characters of a position.
const POSITION: usize = 24;

pub struct Client {
    socket: WebSocketStream<TcpStream>,
    /// Received while something else was awaited.
    stash: VecDeque<Value>,
    tags: u64,
    /// How long it waits for a message.
    pub patience: Duration,
    pub id: String,
    /// It is told what the schema of the wire says, and nothing else.
    documented: bool,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    pub code: u16,
    pub reason: String,
}

impl Client {
    /// Connects and takes the greeting.
    pub async fn connect(gateway: SocketAddr) -> Self {
        let mut client = Self::connect_to(&format!("ws://{gateway}/"), gateway).await;
        let welcome = client.event("Welcome").await;
        client.id = welcome["payload"]["id"].as_str().expect("an id").to_owned();
        client
    }

    /// Connects with a URL of the caller's; takes no greeting.
    pub async fn connect_to(url: &str, gateway: SocketAddr) -> Self {
        let request = url.into_client_request().expect("a URL");
        Self::connect_with(request, gateway).await.expect("a WebSocket")
    }

    pub async fn connect_with(request: Request<()>, gateway: SocketAddr) -> Result<Self, Error> {
        let connecting = async {
            let stream = TcpStream::connect(gateway).await?;
            client_async(request, stream).await
        };
        let (socket, _) = timeout(DEADLINE, connecting).await.expect("a handshake in time")?;
        Ok(Self::over(socket))
    }

    /// Over a socket of the caller's.
    pub fn over(socket: WebSocketStream<TcpStream>) -> Self {
        let (stash, id) = (VecDeque::new(), String::new());
        Self { socket, stash, tags: 0, patience: DEADLINE, id, documented: true }
    }

    /// It may be told what the documented wire has not: by a gateway that speaks as the Ruby
    /// original did, or an application that takes the gateway's words.
    pub fn undocumented(self) -> Self {
        Self { documented: false, ..self }
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        schema::said(text);
        self.send_message(Message::text(text)).await;
    }

    pub async fn send_message(&mut self, message: Message) {
        timeout(DEADLINE, self.socket.send(message)).await.expect("sent in time").expect("sent");
    }

    /// The next text, whatever it is, exactly as it came but for the positions, which say nothing
    /// to clients. Pings do not prolong its patience.
    pub async fn text(&mut self) -> String {
        without_positions(&self.whole_text().await)
    }

    /// The next message with its positions.
    pub async fn positioned(&mut self) -> Value {
        assert!(self.stash.is_empty(), "{:?}", self.stash);
        serde_json::from_str(&self.whole_text().await).expect("JSON")
    }

    async fn whole_text(&mut self) -> String {
        let text = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return text.to_string(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("awaited a text, got {other:?}"),
                }
            }
        };
        let text = timeout(self.patience, text).await.expect("a text in time");
        if self.documented {
            schema::heard(&text);
        }
        text
    }

    /// Bytes beneath the WebSocket: frames that a library would not send.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let sending = self.socket.get_mut().write_all(bytes);
        timeout(DEADLINE, sending).await.expect("sent in time").expect("sent");
    }

    /// Sends a text and answers the next one exactly as it came.
    pub async fn ask(&mut self, text: &str) -> String {
        self.send_text(text).await;
        self.text().await
    }

    /// Whether nothing at all comes for so long.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stash.is_empty() && timeout(time, self.socket.next()).await.is_err()
    }

    pub async fn message(&mut self) -> Option<Result<Message, Error>> {
        timeout(self.patience, self.socket.next()).await.expect("a message in time")
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        if let Some(stashed) = self.stash.pop_front() {
            return stashed;
        }
        serde_json::from_str(&self.text().await).expect("JSON")
    }

    /// The next message that fits; others stay for later.
    pub async fn await_that(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.stash.iter().position(&fits) {
            return self.stash.remove(at).expect("it is there");
        }
        loop {
            let message = serde_json::from_str(&self.text().await).expect("JSON");
            if fits(&message) {
                return message;
            }
            self.stash.push_back(message);
        }
    }

    /// The next message of this event name.
    pub async fn event(&mut self, name: &str) -> Value {
        self.await_that(|message| message["event"] == name).await
    }

    /// Sends an action and awaits the first reply with its tag.
    pub async fn request(&mut self, action: &str, payload: Value) -> Value {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.send(json!({"action": action, "tag": tag, "payload": payload})).await;
        self.await_that(|message| message["tag"] == tag.as_str()).await
    }

    /// Subscribes, and is refused nothing.
    pub async fn subscribe(&mut self, exchange: &str, routing_key: &str) {
        let payload = json!({"exchange": exchange, "routing_key": routing_key});
        let reply = self.request("Subscribe", payload).await;
        assert_eq!(reply["event"], "Subscribed", "{reply}");
    }

    /// Sends an action and answers the code of the error it gets.
    pub async fn error(&mut self, action: &str, payload: Value) -> Value {
        let reply = self.request(action, payload).await;
        assert_eq!(reply["event"], "Error", "{reply}");
        reply["payload"].clone()
    }

    /// What it is subscribed to, as the gateway lists it.
    pub async fn subscriptions(&mut self) -> Value {
        let listed = self.request("ListSubscriptions", json!({})).await;
        assert_eq!(listed["event"], "YourSubscriptions", "{listed}");
        listed["payload"]["subscriptions"].clone()
    }

    /// Awaits the end; messages before it are passed over.
    pub async fn closed(&mut self) -> Closed {
        loop {
            match self.message().await {
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.expect("a close frame with a code");
                    // The answer goes out with the next read.
                    let _ = timeout(DEADLINE, self.socket.next()).await;
                    return Closed { code: frame.code.into(), reason: frame.reason.to_string() };
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Closed { code: 1006, reason: String::new() },
            }
        }
    }

    /// Nothing came that was not asked for: everything before the pong is in the stash.
    pub async fn quiet(&mut self) -> bool {
        let pong = self.request("Ping", json!({})).await;
        assert_eq!(pong["event"], "Pong", "{pong}");
        self.stash.is_empty()
    }

    /// Closes as a client should, and waits for the answer.
    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = self.socket.close(Some(frame)).await;
        assert_eq!(self.closed().await.code, 1000);
    }

    pub fn socket(&mut self) -> &mut WebSocketStream<TcpStream> {
        &mut self.socket
    }
}

/// A message without `id`s that are positions, and `positions`.
pub fn without_positions(text: &str) -> String {
    let mut rest = text;
    let mut stripped = String::with_capacity(text.len());
    while let Some(at) = rest.find(r#","id":""#) {
        let (before, from) = rest.split_at(at);
        stripped.push_str(before);
        let after = &from[r#","id":""#.len()..];
        let is_position =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        match after.split_at_checked(POSITION) {
            Some((id, end)) if is_position(id) && end.starts_with('"') => rest = &end[1..],
            _ => {
                stripped.push_str(&from[..from.len() - after.len()]);
                rest = after;
            }
        }
    }
    stripped.push_str(rest);
    match stripped.split_once(r#","positions":{"#) {
        Some((before, after)) => {
            let (_, after) = after.split_once('}').expect("an end");
            format!("{before}{after}")
        }
        None => stripped,
    }
}
