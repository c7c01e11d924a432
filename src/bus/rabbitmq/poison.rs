//! What stands in a log and is no event of ours: entries, and events of a batch. Other programs
//! publish there too; what they write is counted and passed over.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::batch::NoBatch;
use crate::{bus::Skipped, event::InvalidEvent};

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    TooBig,
    RoutingKey,
    NoEvent,
    /// A batch that is none, or is beyond the bounds of one.
    NoBatch,
    /// The broker, or lapin, gives the connection up over it.
    Unreadable,
    /// Published by a gateway of a newer build.
    Newer,
}

impl Poison {
    /// In words of ours: what the entry says is not for the log.
    pub fn what(self) -> &'static str {
        match self {
            Self::TooBig => "it is too big",
            Self::RoutingKey => "its routing key is not valid",
            Self::NoEvent => {
                "it is not an event's name and JSON, as {\"event\":\"Name\",\"payload\":…}"
            }
            Self::NoBatch => "it is no batch within the bounds (proto/myxi/v1/log.proto)",
            Self::Unreadable => "it cannot be read",
            Self::Newer => "a newer replica publishes it, so subscriptions are told of a gap",
        }
    }
}

impl From<&InvalidEvent> for Poison {
    fn from(error: &InvalidEvent) -> Self {
        match error {
            InvalidEvent::TooBig { .. } => Self::TooBig,
            InvalidEvent::RoutingKey => Self::RoutingKey,
            _ => Self::NoEvent,
        }
    }
}

impl From<NoBatch> for Poison {
    fn from(NoBatch: NoBatch) -> Self {
        Self::NoBatch
    }
}

/// How many of each there were.
#[derive(Debug, Default)]
pub struct PoisonCounts([AtomicU64; 6]);

impl PoisonCounts {
    /// How many of its kind there were, with this one.
    pub fn count(&self, poison: Poison) -> u64 {
        self.0[poison as usize].fetch_add(1, Relaxed) + 1
    }

    pub fn add_to(&self, skipped: &mut Skipped) {
        let of = |poison: Poison| self.0[poison as usize].load(Relaxed);
        skipped.too_big += of(Poison::TooBig);
        skipped.invalid_routing_key += of(Poison::RoutingKey);
        skipped.no_event += of(Poison::NoEvent);
        skipped.no_batch += of(Poison::NoBatch);
        skipped.unreadable += of(Poison::Unreadable);
        skipped.newer += of(Poison::Newer);
    }
}
