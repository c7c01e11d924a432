//! The WebSocket under a session. Headers, messages and errors are tungstenite's; the buffers
//! are our own: a connection that has nothing to say holds none, and one that said something
//! big once does not keep the room for it. All connections of a thread read into the same
//! buffer and write from the same, and keep only what is left over.

mod decoder;
mod output;
mod socket;

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::{
    Bytes, Error, Message,
    error::ProtocolError,
    protocol::{
        CloseFrame,
        frame::{
            Utf8Bytes,
            coding::{CloseCode, Control, Data, OpCode},
        },
    },
};

use self::decoder::Decoder;
use self::output::Output;
pub use self::socket::fault;

/// One read takes at most this much.
const READ_BUFFER: usize = 16 * 1024;

/// While this much waits to be written, no more is taken in.
const WRITE_BUFFER: usize = 16 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into());
}

/// The server's end of a connection after the handshake. Pings and a close are answered by
/// itself: the answer waits for the next flush.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    decoder: Decoder,
    /// Read, and to be decoded yet.
    unread: Bytes,
    output: Output,
    /// The last ping that came while the output was full.
    unanswered_ping: Option<Bytes>,
    close_sent: bool,
    /// After the client's close, its end or its error there is nothing to read any more.
    read_ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// `unread` is what came behind the handshake. A message may have `max_message_size`
    /// bytes.
    pub fn new(stream: S, unread: &[u8], max_message_size: usize) -> Self {
        Self {
            stream,
            decoder: Decoder::new(max_message_size),
            // What held it is larger than what it holds.
            unread: Bytes::copy_from_slice(unread),
            output: Output::default(),
            unanswered_ping: None,
            close_sent: false,
            read_ended: false,
        }
    }

    pub fn into_inner(self) -> S {
        self.stream
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        loop {
            if let Some(message) = self.decode_unread()? {
                return Poll::Ready(Ok(message));
            }
            let read = READ.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
                let mut filled = read.filled();
                let ended = filled.is_empty();
                let message = self.decoder.decode(&mut filled)?;
                self.unread = Bytes::copy_from_slice(filled);
                Poll::Ready(Ok::<_, Error>((message, ended)))
            });
            match ready!(read)? {
                (Some(message), _) => return Poll::Ready(Ok(message)),
                (None, false) => {}
                (None, true) => {
                    let error = ProtocolError::ResetWithoutClosingHandshake;
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
    }

    fn decode_unread(&mut self) -> Result<Option<Message>, Error> {
        if self.unread.is_empty() {
            return Ok(None);
        }
        let message = self.decoder.decode(&mut self.unread)?;
        if self.unread.is_empty() {
            // Also an empty slice would hold on to the memory.
            self.unread = Bytes::new();
        }
        Ok(message)
    }

    /// What the protocol wants done about a message, beside what it says.
    fn answer(&mut self, message: &mut Message) -> Result<(), Error> {
        match message {
            Message::Ping(payload) if !self.close_sent => {
                if self.output.len() < WRITE_BUFFER {
                    self.output.push(OpCode::Control(Control::Pong), payload)?;
                } else {
                    self.unanswered_ping = Some(payload.clone());
                }
            }
            Message::Close(close) => {
                self.read_ended = true;
                if let Some(frame) = close
                    && !frame.code.is_allowed()
                {
                    frame.code = CloseCode::Protocol;
                    frame.reason = Utf8Bytes::from_static("this close code may not be sent");
                }
                let close = close.clone();
                self.send_close(close.as_ref())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The first close frame is the only one.
    fn send_close(&mut self, close: Option<&CloseFrame>) -> Result<(), Error> {
        if std::mem::replace(&mut self.close_sent, true) {
            return Ok(());
        }
        let mut payload = Vec::new();
        if let Some(CloseFrame { code, reason }) = close {
            payload.extend(u16::from(*code).to_be_bytes());
            payload.extend(reason.as_bytes());
        }
        self.output.push(OpCode::Control(Control::Close), &payload)
    }

    /// Writes until nothing is left, or no more than `rest` bytes.
    fn poll_write(&mut self, cx: &mut Context<'_>, rest: usize) -> Poll<io::Result<()>> {
        while self.output.len() > rest {
            let written = match Pin::new(&mut self.stream).poll_write(cx, self.output.bytes())? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => written,
                Poll::Pending => {
                    self.output.shrink();
                    return Poll::Pending;
                }
            };
            self.output.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.read_ended {
            return Poll::Ready(None);
        }
        let message = ready!(this.poll_message(cx)).and_then(|mut message| {
            this.answer(&mut message)?;
            Ok(message)
        });
        this.read_ended |= message.is_err();
        Poll::Ready(Some(message))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for WebSocket<S> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_write(cx, WRITE_BUFFER).map_err(Error::Io)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let this = self.get_mut();
        if this.close_sent {
            return Err(ProtocolError::SendAfterClosing.into());
        }
        match message {
            Message::Text(text) => this.output.push(OpCode::Data(Data::Text), text.as_bytes()),
            Message::Binary(bytes) => this.output.push(OpCode::Data(Data::Binary), &bytes),
            Message::Ping(bytes) => this.output.push(OpCode::Control(Control::Ping), &bytes),
            Message::Pong(bytes) => this.output.push(OpCode::Control(Control::Pong), &bytes),
            Message::Close(close) => this.send_close(close.as_ref()),
            Message::Frame(frame) => this.output.push(frame.header().opcode, frame.payload()),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = self.get_mut();
        ready!(this.poll_write(cx, 0))?;
        while let Some(ping) = this.unanswered_ping.take() {
            if !this.close_sent {
                this.output.push(OpCode::Control(Control::Pong), &ping)?;
            }
            ready!(this.poll_write(cx, 0))?;
        }
        Pin::new(&mut this.stream).poll_flush(cx).map_err(Error::Io)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.send_close(None)?;
        self.poll_flush(cx)
    }
}
