//! What befalls the broker as a whole, and what is taken away from replicas that has nothing
//! to do with any one log.

use tokio::time::sleep;

use super::{Fault, Kind, World};

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
    if fault.kind == Kind::ConnectionsClosed {
        broker.ctl(&["close_all_connections", "torture"]).await;
        sleep(fault.lasts).await;
        return Ok(String::new());
    }
    let queues = broker.ctl(&["list_queues", "name"]).await;
    let mut queues: Vec<_> =
        queues.lines().filter(|name| name.starts_with("myxi.replica")).collect();
    queues.sort_unstable();
    let Some(queue) = queues.get(fault.which % queues.len().max(1)) else {
        return Ok(" (there was none)".into());
    };
    broker.ctl(&["delete_queue", queue]).await;
    sleep(fault.lasts).await;
    Ok(format!(" ({queue})"))
}
