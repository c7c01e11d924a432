//! From bytes, however they are cut, to messages. Only what belongs to an unfinished message
//! is kept between two calls.

use std::io::Cursor;

use bytes::Buf;
use tungstenite::{
    Bytes, Error, Message,
    error::{CapacityError, ProtocolError},
    protocol::{
        CloseFrame,
        frame::{
            FrameHeader, Utf8Bytes,
            coding::{Control, Data, OpCode},
        },
    },
};

/// The longest payload of a ping, a pong or a close (RFC 6455, 5.5).
const CONTROL_PAYLOAD_MAX: usize = 125;

/// Two bytes, a length of eight and a mask of four.
const HEADER_MAX: usize = 14;

/// After an error there is nothing to decode any more: where the next frame would begin is
/// not known.
#[derive(Debug)]
pub(crate) struct Decoder {
    max_message_size: usize,
    header: [u8; HEADER_MAX],
    header_len: usize,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    control: Vec<u8>,
    message: Option<Unfinished>,
}

#[derive(Debug)]
struct Frame {
    header: FrameHeader,
    mask: [u8; 4],
    /// Payload bytes to come.
    missing: usize,
}

/// A message of which the last frame is still to come, or to end.
#[derive(Debug)]
struct Unfinished {
    is_text: bool,
    bytes: Vec<u8>,
    /// So much of a text is known to be UTF-8.
    valid: usize,
}

impl Decoder {
    pub(crate) fn new(max_message_size: usize) -> Self {
        let header = [0; HEADER_MAX];
        Self {
            max_message_size,
            header,
            header_len: 0,
            frame: None,
            control: Vec::new(),
            message: None,
        }
    }

    /// Takes bytes from the input until they end a message or there are no more.
    pub(crate) fn decode(&mut self, input: &mut impl Buf) -> Result<Option<Message>, Error> {
        loop {
            let Some(frame) = &mut self.frame else {
                match self.read_header(input)? {
                    Some((header, length)) => self.begin(header, length)?,
                    None => return Ok(None),
                }
                continue;
            };
            let payload = match (&frame.header.opcode, &mut self.message) {
                (OpCode::Data(_), Some(message)) => &mut message.bytes,
                _ => &mut self.control,
            };
            frame.read(input, payload);
            if frame.missing == 0 {
                let FrameHeader { opcode, is_final, .. } = frame.header;
                self.frame = None;
                if let Some(message) = self.end(opcode, is_final)? {
                    return Ok(Some(message));
                }
            } else {
                if let Some(message) = &mut self.message {
                    message.check()?;
                }
                return Ok(None);
            }
        }
    }

    /// Gathers a header from as many reads as it takes: as a rule it is whole.
    fn read_header(&mut self, input: &mut impl Buf) -> Result<Option<(FrameHeader, u64)>, Error> {
        if self.header_len == 0 {
            let mut whole = Cursor::new(input.chunk());
            if let Some((header, length)) = FrameHeader::parse(&mut whole)? {
                let taken = whole.position();
                input.advance(taken as usize);
                return Ok(Some((header, length)));
            }
        }
        while input.has_remaining() {
            self.header[self.header_len] = input.get_u8();
            self.header_len += 1;
            let read = &self.header[..self.header_len];
            if let Some((header, length)) = FrameHeader::parse(&mut Cursor::new(read))? {
                self.header_len = 0;
                return Ok(Some((header, length)));
            }
        }
        Ok(None)
    }

    /// Refuses a frame before its payload is read.
    fn begin(&mut self, header: FrameHeader, length: u64) -> Result<(), Error> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(ProtocolError::NonZeroReservedBits.into());
        }
        let mask = header.mask.ok_or(ProtocolError::UnmaskedFrameFromClient)?;
        match header.opcode {
            OpCode::Control(_) if !header.is_final => {
                return Err(ProtocolError::FragmentedControlFrame.into());
            }
            OpCode::Control(_) if length > CONTROL_PAYLOAD_MAX => {
                return Err(ProtocolError::ControlFrameTooBig.into());
            }
            OpCode::Control(_) => {}
            OpCode::Data(data) => self.begin_data(data, length)?,
        }
        self.frame = Some(Frame { header, mask, missing: length });
        Ok(())
    }

    fn begin_data(&mut self, data: Data, length: usize) -> Result<(), Error> {
        match (data, &self.message) {
            (Data::Continue, None) => return Err(ProtocolError::UnexpectedContinueFrame.into()),
            (Data::Continue, Some(_)) => {}
            (_, Some(_)) => return Err(ProtocolError::ExpectedFragment(data).into()),
            (_, None) => {
                let is_text = data == Data::Text;
                self.message = Some(Unfinished { is_text, bytes: Vec::new(), valid: 0 });
            }
        }
        let so_far = self.message.as_ref().map_or(0, |message| message.bytes.len());
        let size = so_far.saturating_add(length);
        let max_size = self.max_message_size;
        if size > max_size {
            return Err(CapacityError::MessageTooLong { size, max_size }.into());
        }
        Ok(())
    }

    /// What a frame says, now that it is whole.
    fn end(&mut self, opcode: OpCode, is_final: bool) -> Result<Option<Message>, Error> {
        let control = match opcode {
            OpCode::Data(_) if is_final => {
                return self.message.take().map(Unfinished::complete).transpose();
            }
            OpCode::Data(_) => {
                return self.message.as_mut().map_or(Ok(()), Unfinished::check).map(|()| None);
            }
            OpCode::Control(control) => control,
        };
        let payload = Bytes::from(std::mem::take(&mut self.control));
        Ok(Some(match control {
            Control::Ping => Message::Ping(payload),
            Control::Pong => Message::Pong(payload),
            Control::Close => Message::Close(close_frame(&payload)?),
            Control::Reserved(code) => return Err(ProtocolError::InvalidOpcode(code).into()),
        }))
    }
}

impl Frame {
    /// Unmasks what has come of the payload. The room for it grows with what has come: a
    /// length alone reserves nothing.
    fn read(&mut self, input: &mut impl Buf, payload: &mut Vec<u8>) {
        while self.missing > 0 && input.has_remaining() {
            let chunk = input.chunk();
            let chunk = &chunk[..chunk.len().min(self.missing)];
            let (old, new) = (payload.len(), chunk.len());
            if payload.capacity() - old < new {
                payload.reserve_exact(self.missing.min(new.max(old)));
            }
            payload.extend_from_slice(chunk);
            unmask(&mut payload[old..], self.mask);
            self.mask.rotate_left(new % 4);
            self.missing -= new;
            input.advance(new);
        }
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    rest.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

impl Unfinished {
    /// Fails as soon as a text cannot become UTF-8 any more.
    fn check(&mut self) -> Result<(), Error> {
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.valid..]) {
            Ok(text) => self.valid += text.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn complete(self) -> Result<Message, Error> {
        let bytes = Bytes::from(self.bytes);
        Ok(if self.is_text { Message::Text(bytes.try_into()?) } else { Message::Binary(bytes) })
    }
}

fn close_frame(payload: &Bytes) -> Result<Option<CloseFrame>, Error> {
    match **payload {
        [] => Ok(None),
        [_] => Err(ProtocolError::InvalidCloseSequence.into()),
        [high, low, ..] => {
            let code = u16::from_be_bytes([high, low]).into();
            let reason = Utf8Bytes::try_from(payload.slice(2..))?;
            Ok(Some(CloseFrame { code, reason }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1_000;

    /// A client's frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        const MASK: [u8; 4] = [7, 77, 177, 207];
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// Decodes what comes in these pieces.
    fn decode(pieces: &[&[u8]]) -> Result<Vec<Message>, Error> {
        let mut decoder = Decoder::new(LIMIT);
        let mut messages = Vec::new();
        for &(mut piece) in pieces {
            while let Some(message) = decoder.decode(&mut piece)? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn wherever_the_bytes_are_cut_they_are_the_same_messages() {
        let long = "żółw".repeat(50);
        let (start, end) = long.as_bytes().split_at(101);
        let bytes = [
            frame(0x81, b"{}"),
            frame(0x01, start),
            frame(0x89, b"ping between fragments"),
            frame(0x00, b""),
            frame(0x80, end),
            frame(0x82, b"\xff\xfe"),
            frame(0x88, &[3, 232, b'b', b'y', b'e']),
        ]
        .concat();
        let expected = vec![
            Message::text("{}"),
            Message::Ping("ping between fragments".into()),
            Message::text(long),
            Message::binary(vec![0xff, 0xfe]),
            Message::Close(Some(CloseFrame { code: 1000.into(), reason: "bye".into() })),
        ];
        assert_eq!(decode(&[&bytes]).expect("valid"), expected);
        for first in 0..bytes.len() {
            let (head, rest) = bytes.split_at(first);
            let (middle, tail) = rest.split_at(rest.len() / 2);
            assert_eq!(decode(&[head, middle, tail]).expect("valid"), expected, "{first}");
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(decode(&single).expect("valid"), expected);
    }

    #[test]
    fn a_length_alone_takes_no_room_and_a_small_message_no_more_than_it_needs() {
        let mut decoder = Decoder::new(64 * 1024);
        let header = [0x81, 0x80 | 126, 0xea, 0x60, 0, 0, 0, 0];
        assert_eq!(decoder.decode(&mut &header[..]).expect("valid"), None);
        let room = |decoder: &Decoder| decoder.message.as_ref().map(|m| m.bytes.capacity());
        assert_eq!(room(&decoder), Some(0));
        for come in 1..=60_000 {
            let message = decoder.decode(&mut &b"x"[..]).expect("valid");
            assert_eq!(message.is_some(), come == 60_000);
            assert!(room(&decoder).is_none_or(|room| room <= 2 * come), "{come}");
        }
        assert_eq!(room(&decoder), None);
    }

    #[test]
    fn what_is_too_big_or_cannot_become_text_is_refused_before_its_end() {
        let too_big = frame(0x81, &[b' '; LIMIT + 1]);
        let error = decode(&[&too_big[..8]]).expect_err("it says so in its header");
        assert!(matches!(error, Error::Capacity(_)), "{error}");
        let [half, other_half] = [frame(0x01, &[b' '; LIMIT]), frame(0x80, b" ")];
        assert!(matches!(decode(&[&half, &other_half]), Err(Error::Capacity(_))));

        let no_text = frame(0x81, b"abc\xff and more");
        let error = decode(&[&no_text[..10]]).expect_err("there is no such text");
        assert!(matches!(error, Error::Utf8(_)), "{error}");
        let unfinished = frame(0x81, "ż".as_bytes().split_at(1).0);
        assert!(matches!(decode(&[&unfinished]), Err(Error::Utf8(_))));
    }
}
