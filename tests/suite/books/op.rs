//! What may happen, in any order. Every operation makes sense after every other, so that a
//! failing sequence can be made shorter by leaving some out.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

pub const SESSIONS: usize = 3;

/// Fewer than there are topics.
pub const MAX_SUBSCRIPTIONS: usize = 4;

/// `late` is attached by an operation, `none` is not configured.
pub const EXCHANGES: [&str; 4] = ["a", "b", "late", "none"];

/// As a client may write them: two pairs of them are one topic each, the last is none.
pub const KEYS: [&str; 6] = ["1", r#""1""#, "null", r#""""#, r#""k""#, "[]"];

/// As an event is pushed to them.
pub const KEY_TEXTS: [&str; 3] = ["", "1", "k"];

#[derive(Debug, Clone)]
pub enum Op {
    Connect(usize),
    Act(usize, Action),
    Recheck(usize),
    Answer(usize, Answer),
    Attach,
    Deliver(&'static str, &'static str),
    Gap(&'static str),
    Read(usize),
    Drain(usize),
    Cut(usize),
    End(usize),
}

#[derive(Debug, Clone)]
pub enum Action {
    Subscribe { exchange: &'static str, keys: Vec<&'static str> },
    Unsubscribe { exchange: Option<&'static str>, keys: Vec<&'static str> },
    List,
    Forward,
}

/// For whatever question it is given.
#[derive(Debug, Clone)]
pub struct Answer {
    pub fails: bool,
    pub unknown_exchange: bool,
    /// Bit by bit, whether a topic is denied.
    pub denied: u8,
    pub reply: Reply,
}

#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub changes_auth: bool,
    pub unsubscribe: Vec<(&'static str, &'static str)>,
    pub subscribe: Vec<(&'static str, &'static str)>,
    pub events: usize,
    pub disconnects: bool,
}

impl Answer {
    pub fn yes() -> Self {
        Self { fails: false, unknown_exchange: false, denied: 0, reply: Reply::default() }
    }
}

pub fn random(rng: &mut SmallRng) -> Op {
    let session = rng.random_range(0..SESSIONS);
    match rng.random_range(0..100) {
        0..6 => Op::Connect(session),
        6..34 => Op::Act(session, action(rng)),
        34..44 => Op::Recheck(session),
        44..68 => Op::Answer(rng.random_range(0..4), answer(rng)),
        68..84 => Op::Deliver(exchange(rng), pick(rng, &KEY_TEXTS)),
        84..87 => Op::Gap(pick(rng, &EXCHANGES)),
        87..88 => Op::Attach,
        88..96 => Op::Read(session),
        96..97 => Op::Drain(session),
        97..98 => Op::Cut(session),
        _ => Op::End(session),
    }
}

fn action(rng: &mut SmallRng) -> Action {
    let exchange = exchange(rng);
    let kind = rng.random_range(0..100);
    let most = if kind < 45 { MAX_SUBSCRIPTIONS + 1 } else { 2 };
    let keys: Vec<_> = (0..rng.random_range(0..=most)).map(|_| pick(rng, &KEYS)).collect();
    match kind {
        0..45 => Action::Subscribe { exchange, keys },
        45..70 => {
            let exchange = (!keys.is_empty() || rng.random()).then_some(exchange);
            Action::Unsubscribe { exchange, keys }
        }
        70..75 => Action::List,
        _ => Action::Forward,
    }
}

fn answer(rng: &mut SmallRng) -> Answer {
    let mut topics = |most| {
        let count = rng.random_range(0..=most);
        let topic = |_| (exchange(rng), pick(rng, &KEY_TEXTS));
        (0..count).map(topic).collect::<Vec<_>>()
    };
    let (unsubscribe, subscribe) = (topics(1), topics(2));
    let reply = Reply {
        changes_auth: rng.random(),
        unsubscribe,
        subscribe,
        events: rng.random_range(0..3),
        disconnects: rng.random_bool(0.05),
    };
    Answer {
        fails: rng.random_bool(0.1),
        unknown_exchange: rng.random_bool(0.05),
        // Two in three are allowed.
        denied: if rng.random_bool(0.33) { 0 } else { rng.random() },
        reply,
    }
}

/// Mostly one, so that what happens meets.
fn exchange(rng: &mut SmallRng) -> &'static str {
    match rng.random_bool(0.6) {
        true => EXCHANGES[0],
        false => pick(rng, &EXCHANGES),
    }
}

fn pick(rng: &mut SmallRng, from: &[&'static str]) -> &'static str {
    from.choose(rng).expect("it is not empty")
}
