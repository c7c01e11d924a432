//! What was pushed, what came of it, and what each subscription heard: written down while
//! the torture goes on, judged when it is over.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Instant};

use super::{heads::Head, positions, topics::Topic};
use crate::client::Gone;

/// Of an exchange's events: more than are ever under way.
const LATEST: usize = 5_000;

/// All times are of this process's one clock.
pub struct Books {
    /// By number: the order in which pushing them began.
    pub events: Vec<Event>,
    pub sessions: Vec<Session>,
    pub subscriptions: Vec<Subscription>,
    /// By number.
    pub sends: Vec<Send>,
    pub excuses: Vec<Excuse>,
    pub rounds: Vec<Round>,
    pub unreadable: Vec<Unreadable>,
    /// What was asked of the logs after somebody was told; nothing until it is answered.
    pub heads: Vec<Option<Head>>,
    /// How often which fault was done, by whom it befalls.
    pub faults: BTreeMap<(&'static str, &'static str), usize>,
    /// What came of the keys that were asked for with a position, and how often.
    pub resumes: BTreeMap<&'static str, usize>,
    /// Events that were missed and heard afterwards.
    pub replayed: u64,
    /// Tagged actions behind which a later one was answered.
    pub unanswered: Vec<(Instant, String)>,
    /// Who had not heard a confirmed event long after everything was well again.
    pub deaf: Vec<(Instant, String)>,
    /// Whatever else must not be.
    pub surprises: Vec<(Instant, String)>,
    pub actions: u64,
    /// Sessions that have not ended.
    living: Vec<usize>,
    batches: u32,
}

pub struct Event {
    pub topic: Topic,
    pub began: Instant,
    /// When the answer was there.
    pub ended: Option<Instant>,
    pub outcome: Outcome,
    /// Those that one call pushed, where it is more than one.
    pub batch: Option<u32>,
    /// Where it stands in the log, as whoever heard it first was told.
    pub position: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Also what was never answered.
    Unknown,
    Ok,
    /// The gateway says that it certainly did not happen.
    Refused,
    /// The gateway says that there is no such session.
    NotFound,
}

pub struct Session {
    pub id: String,
    pub replica: usize,
    /// Nobody minds its end.
    pub passes_by: bool,
    pub ended: Option<(Instant, Gone)>,
    /// Its end was wanted, by the client or by a fault that ends its replica.
    pub explained: bool,
    /// When the last action was said that was answered: until then it certainly was there.
    pub alive: Instant,
    /// Numbers of [`Books::sends`].
    pub sent: Vec<usize>,
}

pub struct Subscription {
    pub client: usize,
    /// The last one, where it had several.
    pub session: usize,
    pub topic: Topic,
    /// When `Subscribed` came, for the first time.
    pub since: Instant,
    /// When the client said that it wants no more.
    pub until: Option<Instant>,
    /// Its client comes back for what it missed.
    pub kept: bool,
    pub heard: Vec<Heard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Its number.
    Event(usize),
    Told(Told),
    /// It goes on in this session, behind this offset.
    Back(usize, Option<u64>),
}

/// That events may be missing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub at: Instant,
    pub replica: usize,
    pub word: Word,
    /// The offset behind which it had asked for everything.
    pub place: Option<u64>,
    /// Which of [`Books::heads`] says where the log began just then.
    pub head: Option<usize>,
}

/// How it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    Gap,
    /// Behind `recovered: true` and before `Replayed`.
    GapInReplay,
    /// `recovered: false`, and why.
    Expired,
    Unknown,
    TooMany,
    NoLog,
}

/// `SendEvent` or `DisconnectSession`.
pub struct Send {
    pub session: usize,
    pub closes: bool,
    /// When the answer was there.
    pub ended: Option<Instant>,
    pub outcome: Outcome,
}

/// A fault after which it is right to be told, whether or not something is missing there.
pub struct Excuse {
    pub cause: &'static str,
    pub exchange: &'static str,
    /// All of them, where none is named.
    pub replica: Option<usize>,
    /// The log is another one, or cannot be read on: what it says later proves nothing.
    pub of_log: bool,
    pub from: Instant,
    /// Once everything was well again.
    pub to: Option<Instant>,
}

/// An entry of a log that is none to a gateway, for as long as the log is that one.
pub struct Unreadable {
    pub exchange: &'static str,
    pub from: Instant,
    pub to: Option<Instant>,
    /// It has one of these.
    pub offsets: RangeInclusive<u64>,
}

/// Faults that overlapped, and what followed until everything was well again.
pub struct Round {
    pub faults: String,
    pub from: Instant,
    pub to: Instant,
}

impl Word {
    /// As the gateway's reason has it.
    pub fn not_recovered(reason: &str) -> Option<Self> {
        match reason {
            "expired" => Some(Self::Expired),
            "unknown" => Some(Self::Unknown),
            "too_many" => Some(Self::TooMany),
            "no_log" => Some(Self::NoLog),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Gap => "Gap",
            Self::GapInReplay => "Gap in a replay",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::TooMany => "too_many",
            Self::NoLog => "no_log",
        }
    }
}

impl Books {
    pub fn new() -> Self {
        Self {
            events: Vec::new(),
            sessions: Vec::new(),
            subscriptions: Vec::new(),
            sends: Vec::new(),
            excuses: Vec::new(),
            rounds: Vec::new(),
            unreadable: Vec::new(),
            heads: Vec::new(),
            faults: BTreeMap::new(),
            resumes: BTreeMap::new(),
            replayed: 0,
            unanswered: Vec::new(),
            deaf: Vec::new(),
            surprises: Vec::new(),
            actions: 0,
            living: Vec::new(),
            batches: 0,
        }
    }

    /// Answers the number of an event that is pushed now.
    pub fn push(&mut self, topic: Topic, batch: Option<u32>) -> usize {
        let (began, outcome) = (Instant::now(), Outcome::Unknown);
        self.events.push(Event { topic, began, ended: None, outcome, batch, position: None });
        self.events.len() - 1
    }

    pub fn batch(&mut self) -> u32 {
        self.batches += 1;
        self.batches
    }

    pub fn pushed(&mut self, number: usize, outcome: Outcome) {
        let event = &mut self.events[number];
        (event.ended, event.outcome) = (Some(Instant::now()), outcome);
    }

    /// Answers the number of what is sent to a session now, which may be its end.
    pub fn send(&mut self, session: usize, closes: bool) -> usize {
        self.sends.push(Send { session, closes, ended: None, outcome: Outcome::Unknown });
        self.sends.len() - 1
    }

    pub fn sent(&mut self, number: usize, outcome: Outcome) {
        let send = &mut self.sends[number];
        (send.ended, send.outcome) = (Some(Instant::now()), outcome);
    }

    pub fn opened(&mut self, id: &str, replica: usize, passes_by: bool, at: Instant) -> usize {
        let number = self.sessions.len();
        self.sessions.push(Session {
            id: id.into(),
            replica,
            passes_by,
            ended: None,
            explained: false,
            alive: at,
            sent: Vec::new(),
        });
        self.living.push(number);
        number
    }

    pub fn ended(&mut self, session: usize, at: Instant, gone: Gone, explained: bool) {
        self.living.retain(|living| *living != session);
        let session = &mut self.sessions[session];
        session.ended = Some((at, gone));
        session.explained |= explained;
    }

    pub fn living(&self) -> &[usize] {
        &self.living
    }

    pub fn subscribed(
        &mut self,
        (client, session): (usize, usize),
        topic: Topic,
        since: Instant,
        kept: bool,
    ) -> usize {
        let (until, heard) = (None, Vec::new());
        let subscription = Subscription { client, session, topic, since, until, kept, heard };
        self.subscriptions.push(subscription);
        self.subscriptions.len() - 1
    }

    pub fn is_back(&mut self, subscription: usize, session: usize, place: Option<u64>) {
        let subscription = &mut self.subscriptions[subscription];
        subscription.session = session;
        subscription.heard.push(Heard::Back(session, place));
    }

    /// An event was heard at this position. Answers whether that is where it stands.
    pub fn stands_at(&mut self, number: usize, position: &str) -> bool {
        let event = &mut self.events[number];
        **event.position.get_or_insert_with(|| position.into()) == *position
    }

    pub fn resumed(&mut self, how: &'static str) {
        *self.resumes.entry(how).or_default() += 1;
    }

    /// How far a log has been heard: the greatest offset of its latest events.
    pub fn reached(&self, exchange: &str) -> u64 {
        let latest = self.events.iter().rev().filter(|event| event.topic.exchange() == exchange);
        let positions = latest.take(LATEST).filter_map(|event| event.position.as_deref());
        positions.filter_map(positions::read).map(|(offset, _)| offset).max().unwrap_or_default()
    }

    /// Neither the client nor its session has ended it.
    pub fn is_live(&self, subscription: &Subscription) -> bool {
        subscription.until.is_none() && (subscription.kept || self.is_connected(subscription))
    }

    pub fn is_connected(&self, subscription: &Subscription) -> bool {
        self.sessions[subscription.session].ended.is_none()
    }

    pub fn surprise(&mut self, what: impl Into<String>) {
        self.surprises.push((Instant::now(), what.into()));
    }
}
