//! The application's side: numbered events one by one and in bulk through all replicas, and
//! events to single sessions. Each is in the books before it is pushed, and so is what came
//! of it.

use std::{error::Error, rc::Rc, time::Duration};

use myxi::proto::{
    DisconnectSessionRequest, PushEventRequest, PushEventsRequest, SendEventRequest,
};
use rand::{Rng, rngs::SmallRng};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Code, Status};

use super::{World, books::Outcome, clients::SENT, fleet::Api, topics::Topic};
use crate::application::SENT_AWAY;

const SINGLE_EVERY: Duration = Duration::from_millis(15);
const BULK_EVERY: Duration = Duration::from_millis(150);
const SEND_EVERY: Duration = Duration::from_millis(20);

const IN_BULK: usize = 20;

/// Of what is sent to those that come and go.
const ONE_IS_CLOSED_OF: u32 = 200;

/// Longer than an answer may take, so that only a frozen replica owes one.
const GIVES_UP_AFTER: Duration = Duration::from_secs(15);

/// After whatever was no OK, so as not to spin.
const PAUSE: Duration = Duration::from_millis(50);

pub enum Kind {
    /// By `PushEvent`, through the replica of this number.
    Single(usize),
    /// By `PushEvents`, through any.
    Bulk,
    /// By `SendEvent`, and now and then `DisconnectSession`, through any.
    ToSessions,
}

pub async fn publish(
    world: Rc<World>,
    kind: Kind,
    mut dice: SmallRng,
    stop: watch::Receiver<bool>,
) {
    let pause = match kind {
        Kind::Single(_) => SINGLE_EVERY,
        Kind::Bulk => BULK_EVERY,
        Kind::ToSessions => SEND_EVERY,
    };
    while !*stop.borrow() {
        let replica = match kind {
            Kind::Single(replica) => replica,
            Kind::Bulk | Kind::ToSessions => dice.random_range(0..world.fleet.len()),
        };
        if let Some(mut api) = world.fleet[replica].api() {
            match kind {
                Kind::Single(_) => {
                    let topic = Topic::new(dice.random_range(0..Topic::COUNT));
                    if push(&world, &mut api, topic, dice.random_range(0..200)).await.1
                        != Outcome::Ok
                    {
                        sleep(PAUSE).await;
                    }
                }
                Kind::Bulk => {
                    let topics = (0..IN_BULK).map(|_| dice.random_range(0..Topic::COUNT));
                    let topics: Vec<_> = topics.map(Topic::new).collect();
                    push_all(&world, &mut api, &topics, dice.random_range(0..200)).await;
                }
                Kind::ToSessions => send(&world, &mut api, &mut dice).await,
            }
        }
        sleep(pause).await;
    }
}

/// One event with so much in it; answers its number, and what came of it.
pub async fn push(world: &World, api: &mut Api, topic: Topic, bytes: usize) -> (usize, Outcome) {
    let number = world.books.borrow_mut().push(topic, None);
    let answer = timeout(GIVES_UP_AFTER, api.push_event(event(topic, number, bytes))).await;
    let outcome = answer.map_or(Outcome::Unknown, |answer| outcome(answer.map(drop)));
    world.books.borrow_mut().pushed(number, outcome);
    (number, outcome)
}

/// In one call. Answers whether all were taken.
pub async fn push_all(world: &World, api: &mut Api, topics: &[Topic], bytes: usize) -> bool {
    let numbers: Vec<_> = {
        let mut books = world.books.borrow_mut();
        let batch = books.batch();
        topics.iter().map(|topic| books.push(*topic, Some(batch))).collect()
    };
    let events = topics.iter().zip(&numbers);
    let events = events.map(|(topic, number)| event(*topic, *number, bytes)).collect();
    let answer = timeout(GIVES_UP_AFTER, api.push_events(PushEventsRequest { events })).await;
    let outcomes = match answer {
        Err(_) => vec![Outcome::Unknown; numbers.len()],
        Ok(Err(status)) => vec![outcome(Err(status)); numbers.len()],
        Ok(Ok(answer)) => {
            let results = answer.into_inner().results;
            results.iter().map(|result| outcome_of(Code::from_i32(result.code))).collect()
        }
    };
    let mut books = world.books.borrow_mut();
    for (number, outcome) in numbers.iter().zip(&outcomes) {
        books.pushed(*number, *outcome);
    }
    outcomes.iter().all(|outcome| *outcome == Outcome::Ok)
}

fn event(topic: Topic, number: usize, bytes: usize) -> PushEventRequest {
    PushEventRequest {
        exchange: topic.exchange().into(),
        routing_key: topic.key(),
        event: "Numbered".into(),
        payload: json!({"n": number, "x": "x".repeat(bytes)}).to_string(),
        event_id: None,
    }
}

async fn send(world: &World, api: &mut Api, dice: &mut SmallRng) {
    let (number, session_id, closes) = {
        let mut books = world.books.borrow_mut();
        if books.living().is_empty() {
            return;
        }
        let session = books.living()[dice.random_range(0..books.living().len())];
        let closes = books.sessions[session].passes_by && dice.random_ratio(1, ONE_IS_CLOSED_OF);
        (books.send(session, closes), books.sessions[session].id.clone(), closes)
    };
    let sending = async {
        if closes {
            let (code, reason) = (SENT_AWAY.into(), String::new());
            let request = DisconnectSessionRequest { session_id, code, reason };
            return api.disconnect_session(request).await.map(drop);
        }
        let payload = json!({"s": number}).to_string();
        let request = SendEventRequest { session_id, event: SENT.into(), payload };
        api.send_event(request).await.map(drop)
    };
    let outcome = timeout(GIVES_UP_AFTER, sending).await.map_or(Outcome::Unknown, outcome);
    world.books.borrow_mut().sent(number, outcome);
}

fn outcome(answer: Result<(), Status>) -> Outcome {
    match answer {
        Ok(()) => Outcome::Ok,
        // Made on this side of the connection.
        Err(status) if status.source().is_some() => Outcome::Unknown,
        Err(status) => outcome_of(status.code()),
    }
}

fn outcome_of(code: Code) -> Outcome {
    match code {
        Code::Ok => Outcome::Ok,
        Code::Unavailable | Code::ResourceExhausted => Outcome::Refused,
        Code::NotFound => Outcome::NotFound,
        _ => Outcome::Unknown,
    }
}
