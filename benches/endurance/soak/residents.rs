//! Clients that stay: they listen all the time and say something now and then.

use std::{rc::Rc, time::Duration};

use anyhow::ensure;
use rand::{Rng, rngs::SmallRng};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use super::{EVERYBODY, World, note, soon, told};
use crate::client::Client;

const PAUSE_SECONDS: std::ops::Range<f64> = 0.5..4.0;

const LARGE: usize = 60_000;

pub async fn live(world: Rc<World>, number: usize, stop: watch::Receiver<bool>) {
    let lived = resident(&world, number, stop).await;
    note(&world, &format!("resident {number}"), lived);
}

async fn resident(
    world: &World,
    number: usize,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut dice = World::dice(number);
    let counts = world.counts.clone();
    let mut client = soon("connect", Client::connect(world.server, number, counts)).await?;
    soon("authenticate", client.authenticate()).await?;
    let keys = [EVERYBODY.into(), World::group(number), World::own(number)];
    soon("subscribe", client.subscribe(&keys)).await?;
    world.sessions.borrow_mut()[number] = Some(client.session.clone());
    world.settled.notify_waiters();
    loop {
        let pause = sleep(Duration::from_secs_f64(dice.random_range(PAUSE_SECONDS)));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                // What is pushed is counted by the client.
                message = client.next() => drop(message?),
                () = &mut pause => break,
                () = told(&mut stop) => return soon("close", client.close()).await,
            }
        }
        act(&mut client, &mut dice).await?;
        world.actions.set(world.actions.get() + 1);
    }
}

/// One action, and the answer that it must have.
pub async fn act(client: &mut Client, dice: &mut SmallRng) -> anyhow::Result<()> {
    let (action, payload, answer) = match dice.random_range(0..100) {
        0..60 => ("Echo", json!({"number": dice.random::<u32>()}), Ok("Echo")),
        60..70 => ("Echo", json!({"text": "x".repeat(LARGE)}), Ok("Echo")),
        70..76 => ("Ping", json!({}), Ok("Pong")),
        76..82 => ("ListSubscriptions", json!({}), Ok("YourSubscriptions")),
        82..87 => ("Refuse", json!({}), Err("Refused")),
        87..92 => ("NoSuchAction", json!({}), Err("InvalidAction")),
        92..96 => ("Break", json!({}), Err("InternalError")),
        _ => return nonsense(client).await,
    };
    let reply = soon(action, client.act(action, &payload)).await?;
    let expected = match answer {
        Ok("Echo") => reply.event == "Echo" && reply.payload == payload,
        Ok(event) => reply.event == event,
        Err(code) => reply.error() == Some(code),
    };
    ensure!(expected, "{action} was answered with {}", in_short(&reply.event, &reply.payload));
    Ok(())
}

/// What is no JSON has no tag to be answered with.
async fn nonsense(client: &mut Client) -> anyhow::Result<()> {
    soon("nonsense", client.say("{\"action\":")).await?;
    while soon("its answer", client.next()).await?.error() != Some("InvalidJSON") {}
    Ok(())
}

fn in_short(event: &str, payload: &Value) -> String {
    format!("{event} {payload}").chars().take(200).collect()
}
