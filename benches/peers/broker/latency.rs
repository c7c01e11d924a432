//! How long an event takes from the push to its client's socket, where nothing is there to
//! be gathered: one event at a time, and a rate that the broker bears easily.

use std::time::{Duration, Instant};

use super::{
    Contender, DEADLINE, Setup, WARM_UP, bare,
    contender::Build,
    meter::{Meter, Spent},
    pace,
    replicas::Replicas,
};
use crate::{
    load::{event, within},
    peer::KEY,
};

const EVENTS_PER_SECOND: u64 = 1_000;

pub struct Measured {
    pub spent: Spent,
    /// Sorted.
    pub latencies: Vec<Duration>,
}

impl Measured {
    fn figures(&self) -> Vec<Option<f64>> {
        let [p50, p99] = [0.50, 0.99].map(|q| self.quantile(q));
        vec![Some(p50), Some(p99), Some(self.spent.broker_cpu), self.spent.gateway_cpu]
    }

    /// In milliseconds.
    pub fn quantile(&self, q: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let latency = self.latencies.get((last as f64 * q) as usize);
        latency.copied().unwrap_or_default().as_secs_f64() * 1e3
    }
}

pub async fn one_at_a_time(
    contender: &Contender,
    setup: &Setup<'_>,
) -> anyhow::Result<Vec<Option<f64>>> {
    let measured = match contender {
        Contender::Bare => bare::one_at_a_time(setup).await?,
        Contender::Gateway(build) => one_through(build, setup).await?,
    };
    Ok(measured.figures())
}

pub async fn paced(contender: &Contender, setup: &Setup<'_>) -> anyhow::Result<Vec<Option<f64>>> {
    let rate = EVENTS_PER_SECOND;
    let (measured, _) = match contender {
        Contender::Bare => bare::paced(rate, 1, setup).await?,
        Contender::Gateway(build) => pace::through(build, rate, 1, setup).await?,
    };
    Ok(measured.figures())
}

/// The next event is pushed when the call is answered and the client has the last one.
async fn one_through(build: &Build, setup: &Setup<'_>) -> anyhow::Result<Measured> {
    let replicas = Replicas::start(build, 1, setup).await?;
    let clients = replicas.clients(1, |_| KEY.into()).await?;
    let mut api = replicas.apis[0].clone();
    let mut push_for = async |time| {
        let (began, before, mut events) = (Instant::now(), clients.received(), 0);
        while began.elapsed() < time {
            clients.published(Instant::now());
            api.push_event(event(KEY)).await?;
            events += 1;
            let arrival = clients.have_received(before + events);
            within(DEADLINE, "an event arrives", arrival).await?;
        }
        anyhow::Ok(events)
    };
    push_for(WARM_UP).await?;
    clients.take_latencies();
    let meter = Meter::start(setup.broker, &replicas.gateways);
    let events = push_for(setup.time).await?;
    let spent = meter.stop(events);
    Ok(Measured { spent, latencies: clients.latencies() })
}
