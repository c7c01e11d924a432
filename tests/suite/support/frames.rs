//! WebSocket frames written by hand: for what a client library would refuse to send.

/// First bytes: the FIN bit is `0x80`.
pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

const MASK_BIT: u8 = 0x80;
const MASK: [u8; 4] = [0x5a, 0x01, 0xff, 0x80];

/// A masked frame, as a client sends it.
pub fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let mut frame = head(first_byte, MASK_BIT, payload.len() as u64);
    frame.extend(MASK);
    frame.extend(masked);
    frame
}

/// A frame without a mask, as only a server may send it.
pub fn unmasked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first_byte, 0, payload.len() as u64);
    frame.extend(payload);
    frame
}

/// The beginning of a masked frame that promises a payload of this length.
pub fn beginning(first_byte: u8, length: u64) -> Vec<u8> {
    let mut beginning = head(first_byte, MASK_BIT, length);
    beginning.extend(MASK);
    beginning
}

/// The payload of a close frame.
pub fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

fn head(first_byte: u8, mask_bit: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first_byte];
    match length {
        0..126 => head.push(mask_bit | length as u8),
        126..65_536 => {
            head.push(mask_bit | 126);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(mask_bit | 127);
            head.extend(length.to_be_bytes());
        }
    }
    head
}
