//! The promises of the bus, held to by both homes, and what only RabbitMQ can go through.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use myxi::{
    bus::{
        AskError, BusListener, BusNotice, EventBus, ExchangeConfig, PublishError,
        memory::MemoryBus,
        rabbitmq::{RabbitMqBus, RabbitMqConfig},
    },
    event::{Event, EventBody, Exchange, OutgoingEvent, Topic},
    ids::ReplicaId,
};
use tokio::sync::{Mutex, mpsc};

use crate::support::{DEADLINE, rabbitmq::RabbitMq, unique, within};

const MAX_EVENT_SIZE: usize = 256 * 1024;

/// A replica as far as its bus knows one: the bus, and what it told.
struct Replica {
    bus: Arc<dyn EventBus>,
    id: ReplicaId,
    notices: Mutex<mpsc::UnboundedReceiver<BusNotice>>,
}

struct Recorder(mpsc::UnboundedSender<BusNotice>);

#[async_trait]
impl BusListener for Recorder {
    async fn notice(&self, notice: BusNotice) {
        let _ = self.0.send(notice);
    }

    async fn question(&self, question: Vec<u8>) -> Vec<u8> {
        if question == b"never" {
            std::future::pending::<()>().await;
        }
        [b"re: ".as_slice(), &question].concat()
    }
}

impl Replica {
    fn memory(exchanges: &[&str]) -> Self {
        Self::start(|_, listener| MemoryBus::start(configs(exchanges), listener))
    }

    fn rabbitmq(urls: &[&str], exchanges: &[&str]) -> Self {
        Self::start(|replica, listener| {
            let urls = urls.iter().map(|url| url.parse().expect("a broker's address")).collect();
            let exchanges = configs(exchanges);
            let config =
                RabbitMqConfig { urls, exchanges, replica, max_event_size: MAX_EVENT_SIZE };
            RabbitMqBus::start(config, listener)
        })
    }

    fn start<B: EventBus + 'static>(
        start: impl FnOnce(ReplicaId, Arc<dyn BusListener>) -> Arc<B>,
    ) -> Self {
        let (sender, notices) = mpsc::unbounded_channel();
        let id = ReplicaId::random();
        Self { bus: start(id, Arc::new(Recorder(sender))), id, notices: Mutex::new(notices) }
    }

    async fn attached(self, exchanges: usize) -> Self {
        for _ in 0..exchanges {
            match self.notice().await {
                BusNotice::Attached(_) => {}
                other => panic!("{other:?} before it was attached"),
            }
        }
        self
    }

    async fn notice(&self) -> BusNotice {
        let mut notices = self.notices.lock().await;
        let notice = tokio::time::timeout(DEADLINE, notices.recv()).await;
        let Ok(Some(notice)) = notice else {
            panic!("the bus tells nothing; its status: {:?}", self.bus.status())
        };
        notice
    }

    async fn event(&self) -> Arc<Event> {
        match self.notice().await {
            BusNotice::Event(event) => event,
            other => panic!("{other:?} instead of an event"),
        }
    }

    /// The names of the next events.
    async fn names(&self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.event().await.body.name.to_string());
        }
        names
    }

    async fn publish(&self, event: OutgoingEvent) -> Result<(), PublishError> {
        self.bus.publish(vec![event]).await.remove(0)
    }
}

fn configs(exchanges: &[&str]) -> Vec<ExchangeConfig> {
    exchanges.iter().map(|name| ExchangeConfig::new(exchange(name))).collect()
}

fn exchange(name: &str) -> Exchange {
    Exchange::new(name).expect("an exchange name")
}

fn event(exchange_name: &str, routing_key: &str, name: &str) -> OutgoingEvent {
    let topic = Topic::new(exchange(exchange_name), routing_key).expect("a topic");
    let body = EventBody::new(name, r#"{"n":123456789012345678901234567890}"#).expect("a body");
    OutgoingEvent::new(topic, &body, &unique("event"), MAX_EVENT_SIZE).expect("an event")
}

/// Each promise, once for each bus.
macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                let names = [super::unique("a"), super::unique("b")];
                let names = [names[0].as_str(), names[1].as_str()];
                super::$promise(super::Replica::memory(&names), names).await;
            })*
        }

        mod rabbitmq {
            $(#[tokio::test]
            async fn $promise() {
                let names = [super::unique("a"), super::unique("b")];
                let names = [names[0].as_str(), names[1].as_str()];
                let url = super::RabbitMq::shared().await.url();
                super::$promise(super::Replica::rabbitmq(&[&url], &names), names).await;
            })*
        }
    };
}

promises!(what_is_published_is_delivered_once_and_in_order);

async fn what_is_published_is_delivered_once_and_in_order(replica: Replica, [a, _]: [&str; 2]) {
    let replica = replica.attached(2).await;
    for name in ["one", "two", "three"] {
        assert_eq!(replica.publish(event(a, "k", name)).await, Ok(()));
    }
    assert_eq!(replica.names(3).await, ["one", "two", "three"]);
}
