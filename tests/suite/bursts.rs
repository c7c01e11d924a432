//! Bursts: more at once than an outbox holds. Whoever reads gets all of it, in order.
//!
//! A client of a gateway as it comes must be able to read some 10 MB/s for that: a quarter of
//! an outbox within 25 ms. So the readers here do nothing else, without a library and on
//! threads of their own; where the outbox is small, 0.6 MB/s do. A machine with other things to do
//! may not let them run in time, which they notice: such a burst proves nothing, and is tried again.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, BufReader},
    net::TcpStream,
    runtime,
    sync::oneshot,
    time::sleep,
};

use crate::{
    delivery::{stopped_reader, told_code},
    support::{
        DEADLINE,
        batch::{self, BatchedEvent},
        client::Client,
        fleet::Fleet,
        gateway::{Addresses, Gateway},
        handler::{
            TestHandler,
            proto::{PushEventRequest, PushEventsRequest},
        },
        process::Myxi,
        program::Program,
        rabbitmq::RabbitMq,
        within,
    },
};

const READERS: usize = 4;
const BUFFER: usize = 256 << 10;

const ONE_WORKER: &str = "--worker-threads=1";
const SEVERAL_WORKERS: &str = "--worker-threads=3";

/// The least there may be: a burst is sixty of these.
const SMALL_OUTBOX: &str = "--max-outbox=64KiB";

/// What one call pushes: so many events of so many bytes.
#[derive(Clone, Copy)]
struct Burst {
    events: usize,
    bytes: usize,
}

const OF_LARGE: Burst = Burst { events: 16, bytes: 250_000 };
const OF_SMALL: Burst = Burst { events: 1_000, bytes: 4_000 };
/// More in a batch than a share of the smallest outbox.
const OF_TINY: Burst = Burst { events: 10_000, bytes: 150 };

impl Burst {
    fn payload(self, n: usize) -> String {
        let text = format!("{n} ");
        format!("\"{text}{}\"", "x".repeat(self.bytes - text.len() - 2))
    }

    async fn push(self, gateway: &Addresses, exchange: &str) {
        let event = |n| PushEventRequest {
            exchange: exchange.into(),
            routing_key: "burst".into(),
            event: "E".into(),
            payload: self.payload(n),
            event_id: None,
        };
        let events = (0..self.events).map(event).collect();
        let pushed = gateway.api().await.push_events(PushEventsRequest { events }).await;
        let results = pushed.expect("pushed").into_inner().results;
        assert!(results.iter().all(|result| result.code == 0), "{results:?}");
    }

    /// In batches as full as they may be.
    async fn publish(self, program: &Program, exchange: &str) {
        let event = |n| BatchedEvent::new("burst", "E", &self.payload(n));
        let events: Vec<_> = (0..self.events).map(event).collect();
        let several = (60_000 / self.bytes).min(256);
        for some in events.chunks(several) {
            let body = batch::body(some.to_vec());
            program.publish_with(exchange, "", &body, batch::properties()).await;
        }
    }
}

/// Clients that are subscribed to the bursts, each on a thread of its own.
struct Readers(Vec<Reader>);

struct Reader {
    done: oneshot::Receiver<Result<(), Missed>>,
}

/// Why a reader has not got everything.
struct Missed {
    what: String,
    /// How late its thread was let run at the worst.
    late: Duration,
}

impl Readers {
    async fn of(bursts: &[Burst], gateway: SocketAddr, exchange: &str) -> Self {
        let reader = || Reader::start(bursts.to_vec(), gateway, exchange.to_owned());
        Self(join_all((0..READERS).map(|_| reader())).await)
    }

    async fn have_everything(self) -> Result<(), Missed> {
        for reader in self.0 {
            let read = within(3 * DEADLINE, "all that was pushed", reader.done).await;
            read.expect("an end")?;
        }
        Ok(())
    }
}

impl Reader {
    async fn start(bursts: Vec<Burst>, gateway: SocketAddr, exchange: String) -> Self {
        let (subscribed, ready) = oneshot::channel();
        let (finished, done) = oneshot::channel();
        let reading = async move {
            let mut client = Client::connect(gateway).await;
            client.subscribe(&exchange, "burst").await;
            let _ = subscribed.send(());
            let mut late = Duration::ZERO;
            let read = tokio::select! {
                read = read(client, bursts) => read,
                () = watch(&mut late) => unreachable!("it has no end"),
            };
            let _ = finished.send(read.map_err(|what| Missed { what, late }));
        };
        thread::spawn(|| {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(reading);
        });
        within(DEADLINE, "a reader", ready).await.expect("it is subscribed");
        Self { done }
    }
}

/// Keeps how late it came at the worst.
async fn watch(late: &mut Duration) {
    const EVERY: Duration = Duration::from_millis(5);
    loop {
        let due = Instant::now() + EVERY;
        sleep(EVERY).await;
        *late = Instant::now().duration_since(due).max(*late);
    }
}

/// Everybody who reads gets everything. Whoever was not let read in time may have been cut off, and then
/// it is tried again: not for ever, as a gateway that cuts off everybody must not pass.
async fn reaches_everybody(burst: impl AsyncFn() -> Result<(), Missed>) {
    const PUNCTUAL: Duration = Duration::from_millis(20);
    for tries_left in (0..5).rev() {
        match burst().await {
            Ok(()) => return,
            Err(missed) if missed.late > PUNCTUAL && tries_left > 0 => {}
            Err(Missed { what, late }) => panic!("{what}, though let run within {late:?}"),
        }
    }
}

async fn read(mut client: Client, bursts: Vec<Burst>) -> Result<(), String> {
    let mut buffer = Vec::new();
    let mut stream = BufReader::with_capacity(BUFFER, client.socket().get_mut());
    for burst in bursts {
        for n in 0..burst.events {
            let text = frame(&mut stream, &mut buffer).await?;
            let expected = format!(r#"{{"event":"E","payload":"{n} "#);
            if !text.starts_with(&expected) || text.len() < burst.bytes {
                return Err(format!("{n} was awaited, {text:.80} came"));
            }
        }
    }
    let nothing_more = stream.buffer().is_empty() && client.quiet().await;
    nothing_more.then_some(()).ok_or_else(|| "more than was pushed".into())
}

/// The next frame of text, as fast as it can be had.
async fn frame<'a>(
    stream: &mut BufReader<&mut TcpStream>,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a str, String> {
    loop {
        let [opcode, short] = stream.read_u16().await.map_err(|e| e.to_string())?.to_be_bytes();
        let length = match short {
            127 => stream.read_u64().await.map(|length| length as usize),
            126 => stream.read_u16().await.map(usize::from),
            length => Ok(length.into()),
        };
        buffer.resize(length.map_err(|e| e.to_string())?, 0);
        stream.read_exact(buffer).await.map_err(|e| e.to_string())?;
        match opcode & 0xf {
            1 => return str::from_utf8(buffer).map_err(|e| e.to_string()),
            8 => return Err(format!("closed: {}", String::from_utf8_lossy(buffer))),
            _ => {}
        }
    }
}

async fn in_memory(burst: Burst, flags: &[&str]) {
    reaches_everybody(async || once_in_memory(burst, flags).await).await;
}

async fn once_in_memory(burst: Burst, flags: &[&str]) -> Result<(), Missed> {
    let app = TestHandler::start().await;
    let flags: Vec<_> = ["--exchange=widgets"].iter().chain(flags).copied().collect();
    let gateway = Gateway::with(&app, &flags).await;
    let readers = Readers::of(&[burst], gateway.clients(), "widgets").await;
    burst.push(&gateway, "widgets").await;
    readers.have_everything().await
}

async fn through_rabbitmq(burst: Burst, flags: &[&str]) {
    reaches_everybody(async || once_through_rabbitmq(burst, flags).await).await;
}

async fn once_through_rabbitmq(burst: Burst, flags: &[&str]) -> Result<(), Missed> {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    fleet.add(broker, flags).await;
    let readers = Readers::of(&[burst], fleet[0].clients(), &fleet.exchange).await;
    burst.push(&fleet[0], &fleet.exchange).await;
    readers.have_everything().await
}

#[tokio::test]
async fn a_burst_reaches_everybody_who_reads() {
    in_memory(OF_LARGE, &[ONE_WORKER]).await;
    in_memory(OF_SMALL, &[ONE_WORKER]).await;
    in_memory(OF_SMALL, &[ONE_WORKER, SMALL_OUTBOX]).await;
}

#[tokio::test]
async fn a_burst_reaches_everybody_who_reads_on_several_threads() {
    in_memory(OF_LARGE, &[SEVERAL_WORKERS]).await;
    in_memory(OF_SMALL, &[SEVERAL_WORKERS]).await;
    in_memory(OF_SMALL, &[SEVERAL_WORKERS, SMALL_OUTBOX]).await;
}

#[tokio::test]
async fn a_burst_through_rabbitmq_reaches_everybody_who_reads() {
    through_rabbitmq(OF_LARGE, &[ONE_WORKER]).await;
    through_rabbitmq(OF_SMALL, &[ONE_WORKER]).await;
    through_rabbitmq(OF_SMALL, &[ONE_WORKER, SMALL_OUTBOX]).await;
}

#[tokio::test]
async fn a_burst_through_rabbitmq_reaches_everybody_who_reads_on_several_threads() {
    through_rabbitmq(OF_LARGE, &[SEVERAL_WORKERS]).await;
    through_rabbitmq(OF_SMALL, &[SEVERAL_WORKERS]).await;
    through_rabbitmq(OF_SMALL, &[SEVERAL_WORKERS, SMALL_OUTBOX]).await;
}

#[tokio::test]
async fn a_burst_of_batches_reaches_everybody_who_reads() {
    let broker = RabbitMq::shared().await;
    let program = Program::connect(broker).await;
    for flags in [&[ONE_WORKER][..], &[SEVERAL_WORKERS], &[SEVERAL_WORKERS, SMALL_OUTBOX]] {
        let mut fleet = Fleet::start(broker, 0).await;
        fleet.add(broker, flags).await;
        for burst in [OF_SMALL, OF_TINY] {
            reaches_everybody(async || {
                let readers = Readers::of(&[burst], fleet[0].clients(), &fleet.exchange).await;
                burst.publish(&program, &fleet.exchange).await;
                readers.have_everything().await
            })
            .await;
        }
    }
}

#[tokio::test]
async fn who_catches_up_on_batches_cuts_off_nobody_who_reads() {
    let broker = RabbitMq::shared().await;
    let program = Program::connect(broker).await;
    let fleet = Fleet::start(broker, 0).await;
    for flags in [[ONE_WORKER, SMALL_OUTBOX], [SEVERAL_WORKERS, SMALL_OUTBOX]] {
        let own = fleet.flags(broker);
        let flags: Vec<_> = own.iter().map(String::as_str).chain(flags).collect();
        let behind = Myxi::serve(&fleet.app, &flags).await;
        reaches_everybody(async || {
            let readers = Readers::of(&[OF_TINY; 2], behind.clients(), &fleet.exchange).await;
            behind.signal("STOP");
            for _ in 0..2 {
                OF_TINY.publish(&program, &fleet.exchange).await;
            }
            behind.signal("CONT");
            readers.have_everything().await
        })
        .await;
    }
}

#[tokio::test]
async fn who_catches_up_after_an_outage_cuts_off_nobody_who_reads() {
    let broker = RabbitMq::shared().await;
    let fleet = Fleet::start(broker, 1).await;
    for (burst, flags) in [
        (OF_LARGE, [SEVERAL_WORKERS].as_slice()),
        (OF_SMALL, &[ONE_WORKER, SMALL_OUTBOX]),
        (OF_SMALL, &[SEVERAL_WORKERS, SMALL_OUTBOX]),
    ] {
        let own = fleet.flags(broker);
        let flags: Vec<_> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let behind = Myxi::serve(&fleet.app, &flags).await;
        reaches_everybody(async || {
            let readers = Readers::of(&[burst; 2], behind.clients(), &fleet.exchange).await;
            behind.signal("STOP");
            for _ in 0..2 {
                burst.push(&fleet[0], &fleet.exchange).await;
            }
            behind.signal("CONT");
            readers.have_everything().await
        })
        .await;
    }
}

#[tokio::test]
async fn a_gap_in_a_thousand_subscriptions_cuts_off_nobody_who_reads() {
    const KEYS: usize = 1_000;
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    fleet.add(broker, &[SMALL_OUTBOX]).await;
    let mut client = fleet[0].client().await;
    let keys: Vec<_> = (0..KEYS).map(|n| format!("{n:0>200}")).collect();
    for some in keys.chunks(KEYS / 10) {
        let payload = json!({"exchange": fleet.exchange, "routing_keys": some});
        client.send(json!({"action": "Subscribe", "payload": payload})).await;
        for _ in some {
            client.event("Subscribed").await;
        }
    }
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    let log = format!("myxi.log.{}", fleet.exchange).into();
    channel.queue_delete(log, Default::default()).await.expect("deleted");
    let mut told = Vec::new();
    for _ in &keys {
        let gap = client.event("Gap").await;
        told.push(gap["payload"]["routing_key"].as_str().expect("a key").to_owned());
    }
    told.sort();
    assert_eq!(told, keys);
    assert!(client.quiet().await);
}

#[tokio::test]
async fn a_stopped_reader_is_cut_off_in_a_burst_and_holds_up_nobody() {
    beside_stopped_reader(ONE_WORKER).await;
}

#[tokio::test]
async fn a_stopped_reader_is_cut_off_in_a_burst_and_holds_up_nobody_on_several_threads() {
    beside_stopped_reader(SEVERAL_WORKERS).await;
}

async fn beside_stopped_reader(workers: &str) {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", workers]).await;
    for burst in [OF_LARGE, OF_SMALL] {
        reaches_everybody(async || {
            let mut stopped = stopped_reader(&gateway).await;
            stopped.subscribe("widgets", "burst").await;
            let readers = Readers::of(&[burst], gateway.clients(), "widgets").await;
            burst.push(&gateway, "widgets").await;
            readers.have_everything().await?;
            assert_eq!(told_code(&app, &stopped.id).await, 3008);
            Ok(())
        })
        .await;
    }
}

#[tokio::test]
async fn clients_connect_during_bursts() {
    const BURSTS: usize = 5;
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", SEVERAL_WORKERS]).await;
    reaches_everybody(async || {
        let readers = Readers::of(&[OF_LARGE; BURSTS], gateway.clients(), "widgets").await;
        for _ in 0..BURSTS {
            let newcomers = gateway.subscribers(6, "widgets", "calm");
            let (mut newcomers, ()) = tokio::join!(newcomers, OF_LARGE.push(&gateway, "widgets"));
            gateway.push("widgets", "calm", "Calm", json!({})).await;
            for client in &mut newcomers {
                client.event("Calm").await;
            }
        }
        readers.have_everything().await
    })
    .await;
}
