//! Sends every WebSocket message back as it came, over the gateway's own way in: its
//! listener, its handshake and its transport, without sessions. For conformance tests
//! (`tests/conformance/autobahn.py`).
//!
//! `cargo run --example echo -- 127.0.0.1:9001`

use std::{env, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use myxi::{
    config::Config,
    internals::{
        application::ClientInfo,
        edge::{self, ClientSocket, websocket::fault},
        metrics::Metrics,
        net::listener::Listener,
        protocol::ErrorCode,
        server::{bounds, edge},
        session::socket::Fault,
    },
};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};

/// Room for the largest messages that the conformance cases send.
const FLAGS: [&str; 4] = [
    "--exchange=none",
    "--action-handler=http://127.0.0.1:1",
    "--max-message-size=16MiB",
    "--max-outbox=16MiB",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let config = Config::from_flags(FLAGS).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let edge = Arc::new(edge(&config, Arc::new(Metrics::new(ErrorCode::NAMES))));
    let bounds = bounds(&config);
    let listener = Listener::bind(address.parse()?)?;
    println!("{}", listener.local_addr()?);
    loop {
        let accepted = bounds.accept(&listener).await;
        tokio::spawn(edge::serve(edge.clone(), accepted, echo));
    }
}

async fn echo(mut socket: ClientSocket, _: ClientInfo) -> ClientSocket {
    // An error here means that nobody is left to be told.
    while let Some(received) = socket.next().await
        && let Ok(true) = answer(&mut socket, received).await
    {}
    socket
}

/// Whether there is more to come.
async fn answer(
    socket: &mut ClientSocket,
    received: Result<Message, Error>,
) -> Result<bool, Error> {
    match received {
        Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
            socket.send(message).await?;
            Ok(true)
        }
        // The answers to these wait in the socket.
        Ok(Message::Close(_)) => socket.flush().await.map(|()| false),
        Ok(_) => socket.flush().await.map(|()| true),
        Err(error) => {
            if let Fault::Violation(close) = fault(error) {
                let reason = close.reason.as_ref().into();
                let frame = CloseFrame { code: close.code.into(), reason };
                socket.send(Message::Close(Some(frame))).await?;
            }
            Ok(false)
        }
    }
}
