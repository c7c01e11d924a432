//! Connections that are open and of no use: a node that is cut off from the others goes on
//! talking and confirms nothing. They are left for another node; but a broker that holds
//! publishers back is waited for.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{interval, sleep},
};
use tonic::Code;

use crate::support::{
    DEADLINE,
    gateway::{Gateway, push_request},
    handler::{TestHandler, proto::PushEventsRequest},
    metrics::Scrape,
    rabbitmq::RabbitMq,
    unique, within,
};

/// After so long without a confirm a connection is left, and a little more.
const GIVEN_UP: Duration = Duration::from_secs(14);

const HEARTBEAT: &[u8] = &[8, 0, 0, 0, 0, 0, 0, 0xce];

/// The broker's answer that a connection is open: `connection.open-ok`.
const OPEN_OK: &[u8] = &[1, 0, 0, 0, 0, 0, 5, 0, 10, 0, 41];

/// Stands before a broker as a node that is cut off: once it is mute, heartbeats are all that
/// either side hears.
struct Node {
    address: SocketAddr,
    mute: watch::Sender<bool>,
}

impl Node {
    async fn before(broker: SocketAddr, mute_when_open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("its address");
        let (mute, muted) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(broker) = TcpStream::connect(broker).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_broker, to_broker) = broker.into_split();
                // Each connection may be mute by itself.
                let (mute, own) = watch::channel(false);
                let all = muted.clone();
                let is_mute = move || *all.borrow() || *own.borrow();
                tokio::spawn(relay(frames(from_client, 8), to_broker, is_mute.clone()));
                let opened = move |frame: &[u8]| mute_when_open && frame.starts_with(OPEN_OK);
                let mut from_broker = frames(from_broker, 0);
                let (passed, to_pass) = mpsc::channel(16);
                tokio::spawn(relay(to_pass, to_client, is_mute));
                tokio::spawn(async move {
                    while let Some(frame) = from_broker.recv().await {
                        let last = opened(&frame);
                        if passed.send(frame).await.is_err() {
                            return;
                        }
                        if last {
                            // Not before it has passed.
                            passed.reserve_many(16).await.ok();
                            mute.send_replace(true);
                        }
                    }
                });
            }
        });
        Self { address, mute }
    }

    fn url(&self) -> String {
        format!("amqp://guest:guest@{}", self.address)
    }
}

/// Whole frames, behind so many bytes of greeting.
fn frames(mut from: OwnedReadHalf, greeting: usize) -> mpsc::Receiver<Vec<u8>> {
    let (sender, frames) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut read = async |length: usize| {
            let mut bytes = vec![0; length];
            from.read_exact(&mut bytes).await.map(|_| bytes)
        };
        if greeting > 0 {
            let _ = sender.send(read(greeting).await?).await;
        }
        loop {
            let mut frame = read(7).await?;
            let size = u32::from_be_bytes(frame[3..7].try_into().expect("four bytes"));
            frame.extend(read(size as usize + 1).await?);
            if sender.send(frame).await.is_err() {
                return std::io::Result::Ok(());
            }
        }
    });
    frames
}

async fn relay(
    mut frames: mpsc::Receiver<Vec<u8>>,
    mut to: OwnedWriteHalf,
    is_mute: impl Fn() -> bool,
) {
    let mut beat = interval(Duration::from_secs(2));
    loop {
        let frame = tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) if !is_mute() => frame,
                Some(_) => continue,
                None => return,
            },
            _ = beat.tick() => match is_mute() {
                true => HEARTBEAT.to_vec(),
                false => continue,
            },
        };
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

fn address(broker: &RabbitMq) -> SocketAddr {
    let url = broker.url();
    let (_, address) = url.split_once('@').expect("a user before it");
    address.split('/').next().expect("one").parse().expect("an address")
}

async fn gateway(app: &TestHandler, node: &Node, broker: &RabbitMq, exchange: &str) -> Gateway {
    let urls = format!("--rabbitmq-url={},{}", node.url(), broker.url());
    Gateway::unready(app, &[&urls, &format!("--exchange={exchange}")]).await
}

async fn push_until_ok(gateway: &Gateway, exchange: &str) {
    within(3 * DEADLINE, "a push that is taken", async {
        while gateway.try_push(exchange, "1", "Event", json!(0)).await != Code::Ok {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_confirmed_is_left_for_another_node() {
    let (broker, app) = (RabbitMq::shared().await, TestHandler::start().await);
    let (exchange, node) = (unique("a"), Node::before(address(broker), false).await);
    let gateway = gateway(&app, &node, broker, &exchange).await;
    gateway.ready().await;
    gateway.push(&exchange, "1", "Event", json!(0)).await;

    node.mute.send_replace(true);
    let lost = gateway.try_push(&exchange, "1", "Event", json!(0)).await;
    assert_eq!(lost, Code::Unknown);
    push_until_ok(&gateway, &exchange).await;
}

#[tokio::test]
async fn a_connection_on_which_no_channel_can_be_opened_is_left_for_another_node() {
    let (broker, app) = (RabbitMq::shared().await, TestHandler::start().await);
    let (exchange, node) = (unique("a"), Node::before(address(broker), true).await);
    let gateway = gateway(&app, &node, broker, &exchange).await;
    push_until_ok(&gateway, &exchange).await;
}

#[tokio::test]
async fn an_alarm_is_waited_for_and_at_its_end_all_is_published_and_read() {
    let (mut broker, app) = (RabbitMq::exclusive().await, TestHandler::start().await);
    let exchanges = [(); 6].map(|()| unique("a"));
    let url = format!("--rabbitmq-url={}", broker.url());
    let names = format!("--exchange={}", exchanges.join(","));
    let before = Gateway::with(&app, &[&url, &names]).await;
    let mut client = before.subscribers(1, &exchanges[0], "1").await.remove(0);
    broker.block_publishers().await;
    // The first is what the broker blocks the connection for; the others are on their way.
    let events = (0..100).map(|n| push_request(&exchanges[0], "1", "Event", &json!(n))).collect();
    let mut api = before.api().await;
    let pushing = tokio::spawn(async move { api.push_events(PushEventsRequest { events }).await });
    let during = Gateway::unready(&app, &[&url, &names]).await;
    let reconnects = "myxi_bus_reconnects_total";
    for gateway in [&before, &during] {
        Scrape::until(gateway, "myxi_bus_blocked", |blocked| blocked == 1.0).await;
    }
    let began = Instant::now();
    while began.elapsed() < GIVEN_UP {
        for gateway in [&before, &during] {
            assert_eq!(Scrape::of(gateway).await.get(reconnects), Some(0.0));
        }
        assert_eq!(during.health().await.0, 503);
        sleep(Duration::from_millis(250)).await;
    }
    let pushed = pushing.await.expect("awaited").expect("a result each").into_inner();
    assert!(pushed.results.iter().any(|one| one.code == Code::Unknown as i32), "{pushed:?}");

    broker.unblock_publishers().await;
    for n in 0..100 {
        assert_eq!(client.event("Event").await["payload"], n);
    }
    during.ready().await;
    for exchange in &exchanges {
        during.push(exchange, "1", "Event", json!(0)).await;
    }
    for gateway in [&before, &during] {
        assert_eq!(Scrape::of(gateway).await.get(reconnects), Some(0.0));
    }
}
