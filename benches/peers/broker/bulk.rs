//! Events in bulk, to clients that have a key each, at one replica or at several that all
//! read all.

use std::{cell::Cell, iter::repeat_n, time::Duration};

use anyhow::ensure;
use futures_util::future::try_join_all;
use myxi::proto::{PushEventsRequest, gateway_client::GatewayClient};
use rand::Rng;
use tokio::time::sleep;
use tonic::transport::Channel;

use super::{
    CALLS, Contender, DEADLINE, EVENTS_PER_CALL, Setup, WARM_UP, bare,
    contender::Build,
    meter::{Meter, Spent},
    replicas::Replicas,
};
use crate::load::{event, within};

/// Of all replicas together.
const CLIENTS: usize = 5_000;

pub async fn measure(
    contender: &Contender,
    readers: usize,
    setup: &Setup<'_>,
) -> anyhow::Result<Vec<Option<f64>>> {
    let spent = match contender {
        Contender::Bare => bare::bulk(readers, setup).await?,
        Contender::Gateway(build) => through(build, readers, setup).await?,
    };
    Ok(vec![Some(spent.per_second), Some(spent.broker_cpu), spent.gateway_cpu, spent.load_cpu])
}

async fn through(build: &Build, count: usize, setup: &Setup<'_>) -> anyhow::Result<Spent> {
    let replicas = Replicas::start(build, count, setup).await?;
    let clients = replicas.clients(CLIENTS / count, key).await?;
    let keys = clients.len();
    let random = || key(rand::rng().random_range(0..keys));

    let over = Cell::new(false);
    let measuring = async {
        sleep(WARM_UP).await;
        let (meter, before) = (Meter::start(setup.broker, &replicas.gateways), clients.received());
        sleep(setup.time).await;
        let spent = meter.stop(clients.received() - before);
        over.set(true);
        Ok(spent)
    };
    let all = async { tokio::try_join!(measuring, push(&replicas.apis, random, &over)) };
    let (spent, pushed) = within(setup.time + DEADLINE, "events are pushed", all).await?;
    let what = format!("all of {pushed} events arrive");
    within(DEADLINE, &what, clients.have_received(pushed)).await?;
    ensure!(clients.received() == pushed, "more events came than {pushed}");
    Ok(spent)
}

fn key(number: usize) -> String {
    format!("key-{number}")
}

/// Keeps [`CALLS`] on their way at each of these until it is over. Returns how many events
/// were taken.
pub async fn push(
    apis: &[GatewayClient<Channel>],
    key: impl Fn() -> String,
    over: &Cell<bool>,
) -> anyhow::Result<u64> {
    let pusher = async |mut api: GatewayClient<Channel>| {
        let mut pushed = 0;
        while !over.get() {
            let events = (0..EVENTS_PER_CALL).map(|_| event(key())).collect();
            let answer = api.push_events(PushEventsRequest { events }).await?.into_inner();
            let refused = answer.results.into_iter().find(|result| result.code != 0);
            ensure!(refused.is_none(), "an event was refused: {refused:?}");
            pushed += EVENTS_PER_CALL as u64;
        }
        anyhow::Ok(pushed)
    };
    let callers = apis.iter().flat_map(|api| repeat_n(api, CALLS));
    let pushed = try_join_all(callers.map(|api| pusher(api.clone()))).await?;
    Ok(pushed.into_iter().sum())
}

/// As [`push`], for so long.
pub async fn push_for(
    time: Duration,
    apis: &[GatewayClient<Channel>],
    key: impl Fn() -> String,
) -> anyhow::Result<u64> {
    let over = Cell::new(false);
    let waiting = async {
        sleep(time).await;
        over.set(true);
        Ok(())
    };
    let all = async { tokio::try_join!(waiting, push(apis, key, &over)) };
    Ok(within(time + DEADLINE, "events are pushed", all).await?.1)
}

/// As [`push`], exactly so many, which whole calls hold.
pub async fn push_all(
    events: u64,
    apis: &[GatewayClient<Channel>],
    key: &str,
) -> anyhow::Result<()> {
    let (left, over) = (Cell::new(events), Cell::new(false));
    let next = || {
        left.set(left.get() - 1);
        over.set(left.get() == 0);
        key.to_owned()
    };
    within(DEADLINE, "events are pushed", push(apis, next, &over)).await?;
    Ok(())
}
