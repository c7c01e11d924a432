//! The least that publishes with confirms and reads a stream: what the broker and the
//! library take by themselves. A publisher in this thread, each reader in one of its own.

mod log;
mod publisher;
mod reader;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::time::sleep;

pub use self::publisher::Publisher;
use self::reader::Reader;
use super::{
    DEADLINE, Setup, WARM_UP,
    fleet::Lag,
    latency::Measured,
    meter::{Meter, Spent},
    pace::{ticks, warm_up},
};
use crate::load::{RabbitMq, within};

/// Of its own: gateways read the other one.
const NAME: &str = "bare";

const KEY: &str = "key";

/// As many events as go, which all readers get.
pub async fn bulk(readers: usize, setup: &Setup<'_>) -> anyhow::Result<Spent> {
    let (mut publisher, readers) = start(setup.broker, readers).await?;
    let over = Cell::new(false);
    let publishing = async {
        while !over.get() {
            publisher.publish(KEY).await?;
        }
        publisher.settle().await
    };
    let measuring = async {
        sleep(WARM_UP).await;
        let (meter, before) = (Meter::start(setup.broker, &[]), mean(&readers));
        sleep(setup.time).await;
        let spent = meter.stop((mean(&readers) - before) as u64);
        over.set(true);
        Ok(spent)
    };
    let all = async { tokio::try_join!(measuring, publishing) };
    Ok(within(setup.time + DEADLINE, "events are published", all).await?.0)
}

/// The next event is published when the last one is confirmed and read.
pub async fn one_at_a_time(setup: &Setup<'_>) -> anyhow::Result<Measured> {
    let (mut publisher, readers) = start(setup.broker, 1).await?;
    let mut published = Vec::new();
    let mut publish_for = async |time| {
        let began = Instant::now();
        while began.elapsed() < time {
            published.push(Instant::now());
            publisher.publish(KEY).await?;
            publisher.settle().await?;
            all_have(&readers, published.len()).await?;
        }
        anyhow::Ok(published.len())
    };
    let before = publish_for(WARM_UP).await?;
    let meter = Meter::start(setup.broker, &[]);
    let events = publish_for(setup.time).await? - before;
    let spent = meter.stop(events as u64);
    Ok(Measured { spent, latencies: latencies(&published, &readers, before) })
}

/// At a fixed rate, to so many readers.
pub async fn paced(
    per_second: u64,
    readers: usize,
    setup: &Setup<'_>,
) -> anyhow::Result<(Measured, Lag)> {
    let (mut publisher, readers) = start(setup.broker, readers).await?;
    let (mut published, count) = (Vec::new(), Cell::new(0));
    let mut publish = async |events| {
        let mut ticks = ticks(per_second);
        for _ in 0..events {
            ticks.tick().await;
            published.push(Instant::now());
            count.set(count.get() + 1);
            publisher.publish(KEY).await?;
        }
        publisher.settle().await
    };
    let warm_up = warm_up(per_second);
    publish(warm_up).await?;
    all_have(&readers, warm_up as usize).await?;

    let meter = Meter::start(setup.broker, &[]);
    let events = per_second * setup.time.as_secs();
    let behind = || f64::from(count.get()) - mean(&readers);
    let lag = Lag::while_running(behind, publish(events)).await?;
    all_have(&readers, (warm_up + events) as usize).await?;
    let spent = meter.stop(events);
    Ok((Measured { spent, latencies: latencies(&published, &readers, warm_up as usize) }, lag))
}

/// So many entries of a log of their own, from the first on.
pub async fn from_the_log(entries: u64, setup: &Setup<'_>) -> anyhow::Result<Spent> {
    let name = format!("deep-{:08x}", rand::random::<u32>());
    let connection = setup.broker.connect().await?;
    let channel = connection.create_channel().await?;
    log::declare(&channel, &name).await?;
    let mut publisher = Publisher::new(channel, &name).await?;
    for _ in 0..entries {
        publisher.publish(KEY).await?;
    }
    publisher.settle().await?;
    let meter = Meter::start(setup.broker, &[]);
    let reader = Reader::start(setup.broker.url(), &name, "first").await?;
    all_have(&[reader], entries as usize).await?;
    Ok(meter.stop(entries))
}

async fn start(broker: &RabbitMq, readers: usize) -> anyhow::Result<(Publisher, Vec<Reader>)> {
    let connection = broker.connect().await?;
    let channel = connection.create_channel().await?;
    log::declare(&channel, NAME).await?;
    let reader = || Reader::start(broker.url(), NAME, "next");
    let readers = try_join_all((0..readers).map(|_| reader())).await?;
    Ok((Publisher::new(channel, NAME).await?, readers))
}

async fn all_have(readers: &[Reader], events: usize) -> anyhow::Result<()> {
    let reading = try_join_all(readers.iter().map(|reader| reader.has_received(events)));
    within(DEADLINE, "every event is read", reading).await?;
    Ok(())
}

/// Of what the readers have received.
fn mean(readers: &[Reader]) -> f64 {
    let received: usize = readers.iter().map(Reader::received).sum();
    received as f64 / readers.len() as f64
}

/// Of each event behind the first ones, at each reader. Sorted.
fn latencies(published: &[Instant], readers: &[Reader], first: usize) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for reader in readers {
        let both = published.iter().zip(reader.arrivals()).skip(first);
        latencies.extend(both.map(|(published, arrived)| arrived.duration_since(*published)));
    }
    latencies.sort_unstable();
    latencies
}
