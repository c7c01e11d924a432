//! Publishes single events as the gateway does: mandatory, with confirms.

use std::collections::VecDeque;

use anyhow::{Context, ensure};
use lapin::{
    BasicProperties, Channel, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};

use super::{
    super::{CALLS, EVENTS_PER_CALL},
    log::names,
};
use crate::load::payload;

/// Events that are published and not confirmed.
const UNCONFIRMED: usize = CALLS * EVENTS_PER_CALL;

pub struct Publisher {
    channel: Channel,
    exchange: ShortString,
    body: String,
    unconfirmed: VecDeque<PublisherConfirm>,
}

impl Publisher {
    pub async fn new(channel: Channel, name: &str) -> lapin::Result<Self> {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let body = format!(r#"{{"event":"E","payload":{}}}"#, payload());
        Ok(Self { channel, exchange: names(name).0, body, unconfirmed: VecDeque::new() })
    }

    pub async fn publish(&mut self, routing_key: &str) -> anyhow::Result<()> {
        if self.unconfirmed.len() == UNCONFIRMED {
            // As many at once as a call of PushEvents holds: one by one they would also be
            // written one by one.
            for _ in 0..EVENTS_PER_CALL {
                self.confirm_first().await?;
            }
        }
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let id = format!("{:032x}", rand::random::<u128>());
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_message_id(id.into());
        let exchange = self.exchange.clone();
        let key = routing_key.into();
        let published =
            self.channel.basic_publish(exchange, key, options, self.body.as_bytes(), properties);
        self.unconfirmed.push_back(published.await?);
        Ok(())
    }

    pub async fn settle(&mut self) -> anyhow::Result<()> {
        while !self.unconfirmed.is_empty() {
            self.confirm_first().await?;
        }
        Ok(())
    }

    async fn confirm_first(&mut self) -> anyhow::Result<()> {
        let first = self.unconfirmed.pop_front().context("an unconfirmed event")?;
        let confirmation = first.await?;
        ensure!(confirmation.is_ack(), "the broker does not confirm: {confirmation:?}");
        Ok(())
    }
}
