//! Reads a stream and notes when what came.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::Context;
use futures_util::StreamExt;
use lapin::{
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::sync::{oneshot, watch};

use super::log::names;

/// Deliveries on their way to the reader.
const PREFETCH: u16 = 1_000;

/// Ends on drop.
pub struct Reader {
    received: watch::Receiver<usize>,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    _running: oneshot::Sender<()>,
}

impl Reader {
    /// Returns when it reads, from the `first` entry or the `next` one on.
    pub async fn start(url: String, name: &str, from: &'static str) -> anyhow::Result<Self> {
        let (running, stopped) = oneshot::channel::<()>();
        let (started, start) = oneshot::channel();
        let (received, receiver) = watch::channel(0);
        let (arrivals, log) = (Arc::<Mutex<Vec<Instant>>>::default(), names(name).1);
        let noted = arrivals.clone();
        thread::Builder::new().name("reader".into()).spawn(move || {
            let note = || {
                let mut arrivals = noted.lock().unwrap_or_else(PoisonError::into_inner);
                arrivals.push(Instant::now());
                received.send_replace(arrivals.len());
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    read = read(&url, log, from, note, started) => eprintln!("the reader: {read:?}"),
                    _ = stopped => {}
                }
            });
        })?;
        start.await.context("the reader starts")?;
        Ok(Self { received: receiver, arrivals, _running: running })
    }

    pub fn received(&self) -> usize {
        *self.received.borrow()
    }

    pub async fn has_received(&self, events: usize) -> anyhow::Result<()> {
        let mut received = self.received.clone();
        received.wait_for(|received| *received >= events).await.context("the reader ended")?;
        Ok(())
    }

    pub fn arrivals(&self) -> Vec<Instant> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn read(
    url: &str,
    log: ShortString,
    from: &str,
    note: impl Fn(),
    started: oneshot::Sender<()>,
) -> lapin::Result<()> {
    let connection = lapin::Connection::connect(url, Default::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString(from.into()));
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(log, "".into(), options, arguments).await?;
    let _ = started.send(());
    let mut unacked = 0;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        note();
        unacked += 1;
        if unacked == PREFETCH / 4 {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
            unacked = 0;
        }
    }
    Ok(())
}
