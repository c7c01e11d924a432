//! Replicas on one broker, with one application and one exchange of their own.

use std::ops::Index;

use super::{cluster::Cluster, gateway::Gateway, handler::TestHandler, rabbitmq::RabbitMq, unique};

pub struct Fleet {
    pub app: TestHandler,
    pub exchange: String,
    pub replicas: Vec<Gateway>,
}

impl Fleet {
    pub async fn start(broker: &RabbitMq, replicas: usize) -> Self {
        let (app, exchange) = (TestHandler::start().await, unique("widgets"));
        let mut fleet = Self { app, exchange, replicas: Vec::new() };
        for _ in 0..replicas {
            fleet.add(broker, &[]).await;
        }
        fleet
    }

    /// A replica for each node of a cluster, which comes first in its list.
    pub async fn on_cluster(cluster: &Cluster) -> Self {
        let (app, exchange) = (TestHandler::start().await, unique("widgets"));
        let mut fleet = Self { app, exchange, replicas: Vec::new() };
        for node in 0..cluster.size() {
            fleet.add_at(&cluster.urls_from(node), &[]).await;
        }
        fleet
    }

    /// One more replica, with further flags.
    pub async fn add(&mut self, broker: &RabbitMq, flags: &[&str]) {
        self.add_at(&broker.url(), flags).await;
    }

    async fn add_at(&mut self, urls: &str, flags: &[&str]) {
        let own = self.flags_at(urls);
        let flags: Vec<_> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        self.replicas.push(Gateway::with(&self.app, &flags).await);
    }

    /// What makes a gateway one of this fleet.
    pub fn flags(&self, broker: &RabbitMq) -> [String; 2] {
        self.flags_at(&broker.url())
    }

    fn flags_at(&self, urls: &str) -> [String; 2] {
        [format!("--rabbitmq-url={urls}"), format!("--exchange={}", self.exchange)]
    }

    /// The stream that its replicas read.
    pub fn log(&self) -> String {
        format!("myxi.log.{}", self.exchange)
    }
}

impl Index<usize> for Fleet {
    type Output = Gateway;

    fn index(&self, replica: usize) -> &Gateway {
        &self.replicas[replica]
    }
}
