//! What all replicas share: one node of RabbitMQ, or a cluster of three.

use crate::support::{
    cluster::{self, Cluster},
    rabbitmq::RabbitMq,
};

pub enum Broker {
    One(RabbitMq),
    Three(cluster::Exclusive),
}

impl Broker {
    pub async fn start(cluster: bool) -> Self {
        if cluster {
            Self::Three(Cluster::exclusive().await)
        } else {
            Self::One(RabbitMq::start().await)
        }
    }

    /// For `--rabbitmq-url`. Replicas begin at different nodes, where there are several.
    pub fn urls(&self, replica: usize) -> String {
        match self {
            Self::One(node) => node.url(),
            Self::Three(cluster) => cluster.urls_from(replica % cluster.size()),
        }
    }

    /// Any, or the one that was drawn.
    pub fn node(&self, which: usize) -> &RabbitMq {
        match self {
            Self::One(node) => node,
            Self::Three(cluster) => &cluster[which % cluster.size()],
        }
    }

    /// The node through which this log is written.
    pub async fn leader(&self, log: &str) -> &RabbitMq {
        match self {
            Self::One(node) => node,
            Self::Three(cluster) => &cluster[cluster.leader(log).await],
        }
    }
}
