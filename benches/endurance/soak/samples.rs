//! What the operating system says of the gateway's process over time, and whether its
//! memory grows.

use std::time::Duration;

use crate::{
    application::Handler,
    load::{Gateway, usage},
};

/// A quarter of the run for what fills up only once: buffers, caches, the allocator's pools.
const WARM_UP: f64 = 0.25;

/// Neighbouring samples know of each other, so their scatter says too little about the
/// error. Means of long stretches are as good as independent.
const STRETCHES: usize = 16;

pub struct Sample {
    /// Proportional set size in KiB.
    memory: u64,
    pub descriptors: usize,
    pub threads: usize,
    sessions: u64,
}

impl Sample {
    pub fn of(gateway: &Gateway, handler: &Handler) -> Self {
        let process = gateway.process.id();
        Self {
            memory: usage::memory(process),
            descriptors: usage::descriptors(process),
            threads: usage::threads(process),
            sessions: handler.opened().saturating_sub(handler.closed()),
        }
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory, descriptors, threads, sessions } = self;
        let mib = *memory as f64 / 1024.0;
        write!(f, "{mib:.1} MiB, {descriptors} descriptors, {threads} threads, {sessions} sessions")
    }
}

#[derive(Default)]
pub struct Samples(Vec<(f64, f64)>);

/// Of memory over time.
pub struct Slope {
    /// Of the mean, in an hour.
    pub percent: f64,
    /// Its standard error.
    pub error: f64,
    pub mean_mib: f64,
}

impl Samples {
    pub fn add(&mut self, at: Duration, sample: Sample) {
        self.0.push((at.as_secs_f64() / 3600.0, sample.memory as f64));
    }

    /// By least squares, over what follows the warm-up.
    pub fn slope(&self) -> Slope {
        let first = (self.0.len() as f64 * WARM_UP) as usize;
        let stretch = ((self.0.len() - first) / STRETCHES).max(1);
        let points: Vec<_> = self.0[first..].chunks_exact(stretch).map(middle).collect();
        let (x_mean, y_mean) = middle(&points);
        let spread: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
        let product: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
        let slope = product / spread;
        let rest = |(x, y): &(f64, f64)| (y - y_mean - slope * (x - x_mean)).powi(2);
        let freedom = points.len() as f64 - 2.0;
        let error = (points.iter().map(rest).sum::<f64>() / freedom / spread).sqrt();
        let percent = 100.0 / y_mean;
        Slope { percent: slope * percent, error: error * percent, mean_mib: y_mean / 1024.0 }
    }
}

fn middle(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (x / count, y / count)
}
