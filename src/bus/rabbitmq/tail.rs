//! A consumer, with the acks that it owes.

use std::time::Duration;

use futures_util::{StreamExt, future::poll_immediate};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use tokio::{
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

use super::connection::{BrokerError, within};

/// What the broker sends ahead of acks; bounds what waits in this process.
pub(super) const PREFETCH: u16 = 256;

/// Acks go out when a part of the prefetch waits for one, or after [`ACK_INTERVAL`].
const ACKS_PER_PREFETCH: u64 = 4;
const ACK_INTERVAL: Duration = Duration::from_millis(200);

pub(super) struct Tail {
    channel: Channel,
    consumer: Consumer,
    /// The last delivery that is not acked yet.
    unacked: Option<u64>,
    acked: u64,
    ack_batch: u64,
    ack_at: Instant,
}

impl Tail {
    /// Of this queue, on a channel that nobody else uses.
    pub(super) async fn open(
        channel: Channel,
        queue: ShortString,
        arguments: FieldTable,
        prefetch: u16,
    ) -> Result<Self, BrokerError> {
        let settings = channel.basic_qos(prefetch, BasicQosOptions::default());
        within("setting a prefetch", settings).await?;
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(queue, "".into(), options, arguments);
        let consumer = within("beginning to read", consuming).await?;
        let ack_batch = (u64::from(prefetch) / ACKS_PER_PREFETCH).max(1);
        Ok(Self { channel, consumer, unacked: None, acked: 0, ack_batch, ack_at: Instant::now() })
    }

    /// The next delivery; `None` when none has come by then.
    pub(super) async fn next(&mut self, until: Instant) -> Result<Option<Delivery>, BrokerError> {
        // Of what is here already nothing would be waited for, and sessions share this runtime.
        consume_budget().await;
        loop {
            if self.unacked.is_some_and(|tag| tag - self.acked >= self.ack_batch) {
                self.ack().await?;
            }
            tokio::select! {
                biased;
                delivery = self.consumer.next() => {
                    let cancelled = || BrokerError::Unexpected("the broker ended the reading".into());
                    let delivery = delivery.ok_or_else(cancelled)??;
                    if self.unacked.replace(delivery.delivery_tag).is_none() {
                        self.ack_at = Instant::now() + ACK_INTERVAL;
                    }
                    return Ok(Some(delivery));
                }
                () = sleep_until(self.ack_at), if self.unacked.is_some() => self.ack().await?,
                () = sleep_until(until) => return Ok(None),
            }
        }
    }

    /// The same, which must come.
    pub(super) async fn next_within(
        &mut self,
        patience: Duration,
        what: &'static str,
    ) -> Result<Delivery, BrokerError> {
        self.next(Instant::now() + patience).await?.ok_or(BrokerError::Timeout(what))
    }

    /// Passes over what is here already.
    pub(super) async fn pass_ready(&mut self) -> Result<(), BrokerError> {
        while let Some(Some(delivery)) = poll_immediate(self.consumer.next()).await {
            self.unacked = Some(delivery?.delivery_tag);
        }
        self.ack().await
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    async fn ack(&mut self) -> Result<(), BrokerError> {
        if let Some(tag) = self.unacked.take() {
            let ack = self.channel.basic_ack(tag, BasicAckOptions { multiple: true });
            within("acknowledging", ack).await?;
            self.acked = tag;
        }
        Ok(())
    }
}
