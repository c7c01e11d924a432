//! What one connection has yet to write.

use std::cell::Cell;

use tungstenite::{
    Error,
    protocol::frame::{FrameHeader, coding::OpCode},
};

/// A larger buffer is given back to the allocator after its use.
const SPARE_CAPACITY_MAX: usize = 64 * 1024;

thread_local! {
    /// The buffer of whichever connection is writing: most write all they have at once.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Frames in a row, as bytes. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
    written: usize,
}

impl Output {
    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.written..]
    }

    pub(super) fn push(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), Error> {
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.take();
        }
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        header.format(payload.len() as u64, &mut self.buffer)?;
        self.buffer.extend_from_slice(payload);
        Ok(())
    }

    pub(super) fn advance(&mut self, written: usize) {
        self.written += written;
        if self.written == self.buffer.len() {
            self.give_back();
        }
    }

    /// What cannot be written now may stay for long: it gets room of its own, unless what it
    /// has is not much larger.
    pub(super) fn shrink(&mut self) {
        if self.buffer.capacity() < 2 * self.len() {
            return;
        }
        let rest = self.bytes().to_vec();
        self.give_back();
        self.buffer = rest;
    }

    fn give_back(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.written = 0;
        if buffer.capacity() <= SPARE_CAPACITY_MAX {
            buffer.clear();
            SPARE.set(buffer);
        }
    }
}
