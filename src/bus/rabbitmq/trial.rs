//! What the bus does on a broker, tried once under names of its own, by somebody who wants to know
//! whether it would be let. Everything is made anew, used and removed; what exists is looked at at
//! the most.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Confirmation, ExchangeKind,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
    },
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::{Instant, timeout};

use super::{
    BrokerUrl, ExchangeConfig,
    connection::{BrokerConnection, BrokerError, HELD_BACK, within},
    topology::{direct_exchange, input_exchange, log_stream},
};
use crate::ids::random_suffix;

/// From a publish to its confirm, or to what it brings.
const DEADLINE: Duration = Duration::from_secs(5);

/// A stream that nobody has removed is empty after this, but for its last segment.
const LEFT_BEHIND: &str = "60s";
const SEGMENT_BYTES: i64 = 1_000_000;

const BODY: &[u8] = br#"{"event":"MyxiCheck","payload":{}}"#;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct NotConnected {
    pub barrier: Barrier,
    pub why: String,
}

/// What does not let in, if the broker said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Barrier {
    Credentials,
    VirtualHost,
    Other,
}

impl From<BrokerError> for NotConnected {
    fn from(error: BrokerError) -> Self {
        let refused = AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED);
        // Of a virtual host that is not there, and of one that this user may not enter.
        let not_allowed = AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED);
        let barrier = match &error {
            error if error.has_code(&refused) => Barrier::Credentials,
            error if error.has_code(&not_allowed) => Barrier::VirtualHost,
            _ => Barrier::Other,
        };
        Self { barrier, why: error.to_string() }
    }
}

/// Why a step was not done.
#[derive(Debug)]
pub(crate) struct NotDone {
    /// The broker says that this user may not.
    pub forbidden: bool,
    pub why: String,
}

type Done<T = ()> = Result<T, NotDone>;

impl From<BrokerError> for NotDone {
    fn from(error: BrokerError) -> Self {
        let refused = AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED);
        Self { forbidden: error.has_code(&refused), why: error.to_string() }
    }
}

fn not_done<T>(why: &str) -> Done<T> {
    Err(NotDone { forbidden: false, why: why.into() })
}

/// Two connections, and names that nobody else has.
pub(crate) struct Trial {
    connection: BrokerConnection,
    /// One of its own, as the bus has it: an alarm freezes whatever publishes, and what was made must
    /// go all the same.
    publishing: BrokerConnection,
    name: String,
}

impl Trial {
    pub(crate) async fn open(url: &BrokerUrl) -> Result<Self, NotConnected> {
        let name: Arc<str> = "myxi check".into();
        let connection = BrokerConnection::open(url, &name, 0).await?;
        let publishing = connection.open_another().await?;
        Ok(Self { connection, publishing, name: format!("myxi.check.{}", random_suffix()) })
    }

    /// What everything is called that it makes, or what it begins with.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn exchange(&self) -> ShortString {
        self.name.as_str().into()
    }

    fn stream(&self) -> ShortString {
        format!("{}.log", self.name).into()
    }

    fn direct(&self) -> ShortString {
        format!("{}.direct", self.name).into()
    }

    /// Goes with its last binding.
    pub(crate) async fn declare_exchange(&self) -> Done {
        self.declare(self.exchange(), ExchangeKind::Fanout).await
    }

    async fn declare(&self, name: ShortString, kind: ExchangeKind) -> Done {
        let options = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
        let channel = self.connection.channel().await?;
        let declaring = channel.exchange_declare(name, kind, options, FieldTable::default());
        Ok(within("declaring an exchange", declaring).await?)
    }

    pub(crate) async fn declare_stream(&self) -> Done {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("stream"));
        arguments.insert("x-max-age".into(), text(LEFT_BEHIND));
        let bytes = AMQPValue::LongLongInt(SEGMENT_BYTES);
        arguments.insert("x-stream-max-segment-size-bytes".into(), bytes);
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let channel = self.connection.channel().await?;
        let declaring = channel.queue_declare(self.stream(), options, arguments);
        within("declaring a stream", declaring).await?;
        Ok(())
    }

    /// Needs to write the stream, and to read the exchange.
    pub(crate) async fn bind_stream(&self) -> Done {
        self.bind(self.stream(), self.exchange(), "".into()).await
    }

    async fn bind(&self, queue: ShortString, exchange: ShortString, key: ShortString) -> Done {
        let channel = self.connection.channel().await?;
        let (options, arguments) = Default::default();
        let binding = channel.queue_bind(queue, exchange, key, options, arguments);
        Ok(within("binding a queue", binding).await?)
    }

    /// Done when the broker has confirmed it, and led it somewhere.
    pub(crate) async fn publish(&self) -> Done {
        self.publish_to(self.exchange(), "".into()).await
    }

    async fn publish_to(&self, exchange: ShortString, key: ShortString) -> Done {
        if self.publishing.is_blocked() {
            return not_done(HELD_BACK);
        }
        let channel = self.publishing.channel().await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        within("asking for confirms", confirms).await?;
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let properties = BasicProperties::default();
        let publishing =
            async { channel.basic_publish(exchange, key, options, BODY, properties).await?.await };
        match within("the broker's confirm", publishing).await {
            Ok(Confirmation::Ack(None)) => Ok(()),
            Ok(Confirmation::Ack(Some(_))) => not_done("it was returned: it led nowhere"),
            Ok(_) => not_done("the broker did not take it"),
            Err(BrokerError::Timeout(_)) if self.publishing.is_blocked() => not_done(HELD_BACK),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads back from the stream what was published.
    pub(crate) async fn read_stream(&self) -> Done {
        let channel = self.connection.channel().await?;
        within("a prefetch", channel.basic_qos(1, BasicQosOptions::default())).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
        self.consume(&channel, self.stream(), arguments).await
    }

    async fn consume(
        &self,
        channel: &lapin::Channel,
        queue: ShortString,
        arguments: FieldTable,
    ) -> Done {
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(queue, "".into(), options, arguments);
        let mut consumer = within("consuming", consuming).await?;
        match timeout(DEADLINE, consumer.next()).await {
            Ok(Some(Ok(delivery))) if delivery.data == BODY => {
                Ok(within("acknowledging", delivery.ack(BasicAckOptions::default()))
                    .await
                    .map(drop)?)
            }
            Ok(Some(Ok(_))) => not_done("something else came than was published"),
            Ok(Some(Err(error))) => Err(BrokerError::from(error).into()),
            Ok(None) => not_done("the broker ended the reading"),
            Err(_) => not_done("nothing came of what was published"),
        }
    }

    /// As a replica's queue, and as a direct exchange is used: an exclusive queue, bound under a key.
    pub(crate) async fn exclusive_queue(&self) -> Done {
        self.declare(self.direct(), ExchangeKind::Direct).await?;
        let channel = self.connection.channel().await?;
        let options =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let name = format!("{}.queue", self.name).into();
        let declaring = channel.queue_declare(name, options, FieldTable::default());
        let queue = within("declaring a queue", declaring).await?.name().clone();
        self.bind(queue.clone(), self.direct(), "key".into()).await?;
        self.publish_to(self.direct(), "key".into()).await?;
        self.consume(&channel, queue, FieldTable::default()).await
    }

    /// Whether what a gateway uses of this exchange is there already; answers what is missing.
    pub(crate) async fn missing(&self, exchange: &ExchangeConfig) -> Done<Vec<String>> {
        let mut missing = Vec::new();
        if exchange.kind.has_log() {
            let (input, log) = (input_exchange(&exchange.name), log_stream(&exchange.name));
            let there = (self.has_exchange(&input).await?, self.has_queue(&log).await?);
            missing.extend((!there.0).then_some(input));
            missing.extend((!there.1).then_some(log));
        }
        if exchange.kind.has_bindings() {
            let direct = direct_exchange(&exchange.name);
            let there = self.has_exchange(&direct).await?;
            missing.extend((!there).then_some(direct));
        }
        Ok(missing.iter().map(ToString::to_string).collect())
    }

    async fn has_exchange(&self, name: &ShortString) -> Done<bool> {
        let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let channel = self.connection.channel().await?;
        let kind = ExchangeKind::Fanout;
        let looking = channel.exchange_declare(name.clone(), kind, options, FieldTable::default());
        is_there(within("looking for an exchange", looking).await)
    }

    async fn has_queue(&self, name: &ShortString) -> Done<bool> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let channel = self.connection.channel().await?;
        let looking = channel.queue_declare(name.clone(), options, FieldTable::default());
        is_there(within("looking for a queue", looking).await)
    }

    /// Removes what it has made, and answers what is there all the same.
    pub(crate) async fn tidy(self) -> Vec<String> {
        let mut left = self.remove().await;
        if !left.is_empty() {
            // A step that was given up may have been done behind the removal.
            left = self.remove().await;
        }
        self.publishing.close(Instant::now() + DEADLINE).await;
        self.connection.close(Instant::now() + DEADLINE).await;
        left
    }

    async fn remove(&self) -> Vec<String> {
        let mut left = Vec::new();
        // The exchanges go with their bindings; these, where there was none.
        for exchange in [self.exchange(), self.direct()] {
            if let Ok(channel) = self.connection.channel().await {
                let deleting = channel.exchange_delete(exchange.clone(), Default::default());
                let _ = within("deleting an exchange", deleting).await;
            }
            if !matches!(self.has_exchange(&exchange).await, Ok(false)) {
                left.push(exchange.to_string());
            }
        }
        if let Ok(channel) = self.connection.channel().await {
            let deleting = channel.queue_delete(self.stream(), Default::default());
            let _ = within("deleting a stream", deleting).await;
        }
        if !matches!(self.has_queue(&self.stream()).await, Ok(false)) {
            left.push(self.stream().to_string());
        }
        left
    }
}

fn is_there(looked: Result<impl Sized, BrokerError>) -> Done<bool> {
    match looked {
        Ok(_) => Ok(true),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
