//! Many callers who push one event a call, each its next one when the last is answered: what
//! a gateway makes of events that it could send together.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::{
    Contender, DEADLINE, Setup, WARM_UP, bare,
    contender::Build,
    meter::{Meter, Spent},
    replicas::Replicas,
};
use crate::load::{event, within};

const CALLERS: usize = 64;

pub async fn measure(contender: &Contender, setup: &Setup<'_>) -> anyhow::Result<Vec<Option<f64>>> {
    let (spent, p50) = match contender {
        Contender::Bare => (bare::bulk(1, setup).await?, None),
        Contender::Gateway(build) => {
            let (spent, p50) = through(build, setup).await?;
            (spent, Some(p50.as_secs_f64() * 1e3))
        }
    };
    let Spent { per_second, broker_cpu, gateway_cpu, load_cpu } = spent;
    Ok(vec![Some(per_second), Some(broker_cpu), gateway_cpu, p50, load_cpu])
}

/// And the median of how long a call takes. Each caller has its key, and each key a client.
async fn through(build: &Build, setup: &Setup<'_>) -> anyhow::Result<(Spent, Duration)> {
    let replicas = Replicas::start(build, 1, setup).await?;
    let clients = replicas.clients(CALLERS, key).await?;

    let (over, taken, calls) = (Cell::new(false), Cell::new(0), RefCell::new(Vec::new()));
    let caller = async |number| {
        let mut api = replicas.apis[0].clone();
        while !over.get() {
            let began = Instant::now();
            api.push_event(event(key(number))).await?;
            calls.borrow_mut().push(began.elapsed());
            taken.set(taken.get() + 1);
        }
        anyhow::Ok(())
    };
    let measuring = async {
        sleep(WARM_UP).await;
        calls.borrow_mut().clear();
        let (meter, before) = (Meter::start(setup.broker, &replicas.gateways), clients.received());
        sleep(setup.time).await;
        let spent = meter.stop(clients.received() - before);
        over.set(true);
        Ok((spent, calls.take()))
    };
    let calling = try_join_all((0..CALLERS).map(&caller));
    let all = async { tokio::try_join!(measuring, calling) };
    let ((spent, mut calls), _) = within(setup.time + DEADLINE, "events are pushed", all).await?;
    within(DEADLINE, "every event arrives", clients.have_received(taken.get())).await?;
    calls.sort_unstable();
    Ok((spent, calls.get(calls.len() / 2).copied().unwrap_or_default()))
}

fn key(number: usize) -> String {
    format!("key-{number}")
}
