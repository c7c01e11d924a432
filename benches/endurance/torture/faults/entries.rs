//! Entries that no replica wrote: readers step over them, or say that they cannot know.

use std::time::{Duration, Instant};

use lapin::{BasicProperties, Confirmation, options::BasicPublishOptions};
use tokio::time::sleep;

use super::{
    super::{books::Unreadable, topics::EXCHANGES},
    Fault, Kind, World,
    operator::as_operator,
};
use crate::support::{rabbitmq::RabbitMq, stream_protocol::NO_AMQP};

const PAUSE: Duration = Duration::from_millis(100);

pub async fn write(world: &World, fault: Fault) -> anyhow::Result<String> {
    let exchange = EXCHANGES[fault.which % EXCHANGES.len()];
    let input = format!("myxi.in.{exchange}");
    let before = world.books.borrow().reached(exchange);
    let from = Instant::now();
    match fault.kind {
        Kind::NoAmqp => {
            // What stands before it in its chunk of the log cannot be read by anybody.
            world.excuse(fault, exchange, None, true);
            // Alone with the broker, whose logs are open again: this client bears no less.
            let broker = world.broker.write().await;
            let log = format!("myxi.log.{exchange}");
            wait_for_log(broker.node(0), &log).await?;
            broker.leader(&log).await.write_raw(&log, &[NO_AMQP]).await;
        }
        Kind::EntryOfAnotherType => {
            // Nobody here knows what events it has.
            world.excuse(fault, exchange, None, true);
            let broker = world.broker.read().await;
            as_operator(broker.node(fault.which), async |channel| {
                let properties = BasicProperties::default().with_type("myxi.of-tomorrow".into());
                let (input, key) = (input.as_str().into(), "key-0".into());
                let options = Default::default();
                channel.basic_publish(input, key, options, b"?", properties).await.map(drop)
            })
            .await?;
            drop(broker);
        }
        _ => {
            let broker = world.broker.write().await;
            let no_utf8: &[u8] = b"key-\xff";
            broker
                .node(fault.which)
                .publish_bytes(
                    &input,
                    &[(no_utf8, b"{}"), (b"key-0", b"neither JSON nor an event")],
                )
                .await;
        }
    }
    sleep(fault.lasts / 2).await;
    // The others are known for what they are, and stepped over.
    if fault.kind != Kind::StrangeEntries {
        let mut books = world.books.borrow_mut();
        let offsets = before..=books.reached(exchange);
        books.unreadable.push(Unreadable { exchange, from, to: None, offsets });
    }
    Ok(format!(" ({exchange})"))
}

/// By writing to it what is no event either.
async fn wait_for_log(node: &RabbitMq, log: &str) -> anyhow::Result<()> {
    let written = async || {
        as_operator(node, async |channel| {
            channel.confirm_select(Default::default()).await?;
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let (default, properties) = ("".into(), BasicProperties::default());
            let written = channel.basic_publish(default, log.into(), options, b"?", properties);
            written.await?.await
        })
        .await
    };
    while written().await? != Confirmation::Ack(None) {
        sleep(PAUSE).await;
    }
    Ok(())
}
