//! Chance by a seed, and what it is thrown for most: masks and the forms of a message.

use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::support::frames::{BINARY, CONTINUATION, FIN, PING, TEXT};

/// The same throws for the same session.
pub struct Dice(SmallRng);

impl Dice {
    pub fn new(seed: u64, number: u64) -> Self {
        // Far apart for seeds and numbers that are near.
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number);
        Self(SmallRng::seed_from_u64(mixed))
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end)
    }

    pub fn index(&mut self, length: usize) -> usize {
        self.0.random_range(0..length)
    }

    /// Both ends included.
    pub fn within(&mut self, least: usize, most: usize) -> usize {
        self.0.random_range(least..=most)
    }

    pub fn chance(&mut self, of_one: f64) -> bool {
        self.0.random_bool(of_one)
    }

    pub fn byte(&mut self) -> u8 {
        self.0.random()
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    /// A masked frame.
    pub fn frame(&mut self, first_byte: u8, payload: &[u8]) -> Vec<u8> {
        let length = payload.len() as u64;
        let (mut frame, mask) = self.beginning(first_byte, length);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// The head of a masked frame that promises so much, and its mask.
    pub fn beginning(&mut self, first_byte: u8, length: u64) -> (Vec<u8>, [u8; 4]) {
        let mask: [u8; 4] = std::array::from_fn(|_| self.byte());
        let mut head = vec![first_byte];
        match length {
            0..126 => head.push(0x80 | length as u8),
            126..65_536 => {
                head.push(0x80 | 126);
                head.extend((length as u16).to_be_bytes());
            }
            _ => {
                head.push(0x80 | 127);
                head.extend(length.to_be_bytes());
            }
        }
        head.extend(mask);
        (head, mask)
    }

    /// One message: text or binary, whole or in fragments, with pings between.
    pub fn message(&mut self, text: &str) -> Vec<u8> {
        let opcode = [TEXT, TEXT, BINARY][self.index(3)];
        if self.chance(0.7) {
            return self.frame(FIN | opcode, text.as_bytes());
        }
        let size = self.within(1, text.len().max(1)).max(text.len() / 8 + 1);
        let mut parts: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        parts.push(b"");
        let (mut bytes, last) = (Vec::new(), parts.len() - 1);
        for (number, part) in parts.into_iter().enumerate() {
            let opcode = if number == 0 { opcode } else { CONTINUATION };
            let fin = if number == last { FIN } else { 0 };
            bytes.extend(self.frame(fin | opcode, part));
            if number < last && self.chance(0.1) {
                bytes.extend(self.frame(FIN | PING, b"between"));
            }
        }
        bytes
    }
}
