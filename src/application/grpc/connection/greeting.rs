//! What comes over a connection: how much, to know whether the peer is alive, and how it
//! begins, to know what it speaks.
//!
//! An HTTP/2 server begins with SETTINGS. To ask it with a ping instead would count against
//! the few that servers suffer.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// Kept of what the peer says first: enough for the words of an error page.
const KEPT: usize = 512;

/// A frame's length, of 3 bytes, is followed by its type.
const TYPE_AT: usize = 3;
const SETTINGS: u8 = 4;

/// The first byte of a TLS record that is an alert.
const TLS_ALERT: u8 = 0x15;

const EXPECTS_TLS: &str = "it expects TLS, and the gateway speaks gRPC without (plain HTTP/2): \
                           name a plain port of the application, or put a TLS proxy between them";

/// What was received so far.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: AtomicU64,
    beginning: Mutex<Vec<u8>>,
    more: Notify,
}

impl Received {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until the peer has begun to speak HTTP/2.
    pub(super) async fn http2(&self) {
        loop {
            let more = self.more.notified();
            if self.beginning().get(TYPE_AT) == Some(&SETTINGS) {
                return;
            }
            more.await;
        }
    }

    /// Of a peer that does not speak HTTP/2: what is most likely there.
    pub(super) fn likely(&self) -> String {
        let beginning = self.beginning();
        let text = String::from_utf8_lossy(&beginning);
        let web = text.starts_with("HTTP/") || text.to_ascii_lowercase().contains("<html");
        match &beginning[..] {
            [] => "it closes connections without a word: most likely it expects TLS (the gateway \
                   speaks plain HTTP/2), or is a proxy with nothing behind it"
                .into(),
            [TLS_ALERT, 3, ..] => EXPECTS_TLS.into(),
            _ if web && text.contains("HTTPS") => EXPECTS_TLS.into(),
            _ => {
                let said: String =
                    text.lines().next().unwrap_or_default().chars().take(40).collect();
                let likely =
                    if web { ": most likely it is the application's web port" } else { "" };
                format!("it does not speak HTTP/2, which gRPC needs, but said {said:?}{likely}")
            }
        }
    }

    fn take(&self, bytes: &[u8]) {
        let before = self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if before < KEPT as u64 {
            let mut beginning = self.beginning();
            let room = KEPT - beginning.len();
            beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
            self.more.notify_waiters();
        }
    }

    fn beginning(&self) -> MutexGuard<'_, Vec<u8>> {
        self.beginning.lock()
    }
}

/// A socket that tells what it receives.
pub(super) struct Heard<T> {
    io: T,
    received: Arc<Received>,
}

impl<T> Heard<T> {
    pub(super) fn new(io: T, received: Arc<Received>) -> Self {
        Self { io, received }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.received.take(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
