//! After each round of faults everything must be well again: replicas say so, each takes
//! events again for every topic, and every subscription hears them. Who does not is deaf,
//! however ready its replica says it is.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{
    World,
    books::{Books, Heard, Outcome, Subscription},
    publishers,
    topics::Topic,
};

/// Generous: it is only waited out by a failure.
const DEADLINE: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(20);

/// Nothing that was pushed so long ago is looked for.
const LOOKS_BACK: usize = 5_000;

#[derive(Clone, Copy)]
pub enum Who {
    Everybody,
    /// Whose session is there.
    Connected,
    /// Whose session is there, on any replica but this.
    AllBut(usize),
}

/// Comes back with how long it took.
pub async fn well(world: &World) -> Duration {
    let began = Instant::now();
    replicas_are_ready(world, began).await;
    for replica in &world.fleet {
        for topic in Topic::all() {
            while replica.api().is_none() || {
                let mut api = replica.api().expect("it was there");
                publishers::push(world, &mut api, topic, 0).await.1 != Outcome::Ok
            } {
                if began.elapsed() > DEADLINE {
                    let what = format!("replica {} takes no events of {topic}", replica.number());
                    world.books.borrow_mut().surprise(what);
                    break;
                }
                sleep(POLL).await;
            }
        }
    }
    // Who is away comes back to all of them.
    let last = |topic| Some((topic, last_taken(&world.books.borrow(), topic)?));
    let last: Vec<_> = Topic::all().filter_map(last).collect();
    for (topic, event) in last {
        let deaf = heard_this(world, topic, event, Who::Everybody).await;
        let mut books = world.books.borrow_mut();
        for subscription in deaf {
            let of = &books.sessions[books.subscriptions[subscription].session];
            let what = format!("{} on replica {} did not hear {topic}", of.id, of.replica);
            books.deaf.push((began, what));
        }
    }
    began.elapsed()
}

async fn replicas_are_ready(world: &World, began: Instant) {
    for replica in &world.fleet {
        while let Some(trouble) = replica.trouble().await {
            if began.elapsed() > DEADLINE {
                let what = format!("replica {} is not ready: {trouble}", replica.number());
                world.books.borrow_mut().surprise(what);
                break;
            }
            sleep(POLL).await;
        }
    }
}

/// Waits until these have heard the last event of the topic that was taken, or were told of
/// a gap since; answers the subscriptions that did not in time.
pub async fn heard(world: &World, topic: Topic, who: Who) -> Vec<usize> {
    let Some(last) = last_taken(&world.books.borrow(), topic) else { return Vec::new() };
    heard_this(world, topic, last, who).await
}

async fn heard_this(world: &World, topic: Topic, event: usize, who: Who) -> Vec<usize> {
    let began = Instant::now();
    loop {
        let deaf = deaf(&world.books.borrow(), topic, event, who);
        if deaf.is_empty() || began.elapsed() > DEADLINE {
            return deaf;
        }
        sleep(POLL).await;
    }
}

fn last_taken(books: &Books, topic: Topic) -> Option<usize> {
    let taken = |number: &usize| {
        let event = &books.events[*number];
        event.topic == topic && event.outcome == Outcome::Ok
    };
    (0..books.events.len()).rev().find(taken)
}

fn deaf(books: &Books, topic: Topic, event: usize, who: Who) -> Vec<usize> {
    let pushed = books.events[event].began;
    let heard = |heard: &Heard| match *heard {
        Heard::Event(number) => number == event,
        Heard::Told(told) => told.at > pushed,
        Heard::Back(..) => false,
    };
    let is_deaf = |subscription: &Subscription| {
        let replica = books.sessions[subscription.session].replica;
        let is_asked = match who {
            Who::Everybody => true,
            Who::Connected => books.is_connected(subscription),
            Who::AllBut(other) => books.is_connected(subscription) && other != replica,
        };
        subscription.topic == topic
            && subscription.since < pushed
            && books.is_live(subscription)
            && is_asked
            && !subscription.heard.iter().rev().take(LOOKS_BACK).any(heard)
    };
    let subscriptions = books.subscriptions.iter().enumerate();
    subscriptions.filter(|(_, one)| is_deaf(one)).map(|(number, _)| number).collect()
}
