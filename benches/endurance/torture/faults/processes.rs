//! What befalls replicas and the handler as processes.

use std::time::Duration;

use tokio::{
    sync::MutexGuard,
    time::{Instant, sleep},
};

use super::{super::fleet::Replica, Fault, Kind, World};

/// How long a replica stands still that stumbles, and then goes on.
const STUMBLES_FOR: Duration = Duration::from_millis(150);

/// The one that was drawn, or the next that nothing befalls yet. It is the caller's.
pub async fn take_replica(world: &World, which: usize) -> (&Replica, MutexGuard<'_, ()>) {
    let count = world.fleet.len();
    for turn in 0..count {
        let replica = &world.fleet[(which + turn) % count];
        if let Ok(guard) = replica.turn.try_lock() {
            return (replica, guard);
        }
    }
    let replica = &world.fleet[which % count];
    (replica, replica.turn.lock().await)
}

pub async fn befall_replica(world: &World, fault: Fault) -> anyhow::Result<String> {
    let (replica, _turn) = take_replica(world, fault.which).await;
    match fault.kind {
        Kind::ReplicaKilled => {
            replica.kill();
            sleep(fault.lasts / 2).await;
            replica.start_anew().await?;
        }
        Kind::ReplicaDrained => {
            replica.drain().await?;
            sleep(fault.lasts / 2).await;
            replica.start_anew().await?;
        }
        Kind::ReplicaStumbles => {
            let began = Instant::now();
            while began.elapsed() < fault.lasts {
                replica.freeze()?;
                sleep(STUMBLES_FOR).await;
                replica.thaw()?;
                sleep(STUMBLES_FOR).await;
            }
        }
        _ => {
            replica.freeze()?;
            sleep(fault.lasts).await;
            replica.thaw()?;
        }
    }
    Ok(format!(" ({})", replica.number()))
}

/// As an orderly deploy does it: one after another, each waited for.
pub async fn roll(world: &World, fault: Fault) -> anyhow::Result<String> {
    for replica in &world.fleet {
        let _turn = replica.turn.lock().await;
        replica.drain().await?;
        replica.start_anew().await?;
        sleep(fault.lasts / 6).await;
    }
    Ok(String::new())
}

pub async fn befall_handler(world: &World, fault: Fault) -> anyhow::Result<String> {
    let _turn = world.handler.turn.lock().await;
    if fault.kind == Kind::HandlerKilled {
        world.handler.kill();
        sleep(fault.lasts).await;
        world.handler.start_anew().await?;
    } else {
        world.handler.freeze()?;
        sleep(fault.lasts).await;
        world.handler.thaw()?;
    }
    Ok(String::new())
}
