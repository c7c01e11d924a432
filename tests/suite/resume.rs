//! Clients that come back with a position: they receive what they missed, in order and once, and
//! go on live; or they are told at once that they do not.

mod client;
mod counted;
mod past;
mod refused;
mod replays;
mod schedules;

use serde_json::{Value, json};

use self::client::Resuming;
use crate::support::{
    fleet::Fleet, gateway::Gateway, handler::TestHandler, rabbitmq::RabbitMq, unique,
};

/// Where clients are, and where they come back to.
struct Replicas {
    exchange: String,
    first: Gateway,
    /// The first one again, where there is but one.
    second: Option<Gateway>,
    _app: TestHandler,
}

impl Replicas {
    async fn memory(flags: &[&str]) -> Self {
        let app = TestHandler::start().await;
        let exchange = unique("widgets");
        let name = format!("--exchange={exchange}");
        let flags: Vec<_> = [name.as_str()].into_iter().chain(flags.iter().copied()).collect();
        let first = Gateway::with(&app, &flags).await;
        Self { exchange, first, second: None, _app: app }
    }

    async fn rabbitmq(flags: &[&str]) -> Self {
        let broker = RabbitMq::shared().await;
        let mut fleet = Fleet::start(broker, 0).await;
        for _ in 0..2 {
            fleet.add(broker, flags).await;
        }
        let Fleet { app, exchange, mut replicas } = fleet;
        let second = replicas.pop();
        let first = replicas.pop().expect("two");
        Self { exchange, first, second, _app: app }
    }

    fn second(&self) -> &Gateway {
        self.second.as_ref().unwrap_or(&self.first)
    }

    async fn push(&self, key: &str, number: u64) {
        self.first.push(&self.exchange, key, "Changed", json!(number)).await;
    }

    async fn push_all(&self, key: &str, numbers: std::ops::Range<u64>) {
        let events = numbers.map(|number| (key, json!(number)));
        self.first.push_many(&self.exchange, "Changed", events).await;
    }

    async fn resuming(&self, gateway: &Gateway) -> Resuming {
        Resuming::connect(gateway, &self.exchange).await
    }
}

/// Each of them once for each bus; on RabbitMQ, with one thread and with two.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::resume::Replicas::memory(&[]).await).await;
            })*
        }

        mod rabbitmq {
            $(#[tokio::test]
            async fn $test() {
                let flags = &["--worker-threads=2"];
                super::$test(crate::resume::Replicas::rabbitmq(flags).await).await;
            })*
        }
    };
}
use on_both;

fn numbers(numbers: impl IntoIterator<Item = u64>) -> Vec<Value> {
    numbers.into_iter().map(|number| json!(number)).collect()
}
