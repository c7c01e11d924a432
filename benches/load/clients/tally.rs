//! What a client has received, by the unit that messages are counted in.

use std::mem;

use super::{Clients, Unit};
use crate::load::gateway::position_in;

#[derive(Default)]
pub struct Tally {
    /// Messages.
    pub received: u64,
    bytes: usize,
    /// As much of a message as has come, where it is looked into,
    message: Vec<u8>,
    /// and the last position that was told there.
    pub position: String,
}

impl Clients {
    /// Waits until all connections have ended, and tells what each client had received.
    pub async fn all_lost(&self) -> Vec<Tally> {
        loop {
            let moved = self.shared.moved.notified();
            if self.lost() == self.len() {
                let left = mem::take(&mut self.shared.books.borrow_mut().left);
                return left.into_values().collect();
            }
            moved.await;
        }
    }

    /// By each client.
    pub fn received_by_each(&self) -> Vec<u64> {
        let books = self.shared.books.borrow();
        books.clients.iter().flatten().map(|client| client.tally.received).collect()
    }
}

impl Unit {
    pub fn looks_inside(self) -> bool {
        matches!(self, Self::Event)
    }
}

impl Tally {
    /// A part of a frame's payload; maybe its end.
    pub fn add(&mut self, unit: Unit, bytes: &[u8], ends: bool) {
        match unit {
            Unit::Frame => self.received += u64::from(ends),
            Unit::Line => {
                let between = bytes.iter().filter(|byte| **byte == b'\n').count();
                self.received += between as u64 + u64::from(ends);
            }
            Unit::Bytes(length) => {
                let bytes = self.bytes + bytes.len();
                (self.received, self.bytes) =
                    (self.received + (bytes / length) as u64, bytes % length);
            }
            Unit::Event => {
                self.message.extend(bytes);
                if ends {
                    self.look_inside();
                    self.message.clear();
                }
            }
        }
    }

    fn look_inside(&mut self) {
        let message = String::from_utf8_lossy(&self.message);
        self.received += u64::from(message.contains(r#""mq":{"#));
        if let Some(position) = position_in(&message) {
            position.clone_into(&mut self.position);
        }
    }
}
