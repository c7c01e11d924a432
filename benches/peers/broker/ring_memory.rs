//! What the latest events take that a replica keeps for clients that come back: the memory of one
//! that reads what another publishes, empty, with some, full, and after a client came back.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::sleep;

use super::{DEADLINE, Setup, bulk, contender::Build, replicas::Replicas};
use crate::{
    load::{
        Clients, EVENT_BYTES, Pace, Unit, ask, event, myxi_entry, myxi_script, position_in,
        subscribe, within,
    },
    peer::KEY,
};

/// All are kept.
const SOME: u64 = 100_000;

/// Which are more than are kept.
const MORE: u64 = 250_000;

/// The latest of these, which a client comes back for.
const MISSED: u64 = 50_000;

/// The key of an event that tells when those before it were read.
const LAST: &str = "last";

/// Before memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);

/// In MiB, and what an event takes in bytes, also of each byte of its own.
pub async fn measure(flags: &[&str], setup: &Setup<'_>) -> anyhow::Result<Vec<Option<f64>>> {
    let build = Build::with_batches();
    let publisher = Replicas::start(&build, 1, setup).await?;
    let reader = Replicas::start_with(&build, 1, flags, setup).await?;
    let server = reader.gateways[0].addresses.clients;
    let listener = reader.clients(1, |_| LAST.into()).await?;
    let read = async |events| {
        let all = listener.received() + 1;
        bulk::push_all(events, &publisher.apis, KEY).await?;
        publisher.apis[0].clone().push_event(event(LAST)).await?;
        within(DEADLINE, "the last event arrives", listener.have_received(all)).await
    };
    let memory = async || {
        sleep(SETTLE).await;
        reader.gateways[0].process.memory() as f64 * 1024.0
    };

    let empty = memory().await;
    read(SOME).await?;
    let of_each = (memory().await - empty) / SOME as f64;
    read(MORE - MISSED).await?;
    let subscribed = ask(server, myxi_script(server, KEY));
    let subscribed = within(DEADLINE, "a client subscribes", subscribed).await?;
    let position = position_in(&subscribed).context("a position")?;
    read(MISSED).await?;
    let full = memory().await;

    let client = Clients::new(Unit::Frame, Pace::Sparing)?;
    let entering = client.open(server, 1, 1, |_| myxi_entry(server).into());
    within(DEADLINE, "the client is back", entering).await?;
    client.say(&subscribe(KEY, Some(position)))?;
    // Beside `Subscribed` and `Replayed`.
    let messages = MISSED + 2;
    within(DEADLINE, "what was missed comes", client.have_received(messages)).await?;
    ensure!(client.received() == messages, "more came than was missed");
    drop(client);
    let replayed = memory().await;

    let own = (EVENT_BYTES + KEY.len() + event(KEY).event.len()) as f64;
    let [empty, full, replayed] = [empty, full, replayed].map(|bytes| bytes / f64::from(1 << 20));
    Ok([empty, of_each, of_each / own, full, replayed].map(Some).into())
}
