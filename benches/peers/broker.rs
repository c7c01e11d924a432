//! Through RabbitMQ: the gateway's whole way from `PushEvents` to the client beside a bare
//! publisher with confirms and a bare reader of a stream, on the same broker; and what
//! reading an event costs that no client of this gateway wants.

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures_util::{StreamExt, future::try_join_all};
use lapin::{
    BasicProperties, Channel, ExchangeKind, PublisherConfirm,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use myxi::proto::PushEventsRequest;
use rand::Rng;
use tokio::{sync::oneshot, time::sleep};

use crate::load::{
    Application, Clients, EXCHANGE, Gateway, Pace, RabbitMq, Unit, event, myxi_script, payload,
    within,
};

const CLIENTS: usize = 5_000;
const WARM_UP: Duration = Duration::from_millis(500);

/// Events that are published and not confirmed, as the gateway has them at most.
const OUTSTANDING: usize = 1_000;

/// Calls of `PushEvents` on their way, which share [`OUTSTANDING`].
const CALLS: usize = 4;

const DEADLINE: Duration = Duration::from_secs(60);

/// CPU in microseconds per event.
pub struct Measured {
    pub per_second: f64,
    pub broker_cpu: f64,
    pub gateway_cpu: Option<f64>,
}

impl Measured {
    pub fn figures(&self) -> [Option<f64>; 3] {
        [Some(self.per_second), Some(self.broker_cpu), self.gateway_cpu]
    }
}

/// The gateway with its clients.
pub async fn through_gateway(
    broker: &RabbitMq,
    time: Duration,
    flags: &[String],
    processors: &str,
) -> anyhow::Result<Measured> {
    let application = Application::start(processors).await?;
    let gateway = start_gateway(broker, &application, flags, processors).await?;
    let server = gateway.addresses.clients;
    let clients = Clients::new(Unit::Frame, Pace::Sparing)?;
    let scripts: Vec<_> = (0..CLIENTS).map(|n| myxi_script(server, &format!("key-{n}"))).collect();
    let opening = clients.open(server, CLIENTS, 128, |number| scripts[number].clone());
    within(DEADLINE, "clients subscribe", opening).await?;

    let api = gateway.api().await?;
    let over = Cell::new(false);
    let pusher = async || {
        let mut api = api.clone();
        while !over.get() {
            let random = || format!("key-{}", rand::rng().random_range(0..CLIENTS));
            let events = (0..OUTSTANDING / CALLS).map(|_| event(random())).collect();
            let answer = api.push_events(PushEventsRequest { events }).await?.into_inner();
            let refused = answer.results.into_iter().find(|result| result.code != 0);
            ensure!(refused.is_none(), "an event was refused: {refused:?}");
        }
        Ok(())
    };
    let measuring = async {
        sleep(WARM_UP).await;
        let gateway_cpu = gateway.process.cpu();
        let meter = Meter::start(broker, clients.received());
        sleep(time).await;
        let events = clients.received() - meter.received;
        let measured = meter.stop(clients.received());
        let gateway_cpu = gateway.process.cpu() - gateway_cpu;
        over.set(true);
        let each = gateway_cpu.as_secs_f64() * 1e6 / events as f64;
        Ok(Measured { gateway_cpu: Some(each), ..measured })
    };
    let pushing = try_join_all((0..CALLS).map(|_| pusher()));
    let all = async { tokio::try_join!(measuring, pushing) };
    let measured = within(time + DEADLINE, "events are pushed", all).await?.0;
    clients.none_lost()?;
    Ok(measured)
}

/// A publisher in this thread, a reader in a thread of its own.
pub async fn bare(broker: &RabbitMq, time: Duration) -> anyhow::Result<Measured> {
    const NAME: &str = "bare";
    let connection = broker.connect().await?;
    let channel = connection.create_channel().await?;
    declare(&channel, NAME).await?;
    let reader = Reader::start(broker.url(), NAME).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;

    let over = Cell::new(false);
    let publishing = async {
        let mut publisher = Publisher::new(channel, NAME);
        while !over.get() {
            publisher.publish("key").await?;
        }
        publisher.settle().await
    };
    let measuring = async {
        sleep(WARM_UP).await;
        let meter = Meter::start(broker, reader.received());
        sleep(time).await;
        let measured = meter.stop(reader.received());
        over.set(true);
        Ok(measured)
    };
    let all = async { tokio::try_join!(measuring, publishing) };
    Ok(within(time + DEADLINE, "events are published", all).await?.0)
}

/// The gateway's CPU in microseconds for each event that it reads in vain, and how many
/// there were a second.
pub async fn unwanted(
    broker: &RabbitMq,
    time: Duration,
    flags: &[String],
    processors: &str,
) -> anyhow::Result<(f64, f64)> {
    let application = Application::start(processors).await?;
    let gateway = start_gateway(broker, &application, flags, processors).await?;
    let server = gateway.addresses.clients;
    let clients = Clients::new(Unit::Frame, Pace::Sparing)?;
    clients.open(server, 1, 1, |_| myxi_script(server, "last")).await?;

    let connection = broker.connect().await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut publisher = Publisher::new(channel, EXCHANGE);
    let (cpu, began, mut events) = (gateway.process.cpu(), Instant::now(), 0);
    while began.elapsed() < time {
        publisher.publish("nobody's").await?;
        events += 1;
    }
    publisher.publish("last").await?;
    publisher.settle().await?;
    within(DEADLINE, "the last event arrives", clients.have_received(1)).await?;
    let cpu = gateway.process.cpu() - cpu;
    let events = f64::from(events);
    Ok((cpu.as_secs_f64() * 1e6 / events, events / began.elapsed().as_secs_f64()))
}

async fn start_gateway(
    broker: &RabbitMq,
    application: &Application,
    flags: &[String],
    processors: &str,
) -> anyhow::Result<Gateway> {
    let url = broker.url();
    let given = flags.iter().map(String::as_str);
    let flags: Vec<&str> =
        ["--worker-threads=1", "--rabbitmq-url", &url].into_iter().chain(given).collect();
    let gateway = Gateway::start(&application.url(), &flags, processors).await?;
    gateway.ready().await?;
    Ok(gateway)
}

/// An exchange and its log, as the gateway declares them.
async fn declare(channel: &Channel, name: &str) -> lapin::Result<()> {
    let (exchange, log) = names(name);
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let none = FieldTable::default;
    channel.exchange_declare(exchange.clone(), ExchangeKind::Fanout, durable, none()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
    arguments.insert("x-max-age".into(), AMQPValue::LongString("1h".into()));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(200_000_000));
    arguments.insert("x-stream-max-segment-size-bytes".into(), AMQPValue::LongLongInt(10_000_000));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(log.clone(), durable, arguments).await?;
    channel.queue_bind(log, exchange, "".into(), QueueBindOptions::default(), none()).await
}

fn names(name: &str) -> (ShortString, ShortString) {
    (format!("myxi.in.{name}").into(), format!("myxi.log.{name}").into())
}

/// Publishes as the gateway does: mandatory, with confirms.
struct Publisher {
    channel: Channel,
    exchange: ShortString,
    body: String,
    unconfirmed: VecDeque<PublisherConfirm>,
}

impl Publisher {
    fn new(channel: Channel, name: &str) -> Self {
        let body = format!(r#"{{"event":"E","payload":{}}}"#, payload());
        Self { channel, exchange: names(name).0, body, unconfirmed: VecDeque::new() }
    }

    async fn publish(&mut self, routing_key: &str) -> anyhow::Result<()> {
        if self.unconfirmed.len() == OUTSTANDING {
            // As many at once as a call of PushEvents holds: one by one they would also be
            // written one by one.
            for _ in 0..OUTSTANDING / CALLS {
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

    async fn settle(&mut self) -> anyhow::Result<()> {
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

/// Reads a stream and counts. Ends on drop.
struct Reader {
    received: Arc<AtomicU64>,
    _running: oneshot::Sender<()>,
}

impl Reader {
    async fn start(url: String, name: &str) -> anyhow::Result<Self> {
        let (running, stopped) = oneshot::channel::<()>();
        let (started, start) = oneshot::channel();
        let received = Arc::new(AtomicU64::new(0));
        let (count, log) = (received.clone(), names(name).1);
        thread::Builder::new().name("reader".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    read = read(&url, log, &count, started) => eprintln!("the reader: {read:?}"),
                    _ = stopped => {}
                }
            });
        })?;
        start.await.context("the reader starts")?;
        Ok(Self { received, _running: running })
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

async fn read(
    url: &str,
    log: ShortString,
    count: &AtomicU64,
    started: oneshot::Sender<()>,
) -> lapin::Result<()> {
    let connection = lapin::Connection::connect(url, Default::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("next".into()));
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(log, "".into(), options, arguments).await?;
    let _ = started.send(());
    let mut unacked = 0;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        count.fetch_add(1, Ordering::Relaxed);
        unacked += 1;
        if unacked == PREFETCH / 4 {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
            unacked = 0;
        }
    }
    Ok(())
}

/// Deliveries on their way to the reader.
const PREFETCH: u16 = 1_000;

struct Meter<'a> {
    broker: &'a RabbitMq,
    received: u64,
    broker_cpu: Duration,
    began: Instant,
}

impl<'a> Meter<'a> {
    fn start(broker: &'a RabbitMq, received: u64) -> Self {
        Self { broker, received, broker_cpu: broker.process.cpu(), began: Instant::now() }
    }

    fn stop(self, received: u64) -> Measured {
        let events = (received - self.received) as f64;
        let cpu = self.broker.process.cpu() - self.broker_cpu;
        Measured {
            per_second: events / self.began.elapsed().as_secs_f64(),
            broker_cpu: cpu.as_secs_f64() * 1e6 / events,
            gateway_cpu: None,
        }
    }
}
