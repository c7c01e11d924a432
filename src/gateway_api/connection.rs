//! A caller's connection: it counts against the listener's bound while it lives, and its first
//! bytes say whether it speaks HTTP/2, over which gRPC comes, or HTTP/1.1.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tonic::transport::server::Connected;

use crate::net::connection::Connection;

/// How long what tells one HTTP from the other may take.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// What HTTP/2 begins with (RFC 9113, 3.4), and nothing else does.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) struct CallerConnection {
    connection: Connection,
    /// What was looked at, and is still to be read.
    first: Bytes,
    permit: OwnedSemaphorePermit,
}

/// What a caller speaks.
pub(super) enum Greeted {
    Http1(CallerConnection),
    Http2(CallerConnection),
}

impl CallerConnection {
    pub(super) fn new(connection: Connection, permit: OwnedSemaphorePermit) -> Self {
        Self { connection, first: Bytes::new(), permit }
    }

    pub(super) fn peer(&self) -> IpAddr {
        self.connection.peer()
    }

    /// Waits for what the caller says first; one that takes too long is let go.
    pub(super) async fn greet(mut self) -> io::Result<Greeted> {
        let is_http2 = timeout(PREFACE_TIMEOUT, self.look()).await??;
        Ok(if is_http2 { Greeted::Http2(self) } else { Greeted::Http1(self) })
    }

    /// Reads on for as long as it may become HTTP/2's preface, and says whether it did.
    async fn look(&mut self) -> io::Result<bool> {
        let (mut first, mut read) = ([0; PREFACE.len()], 0);
        while read < PREFACE.len() && first[..read] == PREFACE[..read] {
            match self.connection.read(&mut first[read..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => read += bytes,
            }
        }
        self.first = Bytes::copy_from_slice(&first[..read]);
        Ok(first == *PREFACE)
    }

    /// Ends it, and gives the caller time to read the end; it holds its place so long.
    pub(super) async fn linger(self) {
        self.connection.linger().await;
        drop(self.permit);
    }
}

impl Connected for CallerConnection {
    /// The caller's address.
    type ConnectInfo = IpAddr;

    fn connect_info(&self) -> IpAddr {
        self.peer()
    }
}

impl AsyncRead for CallerConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.connection).poll_read(cx, buf);
        }
        let fits = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(fits));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CallerConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
