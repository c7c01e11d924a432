//! A connection that one of our listeners accepted, whatever it is made of: something that
//! reads and writes, with the address of its peer.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};

/// After a close, how long and how much is still read, so that what the peer was told last is
/// not lost to a reset.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER_BUFFER: usize = 2 * 1024;

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: IpAddr,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        // What is written is written whole; waiting for more would only delay it. Fails only on
        // a socket that is gone already.
        let _ = stream.set_nodelay(true);
        Self { stream, peer: peer.ip().to_canonical() }
    }

    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Bounds what the system holds of it that was not sent yet, where it can be told to.
    pub fn limit_unsent(&self, bytes: u32) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = socket2::SockRef::from(&self.stream).set_tcp_notsent_lowat(bytes);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = bytes;
    }

    /// Ends it, and gives the peer time to read the end.
    pub async fn linger(mut self) {
        let reading = async {
            self.stream.shutdown().await?;
            let mut discarded = vec![0; LINGER_BUFFER];
            let mut total = 0;
            while total < LINGER_BYTES {
                match self.stream.read(&mut discarded).await? {
                    0 => break,
                    bytes => total += bytes,
                }
            }
            io::Result::Ok(())
        };
        // Either way there is nobody left to tell.
        let _ = timeout(LINGER_TIME, reading).await;
    }

    /// Without the runtime that it was accepted on, to be carried to another.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(Detached { stream: self.stream.into_std()?, peer: self.peer })
    }
}

/// A connection between two runtimes.
#[derive(Debug)]
pub struct Detached {
    stream: std::net::TcpStream,
    peer: IpAddr,
}

impl Detached {
    /// On the runtime that this is called in.
    pub fn attach(self) -> io::Result<Connection> {
        Ok(Connection { stream: TcpStream::from_std(self.stream)?, peer: self.peer })
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
