//! What a client sends after the handshake, however the network cuts it: heard and answered
//! as tungstenite hears and answers it. The first byte says how many cuts follow, then each
//! piece's length; the rest is what is on the wire.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_util::{Sink, Stream};
use myxi::internals::edge::websocket::WebSocket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    protocol::{Role, WebSocket as Oracle, WebSocketConfig},
};

/// A limit that small inputs reach; more than a control frame may hold.
const SIZE_MAX: usize = 300;

/// What the server says when a close frame bears a code that may not be sent.
const PROTOCOL_ERROR: u16 = 1002;

pub fn websocket(data: &[u8]) {
    let Some((&cuts, rest)) = data.split_first() else { return };
    let Some((cuts, bytes)) = rest.split_at_checked(usize::from(cuts % 16)) else { return };
    let expected = heard_by_oracle(bytes);
    let whole = heard(&[bytes], &[]);
    assert_same(&whole, &expected);
    let pieces = pieces(cuts, bytes);
    assert_same(&heard(&pieces, &[]), &whole);
    // The first piece came with the handshake.
    let (first, others) = pieces.split_first().expect("the last piece is always there");
    assert_same(&heard(others, first), &whole);
}

/// The messages and how they ended, and what was answered.
#[derive(Debug)]
struct Heard {
    messages: Vec<Message>,
    /// By a close frame; otherwise by an error, be it that there was no close.
    closed: bool,
    answered: Vec<u8>,
}

fn assert_same(one: &Heard, other: &Heard) {
    assert_eq!(one.closed, other.closed, "{one:?}\n{other:?}");
    assert_eq!(one.messages.len(), other.messages.len(), "{one:?}\n{other:?}");
    let mut refused = false;
    for messages in one.messages.iter().zip(&other.messages) {
        match messages {
            // The words of a refusal are each library's own.
            (Message::Close(Some(one)), Message::Close(Some(other)))
                if u16::from(one.code) == PROTOCOL_ERROR =>
            {
                assert_eq!(one.code, other.code);
                refused = one.reason != other.reason;
            }
            (one, other) => assert_eq!(one, other),
        }
    }
    assert!(refused || one.answered == other.answered, "{one:?}\n{other:?}");
}

fn pieces<'a>(cuts: &[u8], bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for &cut in cuts {
        let (piece, more) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    pieces
}

fn heard(pieces: &[&[u8]], with_handshake: &[u8]) -> Heard {
    let wire = Wire { pieces: pieces.iter().rev().copied().collect(), ..Wire::default() };
    let mut socket = WebSocket::new(wire, with_handshake, SIZE_MAX);
    let mut cx = Context::from_waker(Waker::noop());
    let mut messages = Vec::new();
    let closed = loop {
        match Pin::new(&mut socket).poll_next(&mut cx) {
            Poll::Ready(Some(Ok(message))) => messages.push(message),
            Poll::Ready(Some(Err(_))) => break false,
            Poll::Ready(None) => break true,
            // The next piece.
            Poll::Pending => {}
        }
        let flushed = Pin::new(&mut socket).poll_flush(&mut cx);
        assert!(matches!(flushed, Poll::Ready(Ok(()))), "{flushed:?}");
        assert!(messages.len() <= pieces.concat().len() + with_handshake.len());
    };
    assert!(matches!(Pin::new(&mut socket).poll_next(&mut cx), Poll::Ready(None)), "it goes on");
    Heard { messages, closed, answered: socket.into_inner().written }
}

fn heard_by_oracle(bytes: &[u8]) -> Heard {
    let config =
        WebSocketConfig::default().max_message_size(Some(SIZE_MAX)).max_frame_size(Some(SIZE_MAX));
    let wire = Wire { pieces: vec![bytes], ..Wire::default() };
    let mut socket = Oracle::from_raw_socket(wire, Role::Server, Some(config));
    let mut messages = Vec::new();
    let error = loop {
        match socket.read() {
            Ok(message) => messages.push(message),
            Err(error) => break error,
        }
        match socket.flush() {
            Ok(()) => {}
            // What comes behind a close is ignored.
            Err(error) => break error,
        }
    };
    let closed = matches!(error, Error::ConnectionClosed);
    Heard { messages, closed, answered: std::mem::take(&mut socket.get_mut().written) }
}

/// Gives one piece at a time, with a pause behind each, and takes everything.
#[derive(Debug, Default)]
struct Wire<'a> {
    /// The next is the last.
    pieces: Vec<&'a [u8]>,
    pausing: bool,
    written: Vec<u8>,
}

impl Wire<'_> {
    fn next(&mut self, room: usize) -> &[u8] {
        while let Some(piece) = self.pieces.pop() {
            let (now, later) = piece.split_at(piece.len().min(room));
            if !later.is_empty() {
                self.pieces.push(later);
            }
            if !now.is_empty() {
                return now;
            }
        }
        &[]
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pausing = !self.pausing;
        if !self.pausing {
            return Poll::Pending;
        }
        into.put_slice(self.next(into.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Write::write(&mut *self, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.next(into.len());
        into[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
