//! What stands in a log, is no event and is passed over, entries and events of a batch: why, and how many there were. A
//! reason's name is its label in `/metrics`; `docs/metrics.md` has the same list, and a test
//! holds the two together.

use std::{
    ops::Index,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use strum::{EnumCount, IntoStaticStr, VariantArray};

use crate::event::InvalidEvent;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray, EnumCount)]
#[strum(serialize_all = "snake_case")]
pub enum SkipReason {
    TooBig,
    InvalidRoutingKey,
    NoEvent,
    /// A batch that is none, or is beyond the bounds of one.
    NoBatch,
    /// Whoever keeps the log cannot hand it out, or the reader gives up over it.
    Unreadable,
    /// Published by a gateway of a newer build; a gap is told.
    Newer,
}

impl SkipReason {
    /// In words of ours: what the entry says is not for the gateway's own log.
    pub fn what(self) -> &'static str {
        match self {
            Self::TooBig => "it is too big",
            Self::InvalidRoutingKey => "its routing key is not valid",
            Self::NoEvent => "it is not a name and JSON, as {\"event\":\"Name\",\"payload\":…}",
            Self::NoBatch => "it is no batch within its bounds (proto/myxi/v1/log.proto)",
            Self::Unreadable => "it cannot be read",
            Self::Newer => "a newer replica publishes it, so subscriptions are told of a gap",
        }
    }
}

impl From<&InvalidEvent> for SkipReason {
    fn from(error: &InvalidEvent) -> Self {
        match error {
            InvalidEvent::TooBig { .. } => Self::TooBig,
            InvalidEvent::RoutingKey => Self::InvalidRoutingKey,
            _ => Self::NoEvent,
        }
    }
}

/// How many were passed over since the start, by what was wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped([u64; SkipReason::COUNT]);

impl Skipped {
    pub fn by_reason(&self) -> impl Iterator<Item = (SkipReason, u64)> {
        SkipReason::VARIANTS.iter().map(|reason| (*reason, self[*reason]))
    }
}

impl Index<SkipReason> for Skipped {
    type Output = u64;

    fn index(&self, reason: SkipReason) -> &u64 {
        &self.0[reason as usize]
    }
}

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct SkipCounts([AtomicU64; SkipReason::COUNT]);

impl SkipCounts {
    /// How many of its kind there were, with this one.
    pub(super) fn count(&self, reason: SkipReason) -> u64 {
        self.0[reason as usize].fetch_add(1, Relaxed) + 1
    }

    pub(super) fn add_to(&self, skipped: &mut Skipped) {
        for (sum, count) in skipped.0.iter_mut().zip(&self.0) {
            *sum += count.load(Relaxed);
        }
    }
}
