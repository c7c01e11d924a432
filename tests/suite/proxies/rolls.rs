//! A replica that is replaced behind a proxy while events are pushed all the time: its clients come
//! back through the same proxy and miss nothing, and whoever connects meanwhile is refused by nobody.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::balancer::{Balancer, HOST, Proxy};
use crate::support::{
    DEADLINE,
    client::Client,
    fleet::Fleet,
    gateway::Addresses,
    handler::{TestHandler, free_address},
    process::Myxi,
    rabbitmq::RabbitMq,
    within,
};

const CLIENTS: usize = 40;
/// They come and go all the time.
const PASSING: usize = 4;
/// Longer than a balancer takes to notice, as the files ask once a second.
const DELAY: &str = "--shutdown-delay=8s";

/// What all see of the roll.
struct Roll {
    front: SocketAddr,
    exchange: String,
    /// The last number that was pushed and taken.
    pushed: AtomicU64,
    over: AtomicBool,
    passed: AtomicUsize,
    sent_away: AtomicUsize,
}

pub async fn a_replica_is_replaced_and_no_client_is_lost(proxy: Proxy) {
    let broker = RabbitMq::shared().await;
    let mut fleet = Fleet::start(broker, 0).await;
    let places = [free_address(), free_address()];
    let listen = places.map(|place| format!("--listen={place}"));
    let flags = |place: usize| [&*listen[place], "--health-on-listen", DELAY, "--drain-time=1s"];
    for place in 0..2 {
        fleet.add(broker, &flags(place)).await;
    }
    let balancer = Balancer::start(proxy, places).await;
    let roll = Arc::new(Roll {
        front: balancer.address(),
        exchange: fleet.exchange.clone(),
        pushed: AtomicU64::new(0),
        over: AtomicBool::new(false),
        passed: AtomicUsize::new(0),
        sent_away: AtomicUsize::new(0),
    });
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Follower::subscribe(&roll).await);
    }
    let replica = |id: &str| id[..8].to_owned();
    let leaving = replica(&fleet[0].client().await.id);
    let of_leaving = clients.iter().filter(|follower| replica(&follower.client.id) == leaving);
    let of_leaving = of_leaving.count();
    assert!((1..CLIENTS).contains(&of_leaving), "{of_leaving} of {CLIENTS} are on the first");

    let pushing = tokio::spawn(push_until_over(*fleet[1], roll.clone()));
    let mut passing = JoinSet::new();
    for _ in 0..PASSING {
        passing.spawn(come_and_go(roll.clone()));
    }
    let mut following = JoinSet::new();
    clients.into_iter().for_each(|follower| drop(following.spawn(follower.follow(roll.clone()))));

    fleet.replicas.remove(0).drain().await;
    fleet.add(broker, &flags(0)).await;
    // Its successor is found.
    let successor = replica(&fleet[1].client().await.id);
    within(DEADLINE, "a client of the successor", async {
        while replica(&connect(roll.front).await.id) != successor {}
    })
    .await;
    roll.over.store(true, Ordering::SeqCst);
    within(DEADLINE, "the last push", pushing).await.expect("pushed");
    within(DEADLINE, "who came and went", passing.join_all()).await;
    within(DEADLINE, "the clients", following.join_all()).await;
    let passed = roll.passed.load(Ordering::SeqCst);
    let pushed = roll.pushed.load(Ordering::SeqCst);
    println!("{proxy:?}: {of_leaving} were sent away, {passed} came and went, {pushed} events");
    assert_eq!(roll.sent_away.load(Ordering::SeqCst), of_leaving);
}

/// One that leaves still accepts, and would be the one with the fewest clients.
pub async fn a_replica_that_leaves_gets_no_new_client(proxy: Proxy) {
    const IN_A_ROW: usize = 10;
    let app = TestHandler::start().await;
    let flags = ["--exchange=widgets", "--health-on-listen", "--shutdown-delay=1h"];
    let (leaving, staying) = (Myxi::serve(&app, &flags).await, Myxi::serve(&app, &flags).await);
    let balancer = Balancer::start(proxy, [leaving.clients(), staying.clients()]).await;
    leaving.signal("TERM");
    leaving.health_becomes("draining").await;
    let its = leaving.client().await.id[..8].to_owned();
    let mut stayed = Vec::new();
    let noticed = async {
        while stayed.len() < IN_A_ROW {
            let client = connect(balancer.address()).await;
            if client.id.starts_with(&its) { stayed.clear() } else { stayed.push(client) }
        }
    };
    within(DEADLINE, "nobody is sent to it", noticed).await;
}

/// One after another; the last one is pushed when it is over.
async fn push_until_over(gateway: Addresses, roll: Arc<Roll>) {
    loop {
        let over = roll.over.load(Ordering::SeqCst);
        let number = roll.pushed.load(Ordering::SeqCst) + 1;
        let payload = json!({"number": number, "last": over});
        gateway.push(&roll.exchange, "1", "Changed", payload).await;
        roll.pushed.store(number, Ordering::SeqCst);
        if over {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Everybody is let in at once: a connection that is refused, reset or answered by the proxy alone is
/// none.
async fn connect(front: SocketAddr) -> Client {
    let request = format!("ws://{HOST}/").into_client_request().expect("a URL");
    let mut client = Client::connect_with(request, front).await.expect("nobody is refused");
    client.id = client.event("Welcome").await["payload"]["id"].as_str().expect("an id").to_owned();
    client
}

async fn come_and_go(roll: Arc<Roll>) {
    while !roll.over.load(Ordering::SeqCst) {
        connect(roll.front).await;
        roll.passed.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(20)).await;
    }
}

/// A client that stays for all of it.
struct Follower {
    client: Client,
    /// The last number that it saw, and where that stands.
    seen: u64,
    position: String,
}

impl Follower {
    async fn subscribe(roll: &Roll) -> Self {
        let mut client = connect(roll.front).await;
        let payload = json!({"exchange": roll.exchange, "routing_key": "1"});
        client.send(json!({"action": "Subscribe", "tag": 1, "payload": payload})).await;
        let subscribed = client.positioned().await;
        assert_eq!(subscribed["event"], "Subscribed", "{subscribed}");
        Self { client, seen: 0, position: position(&subscribed["payload"]) }
    }

    /// Sees every number once and in order, wherever it is connected.
    async fn follow(mut self, roll: Arc<Roll>) {
        loop {
            let message = self.client.positioned().await;
            match message["event"].as_str() {
                Some("Changed") => {
                    let payload = &message["payload"];
                    assert_eq!(payload["number"], self.seen + 1, "{message}");
                    (self.seen, self.position) = (self.seen + 1, position(&message["mq"]));
                    if payload["last"] == true {
                        return;
                    }
                }
                Some("Reconnect") => {
                    roll.sent_away.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(self.client.closed().await.code, 1012);
                    self.client = connect(roll.front).await;
                    self.come_back(&roll).await;
                }
                Some("Replayed") => {}
                _ => panic!("{message}"),
            }
        }
    }

    /// With where it was. A replica may not have read as far as yet.
    async fn come_back(&mut self, roll: &Roll) {
        let subscribe = json!({"action": "Subscribe", "tag": 2, "payload": {
            "exchange": roll.exchange, "routing_key": "1", "after": self.position,
        }});
        loop {
            self.client.send(subscribe.clone()).await;
            let answer = self.client.positioned().await;
            if answer["payload"]["error"] == "ExchangeUnavailable" {
                continue;
            }
            assert_eq!(answer["payload"]["recovered"], true, "{answer}");
            return;
        }
    }
}

fn position(of: &Value) -> String {
    of["id"].as_str().expect("a position").to_owned()
}
