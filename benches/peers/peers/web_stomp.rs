//! RabbitMQ's `rabbitmq_web_stomp`: a subscription each, which is a queue each bound to
//! `amq.topic`, published to over AMQP.

use std::{net::SocketAddr, rc::Rc};

use async_trait::async_trait;
use lapin::{BasicProperties, Channel, Connection, options::BasicPublishOptions};

use crate::{
    installed::package,
    load::{RabbitMq, Step, Unit, payload, step, text, upgrade},
    peer::{KEY, Peer, Publish, Running},
    placement::Placement,
};

pub struct WebStomp;

#[async_trait(?Send)]
impl Peer for WebStomp {
    fn name(&self) -> &'static str {
        "RabbitMQ, Web-STOMP"
    }

    fn version(&self) -> String {
        format!("RabbitMQ {}", package("rabbitmq-server"))
    }

    async fn start(&self, placement: &Placement) -> anyhow::Result<Running> {
        let node = RabbitMq::start("rabbitmq_web_stomp", &placement.server).await?;
        let connection = node.connect().await?;
        let channel = connection.create_channel().await?;
        Ok(Running {
            process: node.process.id(),
            address: node.web_stomp,
            unit: Unit::Frame,
            script,
            publisher: Rc::new(Publisher { channel, _connection: connection }),
            application: None,
            _alive: Box::new(node),
        })
    }
}

fn script(server: SocketAddr, key: &str) -> Rc<[Step]> {
    let connect = "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n\0";
    let subscribe = format!("SUBSCRIBE\nid:1\ndestination:/topic/{key}\nack:auto\nreceipt:1\n\n\0");
    Rc::new([
        upgrade(server, "/ws", Some("v12.stomp")),
        step(text(connect.as_bytes()), "CONNECTED"),
        step(text(subscribe.as_bytes()), "RECEIPT"),
    ])
}

struct Publisher {
    channel: Channel,
    _connection: Connection,
}

#[async_trait(?Send)]
impl Publish for Publisher {
    async fn publish(&self) -> anyhow::Result<()> {
        let payload = payload();
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let exchange = "amq.topic".into();
        self.channel
            .basic_publish(exchange, KEY.into(), options, payload.as_bytes(), properties)
            .await?;
        Ok(())
    }
}
