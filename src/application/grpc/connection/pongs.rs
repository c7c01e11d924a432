//! Acknowledgements of pings leave behind all that leaves with them.
//!
//! A server that is being stopped says so, pings, and takes no new call once the ping is
//! acknowledged. `h2` acknowledges before it sends the calls that wait already, which then come too
//! late: Java's server ends the connection for it, and with it every call that it would have
//! finished.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Of a frame: its length, type, flags and stream.
const HEAD: usize = 9;
/// How an acknowledgement begins; 8 bytes follow.
const PONG_HEAD: [u8; HEAD] = [0, 0, 8, 6, 1, 0, 0, 0, 0];
const PONG: usize = HEAD + 8;

/// So many wait, and leave then.
const HELD_MAX: usize = 16 * PONG;

/// What a client says before its first frame.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// The client's end of an HTTP/2 connection.
pub(super) struct PongsLast<T> {
    io: T,
    /// Of what was written.
    frames: Frames,
    /// Whole acknowledgements, for the next flush.
    held: Vec<u8>,
    /// Of which the socket has taken so much already.
    held_written: usize,
}

impl<T> PongsLast<T> {
    pub(super) fn new(io: T) -> Self {
        let frames = Frames { left: PREFACE, ..Frames::default() };
        Self { io, frames, held: Vec::new(), held_written: 0 }
    }
}

impl<T: AsyncWrite + Unpin> PongsLast<T> {
    fn poll_write_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held_written < self.held.len() {
            let rest = &self.held[self.held_written..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.held_written += written,
            }
        }
        self.held.clear();
        self.held_written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for PongsLast<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.held_written > 0 {
            ready!(this.poll_write_held(cx))?;
        }
        let until = match this.frames.pong_in(bytes) {
            Some(0) => {
                if this.held.len() >= HELD_MAX {
                    ready!(this.poll_write_held(cx))?;
                }
                this.held.extend_from_slice(&bytes[..PONG]);
                return Poll::Ready(Ok(PONG));
            }
            Some(at) => at,
            None => bytes.len(),
        };
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, &bytes[..until]))?;
        this.frames.pass(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    /// `h2` writes frames as one slice, but for the data of the last.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
        if self.held_written > 0 || self.frames.pong_in(first).is_some() {
            return self.poll_write(cx, first);
        }
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, slices))?;
        let mut left = written;
        for slice in slices {
            let passed = left.min(slice.len());
            this.frames.pass(&slice[..passed]);
            left -= passed;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// Is asked for once all frames were written.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_held(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for PongsLast<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

/// Where frames begin.
#[derive(Clone, Default)]
struct Frames {
    /// Bytes until the next head.
    left: usize,
    /// What is known of a head that has begun.
    head: [u8; HEAD],
    known: usize,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let more = (HEAD - self.known).min(bytes.len());
            self.head[self.known..self.known + more].copy_from_slice(&bytes[..more]);
            self.known += more;
            bytes = &bytes[more..];
            if self.known == HEAD {
                let [high, middle, low, ..] = self.head;
                self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.known = 0;
            }
        }
    }

    /// Where in these bytes, which come next, the first whole acknowledgement begins.
    fn pong_in(&self, bytes: &[u8]) -> Option<usize> {
        // Most have none.
        if bytes.len() < PONG {
            return None;
        }
        let (mut frames, mut at) = (self.clone(), 0);
        loop {
            let rest = bytes.get(at..).filter(|rest| rest.len() >= PONG)?;
            if frames.left == 0 && frames.known == 0 && rest.starts_with(&PONG_HEAD) {
                return Some(at);
            }
            // To the next beginning of a frame, or of its head where that is split.
            let step = match frames.left {
                0 => HEAD - frames.known,
                left => left.min(rest.len()),
            };
            frames.pass(&rest[..step]);
            at += step;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    fn pong(number: u8) -> Vec<u8> {
        [&PONG_HEAD[..], &[number; 8]].concat()
    }

    /// What arrives of this, written as `h2` does, through a socket that takes so much at a time.
    async fn arrives(written: &[Vec<u8>], room: usize) -> Vec<u8> {
        let (near, mut far) = duplex(room);
        let mut near = PongsLast::new(near);
        let write = async move {
            near.write_all(&[b'P'; PREFACE]).await.expect("written");
            for flushed in written {
                near.write_all(flushed).await.expect("written");
                near.flush().await.expect("flushed");
            }
        };
        let mut arrived = Vec::new();
        let (_, read) = tokio::join!(write, far.read_to_end(&mut arrived));
        read.expect("read");
        arrived.split_off(PREFACE)
    }

    #[tokio::test]
    async fn an_acknowledgement_leaves_behind_the_calls_that_leave_with_it() {
        // Its payload looks like one.
        let call = [frame(1, b"headers"), frame(0, &pong(0))].concat();
        let flushes = [
            [pong(1), call.clone()].concat(),
            call.clone(),
            [call.clone(), pong(2), call.clone(), pong(3)].concat(),
        ];
        let expected =
            [call.clone(), pong(1), call.clone(), call.clone(), call.clone(), pong(2), pong(3)]
                .concat();
        for room in [1, 5, PONG, 1_000] {
            assert_eq!(arrives(&flushes, room).await, expected, "room for {room}");
        }
    }

    #[tokio::test]
    async fn a_flood_of_them_is_not_gathered() {
        let flood = pong(1).repeat(1_000);
        let mut near = PongsLast::new(Vec::new());
        near.write_all(&[&[0; PREFACE][..], &flood].concat()).await.expect("written");
        assert!(near.held.len() <= HELD_MAX);
        near.flush().await.expect("flushed");
        assert_eq!(near.io[PREFACE..], flood);
    }
}
