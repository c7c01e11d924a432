//! Through RabbitMQ: the gateway's whole way from `PushEvents` to the client beside a bare
//! publisher with confirms and a bare reader of a stream, on the same broker; and what
//! reading an event costs that no client of this gateway wants.

mod bare;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::ensure;
use futures_util::future::try_join_all;
use myxi::proto::PushEventsRequest;
use rand::Rng;
use tokio::time::sleep;

use self::bare::{Publisher, Reader};
use crate::load::{
    Application, Clients, EXCHANGE, Gateway, Pace, RabbitMq, Unit, event, myxi_script, within,
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
    bare::declare(&channel, NAME).await?;
    let reader = Reader::start(broker.url(), NAME).await?;

    let over = Cell::new(false);
    let publishing = async {
        let mut publisher = Publisher::new(channel, NAME).await?;
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
    let mut publisher = Publisher::new(channel, EXCHANGE).await?;
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
