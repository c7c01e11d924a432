//! Clients: some stay and come back at once where their replica goes, others come and go, and
//! most are cut off again and again and come back to any replica for what they missed. All of
//! them read all the time, subscribe and unsubscribe meanwhile, and say something now and then.

mod hearing;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    rc::Rc,
    time::Duration,
};

use rand::{Rng, rngs::SmallRng, seq::SliceRandom};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    World,
    connections::{Connection, Received},
    positions::{Place, Position, Positions},
    topics::Topic,
};
use crate::client::Gone;

const TOPICS_EACH: usize = 6;

const ACTS_EVERY: Range<f64> = 0.3..1.5;
const FLIPS_EVERY: Range<f64> = 0.5..3.0;
const PASSES_BY_FOR: Range<f64> = 1.0..12.0;
const PAUSE: Range<f64> = 0.05..0.5;

/// How long who comes back is there, and is away.
const IS_THERE_FOR: Range<f64> = 1.0..8.0;
const IS_AWAY_FOR: Range<f64> = 0.05..6.0;

/// The same, one time of [`ONE_IS_SHORT_OF`].
const IS_HARDLY_THERE_FOR: Range<f64> = 0.0..0.1;
const ONE_IS_SHORT_OF: u32 = 3;

/// Of those that come back: in the midst of what they missed, behind so many events.
const ONE_IS_CUT_OFF_AGAIN_OF: u32 = 3;
const CUT_OFF_BEHIND: Range<u64> = 0..30;

/// Of those that are cut off by their clients. Of others the network just ends.
const ONE_IS_CLOSED_OF: u32 = 3;

/// After a refusal.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// With what event `SendEvent` sends.
pub const SENT: &str = "Sent";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Until the end.
    Stays,
    ComesAndGoes,
    /// For what it missed.
    ComesBack,
}

/// Again and again, until stopped.
pub async fn live(world: Rc<World>, number: usize, kind: Kind, mut stop: watch::Receiver<bool>) {
    let mut dice = world.dice(1_000 + number as u64);
    let mut memory = Memory::new(&mut dice);
    loop {
        // Those that stay go back to where they were, if somebody is there.
        let wanted = match kind {
            Kind::Stays => number,
            Kind::ComesAndGoes | Kind::ComesBack => dice.random_range(0..world.fleet.len()),
        };
        let up = (0..world.fleet.len()).map(|turn| (wanted + turn) % world.fleet.len());
        let up =
            up.into_iter().find_map(|replica| Some((replica, world.fleet[replica].clients()?)));
        if let Some((replica, address)) = up {
            let connection = world.connections.open(address, number);
            let at = (number, replica);
            let client = Client::new(&world, connection, at, kind, &mut memory, &mut dice);
            client.live(&mut stop).await;
        }
        match kind {
            Kind::ComesBack => memory.positions.lost(),
            Kind::Stays | Kind::ComesAndGoes => memory = Memory::new(&mut dice),
        }
        let is_away = if kind == Kind::ComesBack { IS_AWAY_FOR } else { PAUSE };
        tokio::select! {
            () = sleep(drawn(&mut dice, is_away, PAUSE)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Of the one range, or now and then of the other.
fn drawn(dice: &mut SmallRng, usual: Range<f64>, short: Range<f64>) -> Duration {
    let range = if dice.random_ratio(1, ONE_IS_SHORT_OF) { short } else { usual };
    Duration::from_secs_f64(dice.random_range(range))
}

/// What a client has beyond a session, if it comes back.
struct Memory {
    wanted: Vec<Topic>,
    positions: Positions,
    /// In the books.
    subscriptions: BTreeMap<Topic, usize>,
}

impl Memory {
    fn new(dice: &mut SmallRng) -> Self {
        let mut wanted: Vec<_> = Topic::all().collect();
        wanted.shuffle(dice);
        wanted.truncate(TOPICS_EACH);
        Self { wanted, positions: Positions::default(), subscriptions: BTreeMap::new() }
    }
}

/// One session.
struct Client<'a> {
    world: &'a Rc<World>,
    connection: Connection,
    dice: &'a mut SmallRng,
    kind: Kind,
    number: usize,
    replica: usize,
    generation: u32,
    /// In the books, once it was welcomed.
    session: Option<usize>,
    memory: &'a mut Memory,
    /// Those of its memory that stand in this session, and that are being given up.
    subscribed: BTreeMap<Topic, usize>,
    /// By tag.
    asked: BTreeMap<u64, (std::time::Instant, Asked)>,
    /// By the tag of their `Subscribe`, until `Replayed`.
    replays: BTreeMap<u64, Replay>,
    due: Vec<(Instant, Due)>,
    tags: u64,
    leaves: bool,
    /// Behind so many events that it had missed.
    cut_off_behind: Option<u64>,
    is_cut_off: bool,
}

#[derive(Debug)]
enum Asked {
    Authenticate,
    Subscribe(Request),
    Unsubscribe(Topic),
    Ping,
    Echo(Value),
}

/// A `Subscribe`.
#[derive(Debug)]
struct Request {
    /// Not answered yet.
    topics: BTreeSet<Topic>,
    after: Option<Position>,
    place: Place,
}

/// What was missed and is on its way.
struct Replay {
    topics: BTreeSet<Topic>,
    /// So many of its events were heard.
    heard: u64,
}

#[derive(Clone)]
enum Due {
    Authenticate,
    Subscribe(BTreeSet<Topic>),
    Act,
    Flip,
    Leave,
    /// It leaves without a word to anybody, or is cut off.
    Drop,
}

impl<'a> Client<'a> {
    fn new(
        world: &'a Rc<World>,
        connection: Connection,
        (number, replica): (usize, usize),
        kind: Kind,
        memory: &'a mut Memory,
        dice: &'a mut SmallRng,
    ) -> Self {
        let (mut due, mut cut_off_behind) = (Vec::new(), None);
        if kind == Kind::ComesBack {
            let there_for = drawn(dice, IS_THERE_FOR, IS_HARDLY_THERE_FOR);
            due.push((Instant::now() + there_for, Due::Drop));
            let again = dice.random_ratio(1, ONE_IS_CUT_OFF_AGAIN_OF);
            cut_off_behind = again.then(|| dice.random_range(CUT_OFF_BEHIND));
        }
        Self {
            world,
            connection,
            dice,
            kind,
            number,
            replica,
            generation: world.fleet[replica].generation(),
            session: None,
            memory,
            subscribed: BTreeMap::new(),
            asked: BTreeMap::new(),
            replays: BTreeMap::new(),
            due,
            tags: 0,
            leaves: false,
            cut_off_behind,
            is_cut_off: false,
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
            if self.is_cut_off {
                let gone = Gone::Unexpected("its client dropped it".into());
                return self.end(std::time::Instant::now(), gone);
            }
        }
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, _) = self.due.drain(..).partition(|(at, _)| *at <= now);
        self.due = later;
        for (_, due) in due {
            match due {
                Due::Authenticate => self.ask("Authenticate", json!({}), Asked::Authenticate),
                Due::Subscribe(topics) => self.subscribe(topics),
                Due::Act => self.act(),
                Due::Flip => self.flip(),
                Due::Leave => self.leave(),
                Due::Drop
                    if self.session.is_some() && self.dice.random_ratio(1, ONE_IS_CLOSED_OF) =>
                {
                    self.close();
                }
                Due::Drop => self.is_cut_off = true,
            }
        }
    }

    fn act(&mut self) {
        if self.dice.random() {
            self.ask("Ping", json!({}), Asked::Ping);
        } else {
            let payload = json!({"number": self.dice.random::<u32>()});
            self.ask("Echo", payload.clone(), Asked::Echo(payload));
        }
        self.later(ACTS_EVERY, Due::Act);
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

    /// One message for those of an exchange that stand together.
    fn subscribe(&mut self, topics: BTreeSet<Topic>) {
        for (exchange, after, place, topics) in self.memory.positions.requests(topics) {
            let keys: Vec<_> = topics.iter().map(|topic| topic.key()).collect();
            let mut payload = json!({"exchange": exchange, "routing_keys": keys});
            if let Some(after) = &after {
                payload["after"] = json!(after);
            }
            let request = Request { topics: topics.into_iter().collect(), after, place };
            self.ask("Subscribe", payload, Asked::Subscribe(request));
        }
    }

    /// One subscription less; it comes back when that is answered.
    fn flip(&mut self) {
        let stands = |topic: &&Topic| self.memory.subscriptions.contains_key(topic);
        let topics: Vec<_> = self.subscribed.keys().filter(stands).copied().collect();
        if !topics.is_empty() {
            let topic = topics[self.dice.random_range(0..topics.len())];
            self.until_now(self.subscribed[&topic]);
            self.memory.subscriptions.remove(&topic);
            self.memory.positions.forget(topic);
            let payload = json!({"exchange": topic.exchange(), "routing_key": topic.key()});
            self.ask("Unsubscribe", payload, Asked::Unsubscribe(topic));
        }
        self.later(FLIPS_EVERY, Due::Flip);
    }

    /// For good, as far as its subscriptions go.
    fn leave(&mut self) {
        for subscription in self.memory.subscriptions.values() {
            self.until_now(*subscription);
        }
        self.close();
    }

    fn close(&mut self) {
        self.leaves = true;
        self.connection.close();
    }

    fn until_now(&self, subscription: usize) {
        let subscription = &mut self.world.books.borrow_mut().subscriptions[subscription];
        subscription.until.get_or_insert_with(std::time::Instant::now);
    }

    fn later(&mut self, after: Range<f64>, due: Due) {
        let after = Duration::from_secs_f64(self.dice.random_range(after));
        self.due.push((Instant::now() + after, due));
    }
}
