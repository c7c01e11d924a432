//! Clients: some stay and come back at once where their replica goes, others come and go,
//! and subscribe and unsubscribe meanwhile. All of them read all the time, and say something
//! now and then.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use rand::{Rng, rngs::SmallRng, seq::SliceRandom};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    World,
    books::Heard,
    connections::{Connection, Received},
    topics::Topic,
};
use crate::{
    application::SENT_AWAY,
    client::{Gone, Message},
};

const TOPICS_EACH: usize = 6;

const ACTS_EVERY: std::ops::Range<f64> = 0.3..1.5;
const FLIPS_EVERY: std::ops::Range<f64> = 0.5..3.0;
const PASSES_BY_FOR: std::ops::Range<f64> = 1.0..12.0;
const PAUSE: std::ops::Range<f64> = 0.05..0.5;

/// After a refusal.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// With what event `SendEvent` sends.
pub const SENT: &str = "Sent";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Until the end.
    Stays,
    ComesAndGoes,
}

/// Again and again, until stopped.
pub async fn live(world: Rc<World>, number: usize, kind: Kind, mut stop: watch::Receiver<bool>) {
    let mut dice = world.dice(1_000 + number as u64);
    loop {
        // Those that stay go back to where they were, if somebody is there.
        let wanted = match kind {
            Kind::Stays => number,
            Kind::ComesAndGoes => dice.random_range(0..world.fleet.len()),
        };
        let up = (0..world.fleet.len()).map(|turn| (wanted + turn) % world.fleet.len());
        let up =
            up.into_iter().find_map(|replica| Some((replica, world.fleet[replica].clients()?)));
        if let Some((replica, address)) = up {
            let connection = world.connections.open(address, number);
            let client = Client::new(&world, connection, replica, kind, &mut dice);
            client.live(&mut stop).await;
        }
        let pause = Duration::from_secs_f64(dice.random_range(PAUSE));
        tokio::select! {
            () = sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// One session.
struct Client<'a> {
    world: &'a World,
    connection: Connection,
    dice: &'a mut SmallRng,
    kind: Kind,
    replica: usize,
    generation: u32,
    /// In the books, once it was welcomed.
    session: Option<usize>,
    wanted: Vec<Topic>,
    /// Subscriptions in the books.
    subscribed: BTreeMap<Topic, usize>,
    /// By tag.
    asked: BTreeMap<u64, (std::time::Instant, Asked)>,
    due: Vec<(Instant, Due)>,
    tags: u64,
    leaves: bool,
}

#[derive(Debug)]
enum Asked {
    Authenticate,
    Subscribe(Topic),
    Unsubscribe(Topic),
    Echo(Value),
}

#[derive(Clone, Copy)]
enum Due {
    Authenticate,
    Subscribe(Topic),
    Echo,
    Flip,
    Leave,
}

impl<'a> Client<'a> {
    fn new(
        world: &'a World,
        connection: Connection,
        replica: usize,
        kind: Kind,
        dice: &'a mut SmallRng,
    ) -> Self {
        let mut wanted: Vec<_> = Topic::all().collect();
        wanted.shuffle(dice);
        wanted.truncate(TOPICS_EACH);
        Self {
            world,
            connection,
            dice,
            kind,
            replica,
            generation: world.fleet[replica].generation(),
            session: None,
            wanted,
            subscribed: BTreeMap::new(),
            asked: BTreeMap::new(),
            due: Vec::new(),
            tags: 0,
            leaves: false,
        }
    }

    async fn live(mut self, stop: &mut watch::Receiver<bool>) {
        loop {
            let next = self.due.iter().map(|(at, _)| *at).min();
            let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                (at, received) = self.connection.next() => match received {
                    Received::Text(text) => self.hear(at, &text),
                    Received::End(gone) => return self.end(at, gone),
                },
                () = sleep_until(next) => self.do_what_is_due(),
                _ = stop.wait_for(|stop| *stop), if !self.leaves => self.leave(),
            }
        }
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        let (due, later) = self.due.drain(..).partition(|(at, _)| *at <= now);
        self.due = later;
        let due: Vec<(Instant, Due)> = due;
        for (_, due) in due {
            match due {
                Due::Authenticate => self.ask("Authenticate", json!({}), Asked::Authenticate),
                Due::Subscribe(topic) => self.subscribe(topic),
                Due::Echo => {
                    let payload = json!({"number": self.dice.random::<u32>()});
                    self.ask("Echo", payload.clone(), Asked::Echo(payload));
                    self.later(ACTS_EVERY, Due::Echo);
                }
                Due::Flip => self.flip(),
                Due::Leave => self.leave(),
            }
        }
    }

    fn ask(&mut self, action: &str, payload: Value, asked: Asked) {
        if self.leaves {
            return;
        }
        self.tags += 1;
        self.world.books.borrow_mut().actions += 1;
        self.asked.insert(self.tags, (std::time::Instant::now(), asked));
        let message = json!({"action": action, "tag": self.tags, "payload": payload});
        self.connection.say(&message.to_string());
    }

    fn subscribe(&mut self, topic: Topic) {
        let payload = json!({"exchange": topic.exchange(), "routing_key": topic.key()});
        self.ask("Subscribe", payload, Asked::Subscribe(topic));
    }

    /// One subscription less; it comes back when that is answered.
    fn flip(&mut self) {
        let books = self.world.books.borrow();
        let stays = |subscription: usize| books.subscriptions[subscription].until.is_none();
        let subscribed = self.subscribed.iter().filter(|(_, number)| stays(**number));
        let topics: Vec<_> = subscribed.map(|(topic, _)| *topic).collect();
        drop(books);
        if !topics.is_empty() {
            let topic = topics[self.dice.random_range(0..topics.len())];
            self.until_now(self.subscribed[&topic]);
            let payload = json!({"exchange": topic.exchange(), "routing_key": topic.key()});
            self.ask("Unsubscribe", payload, Asked::Unsubscribe(topic));
        }
        self.later(FLIPS_EVERY, Due::Flip);
    }

    fn leave(&mut self) {
        for subscription in self.subscribed.values() {
            self.until_now(*subscription);
        }
        self.leaves = true;
        self.connection.close();
    }

    fn until_now(&self, subscription: usize) {
        let subscription = &mut self.world.books.borrow_mut().subscriptions[subscription];
        subscription.until.get_or_insert_with(std::time::Instant::now);
    }

    fn later(&mut self, after: std::ops::Range<f64>, due: Due) {
        let after = Duration::from_secs_f64(self.dice.random_range(after));
        self.due.push((Instant::now() + after, due));
    }

    fn again(&mut self, due: Due, answer: &Message) {
        let after = answer.retry_after().unwrap_or_default().max(AGAIN_AFTER);
        self.due.push((Instant::now() + after, due));
    }

    fn hear(&mut self, at: std::time::Instant, text: &[u8]) {
        let message: Message = match serde_json::from_slice(text) {
            Ok(message) => message,
            Err(error) => return self.surprise(format!("not to be read: {error}")),
        };
        match (message.event.as_str(), message.tag) {
            ("Welcome", None) => self.welcome(at, &message),
            ("Gap", None) => self.hear_gap(at, &message),
            (SENT, None) => self.hear_sent(&message),
            ("Reconnect", None) => {}
            (_, Some(tag)) => self.hear_answer(at, tag, &message),
            (_, None) if message.mq.is_some() => self.hear_event(&message),
            _ => self.surprise(format!("nobody asked for {message:?}")),
        }
    }

    fn welcome(&mut self, at: std::time::Instant, message: &Message) {
        let id = message.payload["id"].as_str().unwrap_or_default();
        let passes_by = self.kind == Kind::ComesAndGoes;
        self.session = Some(self.world.books.borrow_mut().opened(id, self.replica, passes_by, at));
        self.ask("Authenticate", json!({}), Asked::Authenticate);
        self.later(ACTS_EVERY, Due::Echo);
        if passes_by {
            self.later(FLIPS_EVERY, Due::Flip);
            self.later(PASSES_BY_FOR, Due::Leave);
        }
    }

    fn hear_event(&mut self, message: &Message) {
        let topic = message.mq.as_ref().and_then(|mq| Topic::find(&mq.exchange, &mq.routing_key));
        let number = message.payload["n"].as_u64();
        let (Some(topic), Some(number)) = (topic, number) else {
            return self.surprise("an event that nobody pushed".into());
        };
        let Some(subscription) = self.subscribed.get(&topic) else {
            return self.surprise(format!("an event of {topic}, which it is not subscribed to"));
        };
        let mut books = self.world.books.borrow_mut();
        let pushed = books.events.get(number as usize).is_some_and(|event| event.topic == topic);
        if pushed {
            books.subscriptions[*subscription].heard.push(Heard::Event(number as usize));
        } else {
            drop(books);
            self.surprise(format!("event {number}, which nobody pushed to {topic}"));
        }
    }

    fn hear_gap(&mut self, at: std::time::Instant, message: &Message) {
        let named = |name: &str| message.payload[name].as_str().unwrap_or_default();
        let topic = Topic::find(named("exchange"), named("routing_key"));
        let Some(subscription) = topic.and_then(|topic| self.subscribed.get(&topic)) else {
            return self.surprise(format!("a gap in what it is not subscribed to: {message:?}"));
        };
        let mut books = self.world.books.borrow_mut();
        books.subscriptions[*subscription].heard.push(Heard::Gap(at));
    }

    fn hear_sent(&mut self, message: &Message) {
        let (Some(session), Some(number)) = (self.session, message.payload["s"].as_u64()) else {
            return self.surprise(format!("nobody sent {message:?}"));
        };
        self.world.books.borrow_mut().sessions[session].sent.push(number as usize);
    }

    fn hear_answer(&mut self, at: std::time::Instant, tag: u64, answer: &Message) {
        let Some((said, asked)) = self.asked.remove(&tag) else {
            return self.surprise(format!("an answer to what was not asked: {answer:?}"));
        };
        // One after another: what was asked before this will not be answered any more.
        for (tag, (said, asked)) in std::mem::take(&mut self.asked) {
            if tag > answer.tag.unwrap_or_default() {
                self.asked.insert(tag, (said, asked));
            } else {
                let who = self.name();
                let what = format!("{who}: no answer to {asked:?}");
                self.world.books.borrow_mut().unanswered.push((said, what));
            }
        }
        if let Some(session) = self.session {
            self.world.books.borrow_mut().sessions[session].alive = said;
        }
        match (asked, answer.event.as_str()) {
            (Asked::Authenticate, "Done") => {
                for topic in self.wanted.clone() {
                    self.subscribe(topic);
                }
            }
            (Asked::Authenticate, "Error") => self.again(Due::Authenticate, answer),
            (Asked::Subscribe(topic), "Subscribed") => {
                let Some(session) = self.session else { return };
                let number = self.world.books.borrow_mut().subscribed(session, topic, at);
                self.subscribed.insert(topic, number);
                if self.leaves {
                    self.until_now(number);
                }
            }
            (Asked::Subscribe(topic), "Error") => self.again(Due::Subscribe(topic), answer),
            (Asked::Unsubscribe(topic), "Unsubscribed") => {
                self.subscribed.remove(&topic);
                self.subscribe(topic);
            }
            (Asked::Echo(payload), "Echo") if answer.payload == payload => {}
            (Asked::Echo(_), "Error") => {}
            (asked, _) => self.surprise(format!("{asked:?} was answered with {answer:?}")),
        }
    }

    fn end(&self, at: std::time::Instant, gone: Gone) {
        let ends = self.world.fleet[self.replica].generation() != self.generation;
        let Some(session) = self.session else { return };
        let explained = match gone {
            Gone::Closed(SENT_AWAY) => true,
            Gone::Closed(1000) => self.leaves || ends,
            _ => ends,
        };
        self.world.books.borrow_mut().ended(session, at, gone, explained);
    }

    fn surprise(&self, what: String) {
        let what: String = what.chars().take(300).collect();
        let what = format!("{}: {what}", self.name());
        self.world.books.borrow_mut().surprise(what);
    }

    fn name(&self) -> String {
        let books = self.world.books.borrow();
        let id = self.session.map_or("no session yet", |session| &books.sessions[session].id);
        format!("{id} on replica {}", self.replica)
    }
}
