//! What a hostile client was told: HTTP answers, then frames. Nothing about them is taken
//! for granted.

use std::fmt;

use crate::support::client::without_positions;

#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub bytes: u64,
    pub statuses: Vec<u16>,
    pub texts: Vec<String>,
    pub pings: usize,
    pub pongs: usize,
    /// The code of the close frame; 1005 where it has none.
    pub close: Option<u16>,
    /// What no WebSocket server may send.
    pub malformed: Option<String>,
    pub ended: bool,
    unread: Vec<u8>,
    /// Of a response's body.
    to_skip: usize,
}

impl Heard {
    /// Nothing comes any more.
    pub fn is_over(&self) -> bool {
        self.ended || self.close.is_some()
    }

    pub fn says(&self, beginning: &str) -> bool {
        self.texts.iter().any(|text| text.starts_with(beginning))
    }

    pub fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.unread.extend(bytes);
        let unread = std::mem::take(&mut self.unread);
        let mut rest = unread.as_slice();
        while self.malformed.is_none() {
            let next = match self.statuses.last() {
                Some(101) => self.frame(rest),
                _ => self.response(rest),
            };
            let Some(next) = next else { break };
            rest = next;
        }
        self.unread = rest.to_vec();
    }

    /// Takes the head of one HTTP response, and passes over its body; answers what follows.
    fn response<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (body, bytes) = bytes.split_at(bytes.len().min(self.to_skip));
        self.to_skip -= body.len();
        let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let Some(status) = status.filter(|_| head.starts_with("http/1.")) else {
            self.malformed = Some(format!("{head:?}"));
            return None;
        };
        let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next());
        self.to_skip = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        self.statuses.push(status);
        Some(&bytes[head_end..])
    }

    /// Takes one frame; answers what follows, once it is whole.
    fn frame<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match second {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u16::from_be_bytes(*length).into(), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest)
            }
            length => (length.into(), rest),
        };
        if second >= 0x80 || first & 0xf0 != 0x80 || self.close.is_some() {
            self.malformed = Some(format!("{first:#x} {second:#x}, closed: {:?}", self.close));
            return None;
        }
        let (payload, rest) = rest.split_at_checked(length as usize)?;
        match (first & 0xf, payload) {
            (0x1, _) => match String::from_utf8(payload.into()) {
                Ok(text) => self.texts.push(without_positions(&text)),
                Err(_) => self.malformed = Some("a text that is not UTF-8".into()),
            },
            (0x8, []) => self.close = Some(1005),
            (0x8, [one, other, ..]) => self.close = Some(u16::from_be_bytes([*one, *other])),
            (0x9, _) => self.pings += 1,
            (0xa, _) => self.pongs += 1,
            (opcode, _) => self.malformed = Some(format!("opcode {opcode:#x}")),
        }
        Some(rest)
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> =
            self.texts.iter().map(|text| text.chars().take(160).collect()).collect();
        let (first, last) = texts.split_at(texts.len().min(6));
        write!(f, "status {:?}, {} texts: {first:?}", self.statuses, texts.len())?;
        if let Some(last) = last.last() {
            write!(f, " … {last:?}")?;
        }
        write!(f, ", {} pongs, close {:?}, ended {}", self.pongs, self.close, self.ended)
    }
}
