//! What befalls the broker as a whole, and what is taken away from replicas that has nothing
//! to do with any one log.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Fault, Kind, World, operator::as_operator};
use crate::support::rabbitmq::RabbitMq;

const DELETED_EVERY: Duration = Duration::from_millis(100);

/// Whatever befalls it, the broker comes back with all that it had.
pub async fn befall(world: &World, fault: Fault) -> anyhow::Result<String> {
    if fault.kind == Kind::MemoryAlarm {
        let broker = world.broker.read().await;
        broker.ctl(&["set_vm_memory_high_watermark", "0"]).await;
        sleep(fault.lasts).await;
        broker.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
        return Ok(String::new());
    }
    let mut broker = world.broker.write().await;
    match fault.kind {
        Kind::BrokerKilled => broker.kill().await,
        Kind::BrokerStopped => broker.stop().await,
        _ => broker.freeze(),
    }
    sleep(fault.lasts).await;
    match fault.kind {
        Kind::BrokerFrozen => broker.thaw(),
        _ => broker.restart().await,
    }
    Ok(String::new())
}

pub async fn take_away(world: &World, fault: Fault) -> anyhow::Result<String> {
    let broker = world.broker.read().await;
    match fault.kind {
        Kind::ConnectionsClosed => {
            broker.ctl(&["close_all_connections", "torture"]).await;
            sleep(fault.lasts).await;
            Ok(String::new())
        }
        Kind::ReplicasExchangeDeleted => {
            as_operator(&broker.url(), async |channel| {
                channel.exchange_delete("myxi.replicas".into(), Default::default()).await
            })
            .await?;
            sleep(fault.lasts).await;
            Ok(String::new())
        }
        _ => delete_queue(&broker, fault).await,
    }
}

/// Again and again: its owner makes another one.
async fn delete_queue(broker: &RabbitMq, fault: Fault) -> anyhow::Result<String> {
    let queues = broker.ctl(&["list_queues", "name"]).await;
    let mut queues: Vec<_> =
        queues.lines().filter(|name| name.starts_with("myxi.replica")).collect();
    queues.sort_unstable();
    let Some(queue) = queues.get(fault.which % queues.len().max(1)) else {
        return Ok(" (there was none)".into());
    };
    let (began, mut times) = (Instant::now(), 0);
    while began.elapsed() < fault.lasts {
        let deleted = as_operator(&broker.url(), async |channel| {
            Ok(channel.queue_delete((*queue).into(), Default::default()).await.is_ok())
        })
        .await?;
        times += 1;
        if deleted {
            sleep(DELETED_EVERY).await;
        } else {
            // Only its owner may, and an operator.
            broker.ctl(&["delete_queue", queue]).await;
            sleep(fault.lasts).await;
        }
    }
    Ok(format!(" ({queue}, {times} times)"))
}
