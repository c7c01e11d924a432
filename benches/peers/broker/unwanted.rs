//! What an event costs a replica whose clients do not want it: published in bulk by another
//! replica, or one by one by a bare publisher.

use std::time::Instant;

use super::{
    Contender, DEADLINE, Setup,
    bare::Publisher,
    bulk,
    contender::Build,
    meter::{Meter, Spent},
    replicas::Replicas,
};
use crate::load::{EXCHANGE, event, within};

const NOBODYS: &str = "nobody's";

/// The one that tells when everything before it was read.
const LAST: &str = "last";

/// The figures of the bare library are those of a gateway of this build that reads what the
/// library publishes.
pub async fn measure(contender: &Contender, setup: &Setup<'_>) -> anyhow::Result<Vec<Option<f64>>> {
    let spent = match contender {
        Contender::Bare => published_bare(&Build::without_batches(), setup).await?,
        Contender::Gateway(build) => published_by_replica(build, setup).await?,
    };
    Ok(vec![spent.gateway_cpu, Some(spent.broker_cpu), Some(spent.per_second)])
}

async fn published_by_replica(build: &Build, setup: &Setup<'_>) -> anyhow::Result<Spent> {
    let publisher = Replicas::start(build, 1, setup).await?;
    let reader = Replicas::start(build, 1, setup).await?;
    let client = reader.clients(1, |_| LAST.into()).await?;
    let meter = Meter::start(setup.broker, &reader.gateways);
    let events = bulk::push_for(setup.time, &publisher.apis, || NOBODYS.into()).await?;
    publisher.apis[0].clone().push_event(event(LAST)).await?;
    within(DEADLINE, "the last event arrives", client.have_received(1)).await?;
    Ok(meter.stop(events))
}

async fn published_bare(build: &Build, setup: &Setup<'_>) -> anyhow::Result<Spent> {
    let reader = Replicas::start(build, 1, setup).await?;
    let client = reader.clients(1, |_| LAST.into()).await?;
    let connection = setup.broker.connect().await?;
    let channel = connection.create_channel().await?;
    let mut publisher = Publisher::new(channel, EXCHANGE).await?;
    let meter = Meter::start(setup.broker, &reader.gateways);
    let (began, mut events) = (Instant::now(), 0);
    while began.elapsed() < setup.time {
        publisher.publish(NOBODYS).await?;
        events += 1;
    }
    publisher.publish(LAST).await?;
    publisher.settle().await?;
    within(DEADLINE, "the last event arrives", client.have_received(1)).await?;
    Ok(meter.stop(events))
}
