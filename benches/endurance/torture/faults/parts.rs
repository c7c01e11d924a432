//! What happens to parts of a broker that goes on: its memory runs short, connections are
//! closed, and what replicas have there beside their logs is taken away.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Fault, Kind, World, operator::as_operator};
use crate::support::rabbitmq::RabbitMq;

const DELETED_EVERY: Duration = Duration::from_millis(100);

pub async fn disturb(world: &World, fault: Fault) -> anyhow::Result<String> {
    let broker = world.broker.read().await;
    let node = broker.node(fault.which);
    match fault.kind {
        Kind::MemoryAlarm => {
            node.ctl(&["set_vm_memory_high_watermark", "0"]).await;
            sleep(fault.lasts).await;
            node.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
        }
        Kind::ConnectionsClosed => {
            node.ctl(&["close_all_connections", "torture"]).await;
            sleep(fault.lasts).await;
        }
        Kind::ReplicasExchangeDeleted => {
            as_operator(node, async |channel| {
                channel.exchange_delete("myxi.replicas".into(), Default::default()).await
            })
            .await?;
            sleep(fault.lasts).await;
        }
        _ => return delete_queue(node, fault).await,
    }
    Ok(String::new())
}

/// Again and again: its owner makes another one.
async fn delete_queue(node: &RabbitMq, fault: Fault) -> anyhow::Result<String> {
    let (began, mut times) = (Instant::now(), 0);
    while began.elapsed() < fault.lasts {
        let queues = node.ctl(&["list_queues", "name"]).await;
        let queues = queues.lines().filter(|name| name.starts_with("myxi.replica."));
        let mut queues: Vec<_> = queues.collect();
        queues.sort_unstable();
        let Some(queue) = queues.get(fault.which % queues.len().max(1)) else {
            sleep(DELETED_EVERY).await;
            continue;
        };
        times += 1;
        // Where only its owner may, and an operator by other means.
        if !delete_by_name(node, queue).await? {
            // Its replica may be gone by then, and the queue with it.
            let _ = node.try_tool("rabbitmqctl", &["delete_queue", queue]).await;
            continue;
        }
        // One that is made again by the same name.
        while began.elapsed() < fault.lasts {
            times += 1;
            sleep(DELETED_EVERY).await;
            delete_by_name(node, queue).await?;
        }
    }
    Ok(format!(" ({times} times)"))
}

async fn delete_by_name(node: &RabbitMq, queue: &str) -> anyhow::Result<bool> {
    as_operator(node, async |channel| {
        Ok(channel.queue_delete(queue.into(), Default::default()).await.is_ok())
    })
    .await
}
