//! What a broker and its gateways spend on events.

use std::time::{Duration, Instant};

use crate::load::{Gateway, RabbitMq, usage};

/// CPU in microseconds per event.
pub struct Spent {
    pub per_second: f64,
    pub broker_cpu: f64,
    /// Of all gateways together, if there are any.
    pub gateway_cpu: Option<f64>,
    /// Of the thread that pushes and has the clients, where there are gateways: the bare
    /// library has threads of its own beside it.
    pub load_cpu: Option<f64>,
}

pub struct Meter<'a> {
    broker: &'a RabbitMq,
    gateways: &'a [Gateway],
    broker_cpu: Duration,
    gateway_cpu: Duration,
    load_cpu: Duration,
    began: Instant,
}

impl<'a> Meter<'a> {
    pub fn start(broker: &'a RabbitMq, gateways: &'a [Gateway]) -> Self {
        Self {
            broker,
            gateways,
            broker_cpu: broker.process.cpu(),
            gateway_cpu: cpu(gateways),
            load_cpu: usage::own_cpu(),
            began: Instant::now(),
        }
    }

    pub fn stop(self, events: u64) -> Spent {
        let elapsed = self.began.elapsed().as_secs_f64();
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / events as f64;
        let has_gateways = !self.gateways.is_empty();
        let gateway_cpu = each(cpu(self.gateways) - self.gateway_cpu);
        let load_cpu = each(usage::own_cpu() - self.load_cpu);
        Spent {
            per_second: events as f64 / elapsed,
            broker_cpu: each(self.broker.process.cpu() - self.broker_cpu),
            gateway_cpu: has_gateways.then_some(gateway_cpu),
            load_cpu: has_gateways.then_some(load_cpu),
        }
    }
}

fn cpu(gateways: &[Gateway]) -> Duration {
    gateways.iter().map(|gateway| gateway.process.cpu()).sum()
}
