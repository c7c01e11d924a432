//! How the bus is: for readiness, for people and for metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::Skipped;
use crate::event::{Exchange, PushedAt};

/// How the bus is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusStatus {
    /// `memory` or `rabbitmq`.
    pub kind: &'static str,
    /// Whether every exchange has been attached once since the start.
    pub attached_once: bool,
    /// What is wrong now; empty when all is well.
    pub problems: Vec<String>,
    /// Whether all connections to the broker are up; always, where there is none.
    pub connected: bool,
    /// The broker holds publishers back.
    pub blocked: bool,
    /// Sorted by name.
    pub exchanges: Vec<ExchangeStatus>,
    /// Connections made again after one was lost, since the start.
    pub reconnects: u64,
    /// Gaps told to this replica's subscriptions, since the start.
    pub gaps: u64,
    /// How often reading had stopped in silence and was begun anew, since the start.
    pub stalls: u64,
    pub skipped: Skipped,
    /// Events that were pushed again under the same id and not delivered, since the start.
    pub duplicates: u64,
    /// What was published here, since the start; nothing where there is no broker.
    pub published: EventsPerMessage,
}

impl BusStatus {
    /// How far reading is behind, of the exchange where it is most.
    pub fn lag(&self) -> Option<Duration> {
        self.exchanges.iter().filter_map(|exchange| exchange.lag).max()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeStatus {
    pub name: Exchange,
    /// Whether its events are read now.
    pub attached: bool,
    /// The age of the last event when it was read, if one was read lately.
    pub lag: Option<Duration>,
}

/// How old the last event was when it was read.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// In microseconds. The two are written one after the other: between them a reader may
    /// see a lag that is off by the distance of two events.
    age: AtomicU64,
    /// When it was read; 0: never.
    read_at: AtomicU64,
}

impl Lag {
    /// What is older says nothing about now.
    const LATELY: Duration = Duration::from_secs(60);

    pub(super) fn read(&self, pushed_at: Option<PushedAt>) {
        if let Some(age) = pushed_at.and_then(PushedAt::age) {
            self.age.store(u64::try_from(age.as_micros()).unwrap_or(u64::MAX), Relaxed);
            self.read_at.store(PushedAt::now().0, Relaxed);
        }
    }

    pub(super) fn lately(&self) -> Option<Duration> {
        let since = PushedAt(self.read_at.load(Relaxed)).age()?;
        (since <= Self::LATELY).then(|| Duration::from_micros(self.age.load(Relaxed)))
    }
}

/// How many messages took how many events to the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventsPerMessage {
    /// Messages of more events than the bound before, up to the one here.
    pub messages: [u64; Self::BOUNDS.len()],
    /// In all of them.
    pub events: u64,
}

impl EventsPerMessage {
    pub const BOUNDS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

    pub fn all_messages(&self) -> u64 {
        self.messages.iter().sum()
    }

    pub fn on_average(&self) -> Option<f64> {
        let messages = self.all_messages();
        (messages > 0).then(|| self.events as f64 / messages as f64)
    }
}
