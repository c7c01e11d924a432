//! Another program with a connection to the broker: what it may do there to an exchange of ours.

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Consumer, ExchangeKind,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};

use super::{DEADLINE, rabbitmq::RabbitMq, within};

pub struct Program {
    connection: lapin::Connection,
    channel: lapin::Channel,
}

/// A queue of another program's, and what comes.
pub struct Listening(Consumer);

impl Listening {
    pub async fn next(&mut self) -> Delivery {
        let next = within(DEADLINE, "a message", self.0.next()).await;
        next.expect("more").expect("a message")
    }
}

impl Program {
    pub async fn connect(broker: &RabbitMq) -> Self {
        Self::over(broker.connect().await).await
    }

    /// As any user, on any virtual host.
    pub async fn connect_to(url: &str) -> Self {
        let connecting = lapin::Connection::connect(url, Default::default());
        Self::over(connecting.await.expect("a connection to RabbitMQ")).await
    }

    async fn over(connection: lapin::Connection) -> Self {
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Self { connection, channel }
    }

    /// Returns when the broker has it.
    pub async fn publish(&self, exchange: &str, routing_key: &str, body: &[u8]) {
        self.publish_with(exchange, routing_key, body, BasicProperties::default()).await;
    }

    pub async fn publish_with(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) {
        self.publish_to(&format!("myxi.in.{exchange}"), routing_key, body, properties).await;
    }

    /// The same to any exchange of the broker's.
    pub async fn publish_to(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) {
        let (exchange, options) = (exchange.into(), BasicPublishOptions::default());
        let written =
            self.channel.basic_publish(exchange, routing_key.into(), options, body, properties);
        written.await.expect("written").await.expect("confirmed");
    }

    /// What is published to an exchange under this key, from now on.
    pub async fn listen(&self, exchange: &str, routing_key: &str) -> Listening {
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let declaring = self.channel.queue_declare("".into(), options, FieldTable::default());
        let queue = declaring.await.expect("a queue").name().clone();
        let (options, arguments) = Default::default();
        let (exchange, key) = (exchange.into(), routing_key.into());
        let binding = self.channel.queue_bind(queue.clone(), exchange, key, options, arguments);
        binding.await.expect("bound");
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consuming = self.channel.basic_consume(queue, "".into(), options, Default::default());
        Listening(consuming.await.expect("a consumer"))
    }

    pub async fn declare_durable(&self, exchange: &str, kind: ExchangeKind) {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let arguments = FieldTable::default();
        let declaring = self.channel.exchange_declare(exchange.into(), kind, options, arguments);
        declaring.await.expect("declared");
    }

    pub async fn delete_exchange(&self, exchange: &str) {
        let deleting = self.channel.exchange_delete(exchange.into(), Default::default());
        deleting.await.expect("deleted");
    }

    pub async fn delete_log(&self, exchange: &str) {
        let log = format!("myxi.log.{exchange}").into();
        self.channel.queue_delete(log, Default::default()).await.expect("deleted");
    }

    pub async fn delete_input(&self, exchange: &str) {
        self.delete_exchange(&format!("myxi.in.{exchange}")).await;
    }

    pub async fn bind(&self, exchange: &str) {
        let (input, log) = (format!("myxi.in.{exchange}"), format!("myxi.log.{exchange}"));
        let (options, arguments) = Default::default();
        let binding =
            self.channel.queue_bind(log.into(), input.into(), "".into(), options, arguments);
        binding.await.expect("bound");
    }

    /// The AMQP types of the log's first entries, markers not counted.
    pub async fn log_types(&self, exchange: &str, count: usize) -> Vec<Option<String>> {
        let channel = self.connection.create_channel().await.expect("a channel");
        channel.basic_qos(1000, BasicQosOptions::default()).await.expect("a prefetch");
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
        let log = format!("myxi.log.{exchange}").into();
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(log, "".into(), options, arguments);
        let mut consumer = consuming.await.expect("a consumer");
        let (mut types, mut events) = (Vec::new(), 0);
        while events < count {
            let next = within(DEADLINE, "the log's entries", consumer.next()).await;
            let delivery = next.expect("more").expect("an entry");
            delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
            let kind = delivery.properties.kind().as_ref().map(|kind| kind.to_string());
            events += usize::from(kind.is_none());
            types.push(kind);
        }
        types
    }

    pub async fn unbind(&self, exchange: &str) {
        let (input, log) = (format!("myxi.in.{exchange}"), format!("myxi.log.{exchange}"));
        let unbinding =
            self.channel.queue_unbind(log.into(), input.into(), "".into(), Default::default());
        unbinding.await.expect("unbound");
    }

    pub async fn declare_log(&self, exchange: &str, max_age: &str) {
        let mut arguments = FieldTable::default();
        for (name, value) in [("x-queue-type", "stream"), ("x-max-age", max_age)] {
            arguments.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let log = format!("myxi.log.{exchange}").into();
        self.channel.queue_declare(log, options, arguments).await.expect("declared");
    }

    /// Takes the place of the log with a queue that is none.
    pub async fn declare_queue_for_log(&self, exchange: &str) {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let queue = format!("myxi.log.{exchange}").into();
        self.channel.queue_declare(queue, options, FieldTable::default()).await.expect("declared");
    }
}
