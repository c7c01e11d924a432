//! A replica is killed while events are pushed, and all of its clients come back to another one,
//! with their positions or without.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use myxi::proto::gateway_client::GatewayClient;
use tokio::time::sleep;
use tonic::transport::Channel;

use super::{DEADLINE, Setup, WARM_UP, contender::Build, pace::ticks, replicas::Replicas};
use crate::{
    load::{Clients, Pace, Tally, Unit, event, myxi_entry, myxi_script, step, subscribe, within},
    peer::AT_ONCE,
};

const CLIENTS: usize = 10_000;

/// Keys, each with as many clients.
const ROOMS: usize = 100;

/// To the rooms in turn.
const EVENTS_PER_SECOND: u64 = 200;

/// Nothing more is on its way when so long nothing came.
const QUIET: Duration = Duration::from_secs(1);

/// What each room was pushed.
type Pushed = RefCell<Vec<u64>>;

/// The time from the kill until all are complete; the other replica's CPU a client in that time;
/// events that clients never received, and that they received again.
pub async fn measure(resume: bool, setup: &Setup<'_>) -> anyhow::Result<Vec<Option<f64>>> {
    let room_for_all = format!("--max-connections={}", CLIENTS + 1);
    let build = Build::with_batches();
    let mut replicas = Replicas::start_with(&build, 2, &[&room_for_all], setup).await?;
    let [dying, other] = [0, 1].map(|number| replicas.gateways[number].addresses.clients);
    let api = replicas.apis[1].clone();
    let clients = Clients::new(Unit::Event, Pace::Sparing)?;
    let opening = clients.open(dying, CLIENTS, AT_ONCE, |n| myxi_script(dying, &room(n)));
    within(DEADLINE, "clients subscribe", opening).await?;

    let (pushed, over) = (Pushed::new(vec![0; ROOMS]), Cell::new(false));
    let coming_back = async {
        sleep(WARM_UP).await;
        let (killed, cpu) = (Instant::now(), replicas.gateways[1].process.cpu());
        drop(replicas.gateways.remove(0));
        let left = clients.all_lost().await;
        let back = Clients::new(Unit::Event, Pace::Sparing)?;
        let script = |n: usize| {
            let (awaited, after) = match resume {
                true => (r#""Replayed""#, Some(left[n].position.as_str())),
                false => (r#""Subscribed""#, None),
            };
            let mut script = myxi_entry(other);
            script.push(step(subscribe(&room(n), after), awaited));
            script.into()
        };
        let opening = back.open(other, CLIENTS, AT_ONCE, script);
        within(DEADLINE, "all come back", opening).await?;
        let (time, cpu) = (killed.elapsed(), replicas.gateways[0].process.cpu() - cpu);
        over.set(true);
        anyhow::Ok((time, cpu, left, back))
    };
    let all = async { tokio::try_join!(coming_back, push(api, &pushed, &over)) };
    let ((time, cpu, left, back), ()) = within(2 * DEADLINE, "the replica dies", all).await?;
    within(DEADLINE, "it becomes quiet", quiet(&back)).await?;
    let (lost, again) = judge(&pushed.borrow(), &left, &back.received_by_each());
    let each = cpu.as_secs_f64() * 1e6 / CLIENTS as f64;
    Ok([time.as_secs_f64(), each, lost as f64, again as f64].map(Some).into())
}

fn room(client: usize) -> String {
    format!("room-{}", client % ROOMS)
}

/// One event after the other, through the replica that lives, until it is over.
async fn push(
    mut api: GatewayClient<Channel>,
    pushed: &Pushed,
    over: &Cell<bool>,
) -> anyhow::Result<()> {
    let mut ticks = ticks(EVENTS_PER_SECOND);
    for number in (0..ROOMS).cycle() {
        ticks.tick().await;
        if over.get() {
            break;
        }
        api.push_event(event(room(number))).await?;
        pushed.borrow_mut()[number] += 1;
    }
    Ok(())
}

async fn quiet(clients: &Clients) -> anyhow::Result<()> {
    loop {
        let before = clients.received();
        sleep(QUIET).await;
        clients.none_lost()?;
        if clients.received() == before {
            return Ok(());
        }
    }
}

/// Events that are missing, and events too many, of all clients together.
fn judge(pushed: &[u64], left: &[Tally], back: &[u64]) -> (u64, u64) {
    let received = left.iter().zip(back).map(|(left, back)| left.received + back);
    let both = received.zip(pushed.iter().cycle());
    both.fold((0, 0), |(lost, again), (received, pushed)| {
        (lost + pushed.saturating_sub(received), again + received.saturating_sub(*pushed))
    })
}
