//! WebSocket frames with as little as they take: what a client sends is masked with zeroes
//! (which is a mask), what it gets is parsed for lengths.

pub const PING: u8 = 9;
pub const PONG: u8 = 10;

pub fn is_data(opcode: u8) -> bool {
    opcode <= 2
}

/// A whole frame from a client.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ ..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A part of a frame's payload, as much of it as came at once.
pub struct Part<'a> {
    pub opcode: u8,
    pub bytes: &'a [u8],
    /// The frame is complete with it.
    pub ends: bool,
}

/// Where a connection is in its stream of frames from the server.
#[derive(Default)]
pub struct Frames {
    header: [u8; 10],
    /// Of the header.
    have: u8,
    /// Of the payload, once the header is there.
    left: u64,
    inside: bool,
}

impl Frames {
    pub fn read(&mut self, mut bytes: &[u8], mut on_part: impl FnMut(Part<'_>)) {
        loop {
            if !self.inside {
                let Some(rest) = self.read_header(bytes) else { return };
                bytes = rest;
            }
            let length = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (part, rest) = bytes.split_at(length);
            self.left -= length as u64;
            let ends = self.left == 0;
            if ends || length > 0 {
                on_part(Part { opcode: self.header[0] & 0x0f, bytes: part, ends });
            }
            if !ends {
                return;
            }
            (self.inside, self.have) = (false, 0);
            bytes = rest;
        }
    }

    /// Answers what follows a header that is complete.
    fn read_header<'a>(&mut self, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
        loop {
            let have = usize::from(self.have);
            let needed = match (have, self.header[1] & 0x7f) {
                (0 | 1, _) => 2,
                (_, 126) => 4,
                (_, 127) => 10,
                _ => 2,
            };
            if have == needed {
                break;
            }
            let (byte, rest) = bytes.split_first()?;
            self.header[have] = *byte;
            self.have += 1;
            bytes = rest;
        }
        let h = &self.header;
        self.left = match h[1] & 0x7f {
            126 => u16::from_be_bytes([h[2], h[3]]).into(),
            127 => u64::from_be_bytes([h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9]]),
            short => short.into(),
        };
        self.inside = true;
        Some(bytes)
    }
}
