//! A fleet at a fixed rate: every replica reads every event. Does it keep up?

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Contender, Setup, bare, pace};

const EVENTS_PER_SECOND: u64 = 2_000;

const SAMPLED_EVERY: Duration = Duration::from_millis(50);

pub async fn measure(contender: &Contender, setup: &Setup<'_>) -> anyhow::Result<Vec<Option<f64>>> {
    let (rate, readers) = (EVENTS_PER_SECOND, setup.fleet);
    let (measured, lag) = match contender {
        Contender::Bare => bare::paced(rate, readers, setup).await?,
        Contender::Gateway(build) => pace::through(build, rate, readers, setup).await?,
    };
    let spent = &measured.spent;
    // In percent of one processor.
    let busy = spent.broker_cpu * spent.per_second / 1e4;
    let of_each = spent.gateway_cpu.map(|cpu| cpu / readers as f64);
    let [p50, p99] = [0.50, 0.99].map(|q| Some(measured.quantile(q)));
    Ok(vec![p50, p99, Some(lag.growth()), Some(spent.broker_cpu), Some(busy), of_each])
}

/// How many events were published and not received, in the mean of all readers, again and
/// again over some time.
#[derive(Default)]
pub struct Lag {
    /// Seconds and events.
    samples: Vec<(f64, f64)>,
}

impl Lag {
    pub async fn while_running(
        behind: impl Fn() -> f64,
        running: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Self> {
        let (mut lag, began) = (Self::default(), Instant::now());
        let sampling = async {
            loop {
                sleep(SAMPLED_EVERY).await;
                lag.samples.push((began.elapsed().as_secs_f64(), behind()));
            }
        };
        tokio::select! {
            done = running => done?,
            () = sampling => {}
        }
        Ok(lag)
    }

    /// In events a second: the slope of the line through all samples.
    pub fn growth(&self) -> f64 {
        let count = self.samples.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| self.samples.iter().map(of).sum::<f64>() / count;
        let (time, behind) = (mean(|it| it.0), mean(|it| it.1));
        let both = self.samples.iter().map(|it| (it.0 - time) * (it.1 - behind)).sum::<f64>();
        let square = self.samples.iter().map(|it| (it.0 - time).powi(2)).sum::<f64>();
        if square > 0.0 { both / square } else { 0.0 }
    }
}
