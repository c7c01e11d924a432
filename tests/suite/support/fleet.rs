//! Replicas on one broker, with one application and one exchange of their own.

use std::ops::Index;

use super::{gateway::Gateway, handler::TestHandler, rabbitmq::RabbitMq, unique};

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

    /// One more replica, with further flags.
    pub async fn add(&mut self, broker: &RabbitMq, flags: &[&str]) {
        let own = self.flags(broker);
        let flags: Vec<_> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        self.replicas.push(Gateway::with(&self.app, &flags).await);
    }

    /// What makes a gateway one of this fleet.
    pub fn flags(&self, broker: &RabbitMq) -> [String; 2] {
        [format!("--rabbitmq-url={}", broker.url()), format!("--exchange={}", self.exchange)]
    }
}

impl Index<usize> for Fleet {
    type Output = Gateway;

    fn index(&self, replica: usize) -> &Gateway {
        &self.replicas[replica]
    }
}
