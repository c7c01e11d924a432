//! A connection that counts against the listener's bound while it lives, and that must
//! say in time that it speaks HTTP/2: from then on it is asked for signs of life.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

use crate::net::connection::Connection;

/// How long the connection preface may take, and its bytes.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

pub(super) struct Http2Connection {
    connection: Connection,
    /// Until the preface has been read.
    preface: Option<Preface>,
    _permit: OwnedSemaphorePermit,
}

struct Preface {
    missing: usize,
    timeout: Pin<Box<Sleep>>,
}

impl Http2Connection {
    pub(super) fn new(connection: Connection, permit: OwnedSemaphorePermit) -> Self {
        let preface = Preface { missing: PREFACE, timeout: Box::pin(sleep(PREFACE_TIMEOUT)) };
        Self { connection, preface: Some(preface), _permit: permit }
    }
}

impl Connected for Http2Connection {
    /// The caller's address.
    type ConnectInfo = IpAddr;

    fn connect_info(&self) -> IpAddr {
        self.connection.peer()
    }
}

impl AsyncRead for Http2Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(cx, buf);
        if let Some(preface) = &mut self.preface {
            preface.missing = preface.missing.saturating_sub(buf.filled().len() - before);
            if preface.missing == 0 {
                self.preface = None;
            } else if read.is_pending() && preface.timeout.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Http2Connection {
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
