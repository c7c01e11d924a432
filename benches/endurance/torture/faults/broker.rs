//! What befalls the broker where it is one node, and what happens to it where it is several.
//! Whatever it is, the broker comes back with all that it had.

use tokio::time::sleep;

use super::{
    super::{broker::Broker, topics::EXCHANGES},
    Fault, Kind, World,
};
use crate::support::{
    cluster::{Cluster, OnPartition},
    rabbitmq::RabbitMq,
};

pub async fn befall(world: &World, fault: Fault) -> anyhow::Result<String> {
    match &mut *world.broker.write().await {
        Broker::One(node) => befall_node(node, fault).await,
        Broker::Three(cluster) => return befall_cluster(cluster, fault).await,
    }
    Ok(String::new())
}

async fn befall_node(node: &mut RabbitMq, fault: Fault) {
    match fault.kind {
        Kind::BrokerKilled => node.kill().await,
        Kind::BrokerStopped => node.stop().await,
        _ => node.freeze(),
    }
    sleep(fault.lasts).await;
    match fault.kind {
        Kind::BrokerFrozen => node.thaw(),
        _ => node.restart().await,
    }
}

async fn befall_cluster(cluster: &mut Cluster, fault: Fault) -> anyhow::Result<String> {
    let log = format!("myxi.log.{}", EXCHANGES[fault.which % EXCHANGES.len()]);
    let leader = cluster.leader(&log).await;
    let follower = (leader + 1 + fault.which % (cluster.size() - 1)) % cluster.size();
    let node = match fault.kind {
        Kind::LeaderKilled | Kind::LeaderFrozen => leader,
        _ => follower,
    };
    match fault.kind {
        Kind::LeaderKilled | Kind::FollowerKilled => {
            cluster[node].kill().await;
            sleep(fault.lasts).await;
            cluster.restart_all().await;
        }
        Kind::MajorityLost => {
            for node in [leader, follower] {
                cluster[node].kill().await;
            }
            sleep(fault.lasts).await;
            cluster.restart_all().await;
        }
        Kind::ClusterRolled => {
            for node in 0..cluster.size() {
                cluster[node].stop().await;
                sleep(fault.lasts / 4).await;
                cluster.restart_all().await;
            }
        }
        Kind::LogCopyMoved => {
            cluster.delete_replica(&log, node).await;
            sleep(fault.lasts).await;
            cluster.add_replica(&log, node).await;
        }
        Kind::Partitioned => {
            cluster.on_partition(OnPartition::Ignore).await;
            cluster.cut_off(node).await;
            sleep(fault.lasts).await;
            cluster.join_up().await;
            // What each side took for true meanwhile stays until one of them gives it up.
            cluster[node].stop().await;
            cluster.restart_all().await;
        }
        Kind::PartitionedAndPaused => {
            cluster.on_partition(OnPartition::PauseMinority).await;
            cluster.cut_off(node).await;
            sleep(fault.lasts).await;
            cluster.join_up().await;
            cluster.on_partition(OnPartition::Ignore).await;
        }
        _ => {
            cluster[node].freeze();
            sleep(fault.lasts).await;
            cluster[node].thaw();
        }
    }
    Ok(format!(" ({log}, node {node})"))
}
