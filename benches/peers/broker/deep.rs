//! A client that comes back and is 100,000 events behind, most of which only the log has.

use anyhow::{Context, ensure};

use super::{
    Contender, DEADLINE, Setup, bare, bulk,
    contender::Build,
    meter::{Meter, Spent},
    replicas::Replicas,
};
use crate::{
    load::{Clients, Pace, Unit, ask, myxi_entry, myxi_script, position_in, subscribe, within},
    peer::KEY,
};

const EVENTS: u64 = 100_000;

/// Holds the last few thousand of them.
const SMALL_RING: &str = "--resume-buffer=1MiB";

pub async fn measure(contender: &Contender, setup: &Setup<'_>) -> anyhow::Result<Vec<Option<f64>>> {
    let spent = match contender {
        Contender::Bare => bare::from_the_log(EVENTS, setup).await?,
        Contender::Gateway(build) => through(build, setup).await?,
    };
    let Spent { per_second, broker_cpu, gateway_cpu, load_cpu } = spent;
    let seconds = EVENTS as f64 / per_second;
    Ok(vec![Some(seconds), Some(per_second), Some(broker_cpu), gateway_cpu, load_cpu])
}

async fn through(build: &Build, setup: &Setup<'_>) -> anyhow::Result<Spent> {
    let replicas = Replicas::start_with(build, 1, &[SMALL_RING], setup).await?;
    let server = replicas.gateways[0].addresses.clients;
    let subscribed = ask(server, myxi_script(server, KEY));
    let subscribed = within(DEADLINE, "a client subscribes", subscribed).await?;
    let position = position_in(&subscribed).context("a position")?;
    bulk::push_all(EVENTS, &replicas.apis, KEY).await?;

    let client = Clients::new(Unit::Frame, Pace::Sparing)?;
    let entering = client.open(server, 1, 1, |_| myxi_entry(server).into());
    within(DEADLINE, "the client is back", entering).await?;
    let meter = Meter::start(setup.broker, &replicas.gateways);
    client.say(&subscribe(KEY, Some(position)))?;
    // Beside `Subscribed` and `Replayed`.
    let messages = EVENTS + 2;
    within(DEADLINE, "what was missed comes", client.have_received(messages)).await?;
    let spent = meter.stop(EVENTS);
    ensure!(client.received() == messages, "more came than was missed");
    Ok(spent)
}
