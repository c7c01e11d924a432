//! What befalls one exchange's log: its parts are deleted, its head is cut away under a
//! replica that stands still, and much is written to it at once.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep};

use super::{
    super::{
        fleet::Replica,
        publishers,
        settle::{self, Who},
        topics::{EXCHANGES, SMALL, Topic},
    },
    Fault, Kind, World,
    operator::as_operator,
    processes::take_replica,
};
use crate::load::EXCHANGE;

/// Together less than half of what [`SMALL`]'s log holds, so that a replica that is not
/// frozen is never behind its head.
const FILLING: (usize, usize) = (200, 4_000);

/// Between attempts while pushing fails.
const PAUSE: Duration = Duration::from_millis(100);

/// As much as one call may hold.
const LARGE: (usize, usize) = (16, 250_000);
const MANY: (usize, usize) = (1_000, 4_000);

pub async fn delete(world: &World, fault: Fault) -> anyhow::Result<String> {
    let exchange = EXCHANGES[fault.which % EXCHANGES.len()];
    let (input, log) = (format!("myxi.in.{exchange}"), format!("myxi.log.{exchange}"));
    if fault.kind == Kind::LogDeleted {
        world.excuse(fault, exchange, None, true);
        let (mut books, now) = (world.books.borrow_mut(), std::time::Instant::now());
        for entry in books.unreadable.iter_mut().filter(|entry| entry.exchange == exchange) {
            entry.to.get_or_insert(now);
        }
    }
    let broker = world.broker.read().await;
    as_operator(broker.node(fault.which), async |channel| {
        let (input, log) = (input.as_str().into(), log.as_str().into());
        match fault.kind {
            Kind::LogDeleted => channel.queue_delete(log, Default::default()).await.map(drop),
            Kind::InputDeleted => channel.exchange_delete(input, Default::default()).await,
            _ => channel.queue_unbind(log, input, "".into(), Default::default()).await,
        }
    })
    .await?;
    drop(broker);
    sleep(fault.lasts).await;
    Ok(format!(" ({exchange})"))
}

/// A replica is stopped, then so much is written that the log is cut behind it.
pub async fn cut(world: &World, fault: Fault) -> anyhow::Result<String> {
    let by_policy = fault.kind == Kind::HeadCutByPolicy;
    let exchange = if by_policy { EXCHANGE } else { SMALL };
    let (frozen, _turn) = take_replica(world, fault.which).await;
    // Beside another fault replicas that run may be behind as well.
    world.excuse(fault, exchange, fault.alone.then_some(frozen.number()), false);
    // One of its own: this may befall two replicas at once.
    let policy = format!("torture-{}", frozen.number());
    if by_policy {
        let pattern = format!(r"^myxi\.log\.{exchange}$");
        let bounds = r#"{"max-length-bytes":1000000}"#;
        let set = ["set_policy", &policy, &pattern, bounds, "--apply-to", "queues"];
        world.broker.read().await.node(0).ctl(&set).await;
    }
    frozen.freeze()?;
    let filled = async {
        sleep(fault.lasts / 2).await;
        // By policy its segments are as large as they were: 10 MB each.
        let (times, filling) = if by_policy { (8, LARGE) } else { (6, FILLING) };
        let mut taken = 0;
        for turn in 0..times {
            let who = Who::AllBut(frozen.number());
            if fill(world, exchange, filling, fault.which + turn, who).await? {
                taken += 1;
            }
        }
        sleep(fault.lasts / 2).await;
        anyhow::Ok((taken, times))
    };
    let filled = filled.await;
    frozen.thaw()?;
    if by_policy {
        world.broker.read().await.node(0).ctl(&["clear_policy", &policy]).await;
    }
    let (taken, times) = filled?;
    ensure!(taken > 0 || !fault.alone, "nothing was written");
    Ok(format!(" ({exchange}, replica {}, {taken} of {times} fillings taken)", frozen.number()))
}

/// All read on while the log is cut behind them, again and again.
pub async fn cut_under_readers(world: &World, fault: Fault) -> anyhow::Result<String> {
    if !fault.alone {
        // Then one that has nobody to wait for may not have come so far.
        world.excuse(fault, SMALL, None, false);
    }
    let began = Instant::now();
    let (mut taken, mut times) = (0, 0);
    while began.elapsed() < fault.lasts {
        // Nobody stands still meanwhile, though hardly anybody may be subscribed there.
        let mut turns = Vec::new();
        for replica in &world.fleet {
            turns.push(replica.turn.lock().await);
        }
        times += 1;
        let filled = fill(world, SMALL, FILLING, fault.which + times, Who::Connected).await?;
        taken += usize::from(filled);
    }
    Ok(format!(" ({SMALL}, {taken} of {times} fillings taken)"))
}

/// Comes back when these have read it.
async fn fill(
    world: &World,
    exchange: &str,
    (events, bytes): (usize, usize),
    which: usize,
    who: Who,
) -> anyhow::Result<bool> {
    let topics: Vec<_> = Topic::all().filter(|topic| topic.exchange() == exchange).collect();
    let topic = topics[which % topics.len()];
    let reads =
        |replica: &&Replica| !matches!(who, Who::AllBut(other) if other == replica.number());
    let mut api = loop {
        match world.fleet.iter().filter(reads).find_map(Replica::api) {
            Some(api) => break api,
            // Others befall them at the same time.
            None => sleep(PAUSE).await,
        }
    };
    let taken = publishers::push_all(world, &mut api, &vec![topic; events], bytes).await;
    if taken {
        settle::heard(world, topic, who).await;
    } else {
        sleep(PAUSE).await;
    }
    Ok(taken)
}

pub async fn burst(world: &World, fault: Fault) -> anyhow::Result<String> {
    let (events, bytes) = if fault.kind == Kind::Burst { LARGE } else { MANY };
    // What comes at once is more than the other log holds.
    let topics: Vec<_> = Topic::all().filter(|topic| topic.exchange() == EXCHANGE).collect();
    let topic = topics[fault.which % topics.len()];
    let api = world.fleet.iter().find_map(Replica::api);
    let mut api = api.context("a replica that runs")?;
    let taken = publishers::push_all(world, &mut api, &vec![topic; events], bytes).await;
    sleep(fault.lasts / 2).await;
    Ok(format!(" ({topic}{})", if taken { "" } else { ", not taken" }))
}
