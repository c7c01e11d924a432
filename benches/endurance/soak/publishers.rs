//! The application's side: events one by one, in batches, and to single sessions. Each that
//! the gateway takes is one that residents are owed.

use std::{rc::Rc, time::Duration};

use anyhow::ensure;
use futures_util::future::LocalBoxFuture;
use myxi::proto::{
    PushEventRequest, PushEventsRequest, SendEventRequest, gateway_client::GatewayClient,
};
use rand::{Rng, rngs::SmallRng};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tonic::transport::Channel;

use super::{EVERYBODY, GROUPS, World, note, soon, told};
use crate::load::event;

const LARGE: usize = 60_000;
const BATCH: usize = 20;

type Api = GatewayClient<Channel>;

/// One kind of event, again and again.
pub struct Publisher {
    name: &'static str,
    per_second: u32,
    api: Api,
    publish: for<'a> fn(&'a World, &'a mut Api, &'a mut SmallRng) -> Publishing<'a>,
}

type Publishing<'a> = LocalBoxFuture<'a, anyhow::Result<()>>;

pub fn all(api: &Api) -> [Publisher; 5] {
    let publisher =
        |name, per_second, publish| Publisher { name, per_second, api: api.clone(), publish };
    [
        publisher("an event for everybody", 4, |world, api, _| {
            Box::pin(push(api, world, vec![(event(EVERYBODY), world.residents())]))
        }),
        publisher("an event for a group", 20, |world, api, dice| {
            let group = dice.random_range(0..GROUPS);
            let members = (0..world.residents()).filter(|number| number % GROUPS == group).count();
            Box::pin(push(api, world, vec![(event(World::group(group)), members)]))
        }),
        publisher("an event for one", 50, |world, api, dice| {
            Box::pin(push(api, world, vec![for_one(world, dice)]))
        }),
        publisher("a batch", 4, |world, api, dice| {
            let mut events: Vec<_> = (1..BATCH).map(|_| for_one(world, dice)).collect();
            events.push((event("nobody"), 0));
            Box::pin(push(api, world, events))
        }),
        publisher("an event for a session", 20, |world, api, dice| {
            Box::pin(send(world, api, dice))
        }),
    ]
}

pub async fn until_stopped(
    world: Rc<World>,
    mut publisher: Publisher,
    mut stop: watch::Receiver<bool>,
) {
    let mut dice = World::dice(2_000_000 + publisher.per_second as usize);
    let mut ticks = interval(Duration::from_secs(1) / publisher.per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = told(&mut stop) => return,
        }
        let published = (publisher.publish)(&world, &mut publisher.api, &mut dice).await;
        note(&world, publisher.name, published);
    }
}

/// With how many residents get it.
fn for_one(world: &World, dice: &mut SmallRng) -> (PushEventRequest, usize) {
    let mut event = event(World::own(dice.random_range(0..world.residents())));
    if dice.random_ratio(1, 50) {
        event.payload = format!("{{\"x\":\"{}\"}}", "x".repeat(LARGE));
    }
    (event, 1)
}

async fn push(
    api: &mut Api,
    world: &World,
    mut events: Vec<(PushEventRequest, usize)>,
) -> anyhow::Result<()> {
    let receivers: usize = events.iter().map(|(_, receivers)| receivers).sum();
    // Before the answer: the events may be there sooner.
    world.expect(receivers);
    if let [(event, _)] = events.as_mut_slice() {
        soon("PushEvent", api.push_event(std::mem::take(event))).await?;
        return Ok(());
    }
    let events = events.into_iter().map(|(event, _)| event).collect();
    let answer = soon("PushEvents", api.push_events(PushEventsRequest { events })).await?;
    let refused = answer.into_inner().results.into_iter().find(|result| result.code != 0);
    ensure!(refused.is_none(), "{refused:?}");
    Ok(())
}

async fn send(world: &World, api: &mut Api, dice: &mut SmallRng) -> anyhow::Result<()> {
    let number = dice.random_range(0..world.residents());
    let session_id = world.sessions.borrow()[number].clone().unwrap_or_default();
    let (event, payload) = ("Sent".into(), String::new());
    world.expect(1);
    soon("SendEvent", api.send_event(SendEventRequest { session_id, event, payload })).await?;
    Ok(())
}
