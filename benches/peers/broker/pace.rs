//! Events at a fixed rate through one or more replicas, each of which has a client that
//! wants all of them.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use myxi::proto::gateway_client::GatewayClient;
use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};
use tonic::transport::Channel;

use super::{
    DEADLINE, Setup, WARM_UP, contender::Build, fleet::Lag, latency::Measured, meter::Meter,
    replicas::Replicas,
};
use crate::{
    load::{Clients, event, within},
    peer::KEY,
};

/// Calls on their way at most. What would be one more waits, and counts from when it was
/// due.
const UNDER_WAY: usize = 1_000;

/// Events are pushed in turn through each replica.
pub async fn through(
    build: &Build,
    per_second: u64,
    count: usize,
    setup: &Setup<'_>,
) -> anyhow::Result<(Measured, Lag)> {
    let replicas = Replicas::start(build, count, setup).await?;
    let clients = replicas.clients(1, |_| KEY.into()).await?;
    let warm_up = warm_up(per_second);
    push(&replicas.apis, &clients, per_second, warm_up, &Cell::new(0)).await?;
    let before = warm_up * count as u64;
    within(DEADLINE, "every event arrives", clients.have_received(before)).await?;
    let pushed = Cell::new(0);
    let behind = || pushed.get() as f64 - (clients.received() - before) as f64 / count as f64;

    clients.take_latencies();
    let meter = Meter::start(setup.broker, &replicas.gateways);
    let events = per_second * setup.time.as_secs();
    let pushing = push(&replicas.apis, &clients, per_second, events, &pushed);
    let lag = Lag::while_running(behind, pushing).await?;
    let all = before + events * count as u64;
    within(DEADLINE, "every event arrives", clients.have_received(all)).await?;
    let spent = meter.stop(events);
    Ok((Measured { spent, latencies: clients.latencies() }, lag))
}

/// Calls do not wait for each other. They may overtake each other, so that now and then two
/// latencies are those of two others, which their distribution does not show.
async fn push(
    apis: &[GatewayClient<Channel>],
    clients: &Clients,
    per_second: u64,
    events: u64,
    pushed: &Cell<u64>,
) -> anyhow::Result<()> {
    let mut ticks = ticks(per_second);
    let mut calls = JoinSet::new();
    for api in apis.iter().cycle().take(events as usize) {
        let mut at = ticks.tick().await.into_std();
        if calls.len() < UNDER_WAY {
            at = Instant::now();
        }
        while calls.len() >= UNDER_WAY {
            calls.join_next().await.transpose()?.transpose()?;
        }
        while let Some(call) = calls.try_join_next() {
            call??;
        }
        clients.published(at);
        pushed.set(pushed.get() + 1);
        let mut api = api.clone();
        calls.spawn_local(async move { api.push_event(event(KEY)).await });
    }
    while let Some(call) = calls.join_next().await {
        call??;
    }
    Ok(())
}

/// Events before any are measured.
pub fn warm_up(per_second: u64) -> u64 {
    per_second * WARM_UP.as_millis() as u64 / 1_000
}

/// Whatever was late is made up for.
pub fn ticks(per_second: u64) -> Interval {
    let mut ticks = interval(Duration::from_secs(1) / per_second as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}
