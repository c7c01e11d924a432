//! What keys cost where each is a binding on the broker: many at once, a thousand a second, and
//! what others notice of a replica that is killed with thousands. Beside it the same of an
//! exchange with a log, which has none.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::time::{interval, sleep};

use crate::{
    Processors,
    application::Handler,
    args,
    client::{Client, Gone},
    load::{Application, EXCHANGE, Gateway, event, within},
    support::rabbitmq::RabbitMq,
    verdict::Verdicts,
};

/// Keys of one message.
const KEYS_AT_ONCE: usize = 500;

/// After which it is no use waiting.
const GIVE_UP: Duration = Duration::from_secs(120);

/// For a page that opens with all of its keys.
const BOUND_WITHIN: Duration = Duration::from_secs(5);

/// What others may notice of a replica that is killed.
const HELD_UP: Duration = Duration::from_secs(5);

const SUBSCRIBES_PER_SECOND: u32 = 1_000;
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(1);

pub async fn run(
    args: &args::Direct,
    processors: &Processors,
    verdicts: &mut Verdicts,
) -> anyhow::Result<()> {
    println!("\n{} keys of an exchange without a log", args.keys);
    let broker = RabbitMq::start().await;
    let url = format!("--rabbitmq-url={}", broker.url_of("guest", "%2f"));
    let application =
        Application::start_with(Handler::that_thinks(Duration::ZERO), &processors.load);
    let application = application.await?;
    let start = async |kind: &str| {
        let exchange = format!("--exchange={EXCHANGE}{kind};kind={kind}");
        let flags = [url.as_str(), &exchange, "--max-subscriptions=100000"];
        let gateway = Gateway::start(&application.url(), &flags, &processors.server).await?;
        gateway.ready().await?;
        anyhow::Ok(gateway)
    };
    for kind in ["stream", "direct"] {
        let gateway = start(kind).await?;
        let exchange = format!("{EXCHANGE}{kind}");
        let (took, clients) = subscribe_all(&gateway, &exchange, args.keys).await?;
        let told = format!("{took:.2?}, {:.0} keys/s", args.keys as f64 / took.as_secs_f64());
        let what = format!("{kind}: {} keys at once, {KEYS_AT_ONCE} a message", args.keys);
        verdicts.judge(&what, format!("≤ {BOUND_WITHIN:?}"), told, took <= BOUND_WITHIN);
        let times = subscribe_steadily(&gateway, &exchange, args.seconds).await?;
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let told = format!("p50 {:.1?}, p99 {:.1?}, max {:.1?}", at(0.5), at(0.99), at(1.0));
        let what = format!("{kind}: {SUBSCRIBES_PER_SECOND} subscribes a second, a key each, p99");
        verdicts.judge(
            &what,
            format!("≤ {SUBSCRIBE_WITHIN:?}"),
            told,
            at(0.99) <= SUBSCRIBE_WITHIN,
        );
        let other = start(kind).await?;
        let held_up = kill_beside(gateway, &other, &exchange).await?;
        drop(clients);
        let what = format!("{kind}: the longest that an event took at another replica");
        verdicts.judge(
            &what,
            format!("≤ {HELD_UP:?}"),
            format!("{held_up:.2?}"),
            held_up <= HELD_UP,
        );
        let began = Instant::now();
        let gone = async {
            while broker.bindings(&exchange, "myxi.direct.").await.len() > 2 {
                sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        };
        within(GIVE_UP, "the bindings go", gone).await?;
        println!(
            "  {kind}: what the killed replica had bound is gone {:.1?} later",
            began.elapsed()
        );
    }
    Ok(())
}

async fn client(gateway: &Gateway, number: usize) -> anyhow::Result<Client> {
    let connecting = Client::connect(gateway.addresses.clients, number, Rc::default());
    let mut client = connecting.await.map_err(gone)?;
    client.authenticate().await.map_err(gone)?;
    Ok(client)
}

fn gone(gone: Gone) -> anyhow::Error {
    anyhow::anyhow!("a client is gone: {gone:?}")
}

/// As many pages would that are opened together.
async fn subscribe_all(
    gateway: &Gateway,
    exchange: &str,
    keys: usize,
) -> anyhow::Result<(Duration, Vec<Client>)> {
    let clients = keys.div_ceil(KEYS_AT_ONCE);
    let clients = try_join_all((0..clients).map(|number| client(gateway, number))).await?;
    let began = Instant::now();
    let subscribing = clients.into_iter().enumerate().map(|(number, mut client)| async move {
        let first = number * KEYS_AT_ONCE;
        let keys: Vec<_> = (first..first + KEYS_AT_ONCE).map(|key| key.to_string()).collect();
        let payload = json!({"exchange": exchange, "routing_keys": keys});
        loop {
            let answer = client.ask("Subscribe", &payload).await.map_err(gone)?;
            match answer.error() {
                None | Some("AlreadySubscribed") => break,
                Some(_) => sleep(Duration::from_millis(100)).await,
            }
        }
        anyhow::Ok(client)
    });
    let clients = within(GIVE_UP, "all are subscribed", try_join_all(subscribing)).await?;
    Ok((began.elapsed(), clients))
}

/// A key that nobody has, again and again; and the one before is left. Answers how long each took,
/// sorted.
async fn subscribe_steadily(
    gateway: &Gateway,
    exchange: &str,
    seconds: u32,
) -> anyhow::Result<Vec<Duration>> {
    const CLIENTS: u32 = 100;
    let clients = try_join_all((0..CLIENTS).map(|number| client(gateway, number as usize))).await?;
    let pace = Duration::from_secs(1) * CLIENTS / SUBSCRIBES_PER_SECOND;
    let subscribing = clients.into_iter().enumerate().map(|(number, mut client)| async move {
        sleep(pace * number as u32 / CLIENTS).await;
        let (mut due, mut times) = (interval(pace), Vec::new());
        for round in 0..seconds * SUBSCRIBES_PER_SECOND / CLIENTS {
            let began = due.tick().await;
            let topic = json!({"exchange": exchange, "routing_key": format!("{number}.{round}")});
            let answer = client.ask("Subscribe", &topic).await.map_err(gone)?;
            anyhow::ensure!(answer.event == "Subscribed", "{answer:?}");
            times.push(began.elapsed());
            client.ask("Unsubscribe", &topic).await.map_err(gone)?;
        }
        anyhow::Ok(times)
    });
    let times = within(GIVE_UP, "all have subscribed", try_join_all(subscribing)).await?;
    let mut times: Vec<_> = times.into_iter().flatten().collect();
    times.sort();
    Ok(times)
}

/// Kills a gateway while events are pushed through another one, one after another, and answers
/// what the slowest took.
async fn kill_beside(
    gateway: Gateway,
    other: &Gateway,
    exchange: &str,
) -> anyhow::Result<Duration> {
    let mut hears = client(other, 0).await?;
    let topic = json!({"exchange": exchange, "routing_key": "beside"});
    hears.ask("Subscribe", &topic).await.map_err(gone)?;
    let mut api = other.api().await?;
    let (mut slowest, mut gateway) = (Duration::ZERO, Some(gateway));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(15) {
        if began.elapsed() > Duration::from_secs(1) {
            drop(gateway.take());
        }
        let mut request = event("beside");
        request.exchange = exchange.into();
        let pushed = Instant::now();
        let heard = async {
            api.push_event(request).await.context("an event is pushed")?;
            while hears.next().await.map_err(gone)?.mq.is_none() {}
            anyhow::Ok(())
        };
        within(GIVE_UP, "an event is heard", heard).await?;
        slowest = slowest.max(pushed.elapsed());
        sleep(Duration::from_millis(10)).await;
    }
    Ok(slowest)
}
