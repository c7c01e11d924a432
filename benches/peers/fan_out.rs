//! One event to many: as many events as go, some on their way at any time, or so many a
//! second.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::ensure;
use futures_util::future::try_join_all;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    load::{Clients, within},
    peer::Running,
};

/// Before a rate is measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// For what is on its way when the time is over.
const REST_DEADLINE: Duration = Duration::from_secs(60);

const EVENTS_PER_SECOND: u64 = 100;

/// What the operating system and the clients counted over some time.
pub struct Measured {
    pub deliveries_per_second: f64,
    /// In microseconds per delivery.
    pub server_cpu: f64,
    pub load_cpu: f64,
}

impl Measured {
    pub fn figures(&self) -> [Option<f64>; 3] {
        [self.deliveries_per_second, self.server_cpu, self.load_cpu].map(Some)
    }
}

/// Each publisher's next event waits until everyone has the one before it.
pub async fn saturate(
    server: &Running,
    clients: &Clients,
    outstanding: usize,
    time: Duration,
) -> anyhow::Result<Measured> {
    let (subscribers, before) = (clients.len() as u64, clients.received());
    let (published, over) = (Cell::new(0), Cell::new(false));
    let publisher = async || {
        while !over.get() {
            published.set(published.get() + 1);
            let everyone = before + subscribers * published.get();
            server.publisher.publish().await?;
            clients.have_received(everyone).await?;
        }
        anyhow::Ok(())
    };
    let measuring = async {
        sleep(WARM_UP).await;
        clients.have_received(before + subscribers).await?;
        let meter = Meter::start(server, clients);
        sleep(time).await;
        let measured = meter.stop();
        over.set(true);
        Ok(measured)
    };
    let publishing = try_join_all((0..outstanding).map(|_| publisher()));
    let all = async { tokio::try_join!(measuring, publishing) };
    let (measured, _) = within(time + REST_DEADLINE, "all events arrive", all).await?;
    let (received, everything) = (clients.received(), before + subscribers * published.get());
    ensure!(received == everything, "{received} messages came instead of {everything}");
    Ok(measured)
}

/// Latencies of each delivery at a fixed rate.
pub struct Paced {
    pub p50: Duration,
    pub p99: Duration,
    pub measured: Measured,
}

impl Paced {
    pub fn figures(&self) -> [Option<f64>; 4] {
        let [p50, p99] = [self.p50, self.p99].map(|latency| latency.as_secs_f64() * 1e3);
        [p50, p99, self.measured.server_cpu, self.measured.load_cpu].map(Some)
    }
}

pub async fn pace(server: &Running, clients: &Clients, time: Duration) -> anyhow::Result<Paced> {
    let events = EVENTS_PER_SECOND * time.as_secs();
    let all = clients.received() + events * clients.len() as u64;
    let mut ticks = interval(Duration::from_secs(1) / EVENTS_PER_SECOND as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    clients.take_latencies();
    let meter = Meter::start(server, clients);
    for _ in 0..events {
        let due = ticks.tick().await.into_std();
        // The timer's own lateness is nobody's. One publish that held up the next is.
        let late = due.elapsed() > TIMER;
        clients.published(if late { due } else { Instant::now() });
        server.publisher.publish().await?;
    }
    within(REST_DEADLINE, "all events arrive", clients.have_received(all)).await?;
    let measured = meter.stop();
    let latencies = clients.latencies();
    ensure!(latencies.len() as u64 == events * clients.len() as u64, "a latency for each delivery");
    let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
    Ok(Paced { p50: quantile(0.50), p99: quantile(0.99), measured })
}

/// How late tokio's timer may be.
const TIMER: Duration = Duration::from_millis(2);

struct Meter<'a> {
    server: &'a Running,
    clients: &'a Clients,
    received: u64,
    server_cpu: Duration,
    worked: Duration,
    began: Instant,
}

impl<'a> Meter<'a> {
    fn start(server: &'a Running, clients: &'a Clients) -> Self {
        Self {
            server,
            clients,
            received: clients.received(),
            server_cpu: server.cpu(),
            worked: clients.worked(),
            began: Instant::now(),
        }
    }

    fn stop(self) -> Measured {
        let elapsed = self.began.elapsed().as_secs_f64();
        let deliveries = (self.clients.received() - self.received) as f64;
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / deliveries;
        Measured {
            deliveries_per_second: deliveries / elapsed,
            server_cpu: each(self.server.cpu() - self.server_cpu),
            load_cpu: each(self.clients.worked() - self.worked),
        }
    }
}
