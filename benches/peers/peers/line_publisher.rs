//! Publishes by a line over TCP, to servers that leave it to us how.

use std::{io, net::SocketAddr};

use async_trait::async_trait;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Mutex};

use crate::peer::Publish;

pub struct LinePublisher {
    socket: Mutex<TcpStream>,
    line: String,
}

impl LinePublisher {
    /// `hello` is sent once, `line` is one event.
    pub async fn connect(server: SocketAddr, hello: &str, line: String) -> io::Result<Self> {
        let mut socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        socket.write_all(hello.as_bytes()).await?;
        Ok(Self { socket: Mutex::new(socket), line })
    }
}

#[async_trait(?Send)]
impl Publish for LinePublisher {
    async fn publish(&self) -> anyhow::Result<()> {
        Ok(self.socket.lock().await.write_all(self.line.as_bytes()).await?)
    }
}
