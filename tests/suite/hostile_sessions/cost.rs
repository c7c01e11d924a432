//! What the sessions cost: the gateway's process as the operating system counts it, and
//! bytes and CPU for each class.

use std::{collections::BTreeMap, fs, time::Duration};

/// The gateway, from outside.
#[derive(Debug, Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    pub fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).expect("a running process").count()
    }

    /// Proportional set size, in bytes.
    pub fn memory(self) -> i64 {
        let path = format!("/proc/{}/smaps_rollup", self.0);
        let text = fs::read_to_string(path).expect("a running process");
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Pss");
        let kib = pss.trim().trim_end_matches(" kB").parse::<i64>().expect("a number");
        kib * 1024
    }

    /// Of all its threads.
    pub fn cpu(self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).expect("a running process");
        let nanos = tasks.flatten().map(|task| {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            stat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }
}

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
