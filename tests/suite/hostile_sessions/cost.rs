//! What the sessions cost, in bytes and CPU for each class.

use std::{collections::BTreeMap, time::Duration};

/// What a connection costs in each direction before anybody says a word: the headers of
/// four packets. Without it, whoever connects and says one byte would seem to be answered
/// hundredfold.
const CONNECTION_BYTES: u64 = 4 * 40;

/// What the sessions of one class cost together, in bytes on the wire.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    pub sessions: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Of the gateway; only where it was measured for this class alone.
    pub cpu: Duration,
}

impl Cost {
    pub fn bytes_out_per_in(&self) -> f64 {
        self.bytes_out as f64 / self.bytes_in as f64
    }

    pub fn cpu_nanos_per_byte(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.bytes_in as f64
    }
}

/// By class.
#[derive(Debug, Clone, Default)]
pub struct Costs(pub BTreeMap<String, Cost>);

impl Costs {
    pub fn add(&mut self, class: &str, bytes_in: u64, bytes_out: u64) {
        let cost = self.0.entry(class.into()).or_default();
        cost.sessions += 1;
        cost.bytes_in += CONNECTION_BYTES + bytes_in;
        cost.bytes_out += CONNECTION_BYTES + bytes_out;
    }

    pub fn merge(&mut self, other: Self) {
        for (class, cost) in other.0 {
            let sum = self.0.entry(class).or_default();
            sum.sessions += cost.sessions;
            sum.bytes_in += cost.bytes_in;
            sum.bytes_out += cost.bytes_out;
            sum.cpu += cost.cpu;
        }
    }

    /// The dearest first.
    pub fn by(&self, measure: impl Fn(&Cost) -> f64) -> Vec<(&str, f64)> {
        let mut classes: Vec<_> =
            self.0.iter().map(|(class, cost)| (class.as_str(), measure(cost))).collect();
        classes.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        classes
    }
}
