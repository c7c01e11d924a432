//! How a client that comes back receives what it missed, and goes on live.
//!
//! A replay is a cursor into the ring, and no queue: it queues a part, waits until the socket has
//! taken that, and goes on where it was. So whoever reads makes progress, whatever was missed,
//! and holds a part of an outbox at most. What the ring does not hold any more, the cursor reads
//! from the log until it comes to where the ring begins.
//!
//! Why nothing is missing and nothing comes twice. Let *here* be the hub's position: all that
//! was read up to there, and is wanted, is queued for those who are subscribed. The session's
//! keys are wanted before the first part is collected ([`Expected`]): whatever is read behind the
//! place where that began is handed to the hub, though it is delivered to nobody here yet. When
//! what is left fits one part, the session joins: under the hub's lock, where *here* does not
//! move, it is queued all that stands between what it was queued last and *here*, and subscribed.
//! So up to *here* it has been queued everything, and nothing from behind; that the hub delivers,
//! all of it and to those who are subscribed by then. It takes a *here* that is before neither
//! what was queued last nor the place where the keys began to be wanted: a hub that lags is waited
//! for. And it takes a ring that has everything up to *here*: an entry is there before it is
//! handed over.

mod hole;
mod log;

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use tokio::time::sleep;

use self::log::BrokenOff;
use super::Session;
use crate::{
    event::{Exchange, Position, Topic},
    hub::{Expected, outbox::Outbox},
    metrics::{Resume, Resumed, Source},
    protocol::{self, Frame, KeyForm, Tag},
    ring::{Cursor, LogReader, Lost, NotRead, Place, RingEvent, Span},
};

/// How long a hub that lags is left alone. It never lags by more than its queue.
const HUB_PAUSE: Duration = Duration::from_millis(2);

/// Events that may be looked up while the hub waits: more are a part of their own.
const JOINING_MAX: usize = 64;

/// What the subscriptions of one message have yet to receive.
pub struct Replay {
    exchange: Exchange,
    /// So many gaps there had been when it began.
    gaps: u64,
    /// By their text.
    keys: BTreeMap<Arc<str>, Key>,
    /// What stands before it is queued, or pending.
    cursor: Cursor,
    /// What the cursor leads into, where it is not the ring.
    log: Option<LogReader>,
    broken_off: Option<BrokenOff>,
    pending: Vec<Arc<RingEvent>>,
    /// What was queued last, here or elsewhere; nothing where the latest events are wanted.
    queued: Option<Position>,
    count: u64,
    tag: Option<Box<Tag>>,
    /// Counts it.
    resume: Option<Resume>,
}

struct Key {
    topic: Topic,
    form: KeyForm,
    /// Of the subscription, which may end meanwhile.
    generation: u64,
    expected: Expected,
}

/// Why a session cannot be subscribed yet.
enum NotYet {
    HubLags,
    /// More came than is queued in one step.
    More,
    /// The log is still to be read,
    LogLags,
    /// or to be read anew.
    LogEnded,
    Lost,
    /// See [`Session::is_torn`].
    Torn,
}

impl From<Lost> for NotYet {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

impl From<NotRead> for NotYet {
    fn from(why: NotRead) -> Self {
        match why {
            NotRead::Unavailable => Self::LogEnded,
            NotRead::Hole => Self::Lost,
        }
    }
}

impl Session {
    /// It is run when the action is over, beside later ones.
    pub(super) fn queue_replay(&self, mut replay: Box<Replay>, tag: Option<&Tag>) {
        if replay.keys.is_empty() {
            return;
        }
        replay.tag = tag.map(ToOwned::to_owned);
        let mut waiting = mem::take(&mut self.lock().replays);
        // Each has a key that is held: so there are no more than there may be subscriptions.
        waiting.retain_mut(|waiting| !self.is_over(waiting));
        let mut state = self.lock();
        state.replays = waiting;
        if state.replaying || !state.replays.is_empty() {
            // Who does not read yet must not hold up those who do.
            replay.log = None;
        }
        state.replays.push_back(replay);
    }

    /// Where nothing of it is held any more, which is told.
    fn is_over(&self, replay: &mut Replay) -> bool {
        self.drop_ended(replay);
        let over = |replay: &Replay, here| Ok(vec![replay.over(0, here)]);
        let is_over = replay.keys.is_empty() && self.subscribe_with(replay, None, over).is_ok();
        if is_over {
            replay.ended(Resumed::Unsubscribed);
        }
        is_over
    }

    /// Queues what was missed, part by part, and is over when the session is subscribed.
    pub async fn replay(self: Arc<Self>, mut replay: Box<Replay>) {
        loop {
            // What was missed may be nobody's any more, and there may be much of it.
            if self.is_over(&mut replay) {
                return;
            }
            let step = match self.collect(&mut replay) {
                Ok(()) => self.join(&mut replay),
                Err(not_yet) => Err(not_yet),
            };
            match step {
                Ok(()) => return replay.ended(Resumed::Recovered),
                Err(why @ (NotYet::Lost | NotYet::LogEnded)) => {
                    if self.go_back(&mut replay, why).await.is_err() {
                        return self.tell_of_hole(&mut replay).await;
                    }
                }
                Err(NotYet::Torn) => return self.tell_of_hole(&mut replay).await,
                Err(NotYet::LogLags) => self.read_on(&replay).await,
                Err(NotYet::HubLags) if replay.pending.is_empty() => sleep(HUB_PAUSE).await,
                Err(NotYet::HubLags | NotYet::More) => self.queue_part(&mut replay).await,
            }
        }
    }

    /// The next part; `Ok` where it is the last one by now.
    fn collect(&self, replay: &mut Replay) -> Result<(), NotYet> {
        if self.is_torn(replay) {
            return Err(NotYet::Torn);
        }
        if !replay.pending.is_empty() {
            return Ok(());
        }
        let ring = &self.services.ring;
        if replay.log.is_some()
            && let Place::Here(cursor) = ring.find(&replay.exchange, replay.cursor.position)
        {
            (replay.log, replay.cursor) = (None, cursor);
        }
        let span = self.since(replay)?;
        (replay.pending, replay.cursor) = (span.events, span.cursor);
        // They are encoded once, and not while a hub waits.
        replay.pending.iter().for_each(|event| drop(event.frame(&replay.exchange)));
        match &replay.log {
            None if span.is_all => Ok(()),
            Some(_) if replay.pending.is_empty() => Err(NotYet::LogLags),
            None | Some(_) => Err(NotYet::More),
        }
    }

    fn since(&self, replay: &Replay) -> Result<Span, NotYet> {
        let keys: Vec<_> = replay.keys.keys().map(|key| &**key).collect();
        let (cursor, part) = (replay.cursor, self.outbox.part());
        match &replay.log {
            None => Ok(self.services.ring.since(&replay.exchange, &keys, cursor, part)?),
            Some(log) => Ok(log.since(&keys, cursor, part)?),
        }
    }

    async fn queue_part(&self, replay: &mut Replay) {
        self.drop_ended(replay);
        let before = replay.count;
        for event in mem::take(&mut replay.pending) {
            if let Some(frame) = replay.frame(&event) {
                self.outbox.push(frame);
                replay.count += 1;
            }
        }
        let source = if replay.log.is_some() { Source::Log } else { Source::Buffer };
        self.metrics().resumes.events[source].inc_by(replay.count - before);
        replay.queued = Some(replay.cursor.position);
        self.outbox.all_taken().await;
    }

    /// Subscriptions may end while they catch up.
    fn drop_ended(&self, replay: &mut Replay) {
        let state = self.lock();
        replay.keys.retain(|_, key| state.subscriptions.holds(&key.topic, key.generation));
    }

    /// Subscribes, in one step with what is left.
    fn join(&self, replay: &mut Replay) -> Result<(), NotYet> {
        self.subscribe_with(replay, replay.queued, |replay, here| {
            // Whoever is told of a gap was subscribed before it.
            if self.is_torn(replay) {
                return Err(NotYet::Torn);
            }
            let since = self.since(replay)?;
            if !since.is_all || since.events.len() > JOINING_MAX {
                return Err(NotYet::More);
            }
            let events = replay.pending.iter().chain(&since.events);
            // The hub delivers those that are behind.
            let events = events.filter(|event| event.position() <= here);
            let mut frames: Vec<_> = events.filter_map(|event| replay.frame(event)).collect();
            let bytes: usize = frames.iter().map(Outbox::cost).sum();
            if bytes > self.outbox.part() && !since.events.is_empty() {
                return Err(NotYet::More);
            }
            let last = frames.len() as u64;
            self.metrics().resumes.events[Source::Buffer].inc_by(last);
            frames.push(replay.over(last, here));
            Ok(frames)
        })
    }

    /// Subscribes to what is held still, behind these frames, which lead to where the hub is: not
    /// before the place that was queued last, nor before the keys were wanted.
    fn subscribe_with(
        &self,
        replay: &mut Replay,
        queued: Option<Position>,
        frames: impl FnOnce(&Replay, Position) -> Result<Vec<Frame>, NotYet>,
    ) -> Result<(), NotYet> {
        self.drop_ended(replay);
        let since = replay.keys.values().filter_map(|key| key.expected.since()).max();
        let keys: Vec<_> = replay.keys.values().map(|key| (&key.topic, key.form)).collect();
        let hub = &self.services.hub;
        let joined = hub.join(&replay.exchange, &keys, &self.outbox, |here| {
            if since > Some(here) || queued > Some(here.position) {
                return Err(NotYet::HubLags);
            }
            frames(replay, here.position)
        });
        if joined.is_ok() {
            let mut state = self.lock();
            keys.iter().for_each(|(topic, _)| state.subscriptions.go_live(topic));
        }
        joined
    }
}

impl Replay {
    /// Of what stands behind the cursor, which leads into the log, or the ring. There had been so
    /// many gaps.
    pub(super) fn behind(
        exchange: &Exchange,
        gaps: u64,
        cursor: Cursor,
        log: Option<LogReader>,
    ) -> Self {
        Self { log, queued: Some(cursor.position), ..Self::new(exchange, gaps, cursor) }
    }

    /// Of these, and what has come since.
    pub(super) fn latest(exchange: &Exchange, gaps: u64, latest: Span) -> Self {
        Self { pending: latest.events, ..Self::new(exchange, gaps, latest.cursor) }
    }

    fn new(exchange: &Exchange, gaps: u64, cursor: Cursor) -> Self {
        Self {
            exchange: exchange.clone(),
            gaps,
            keys: BTreeMap::new(),
            cursor,
            log: None,
            broken_off: None,
            pending: Vec::new(),
            queued: None,
            count: 0,
            tag: None,
            resume: None,
        }
    }

    pub(super) fn count_as(&mut self, resume: Resume) {
        self.resume = Some(resume);
    }

    fn ended(&mut self, result: Resumed) {
        self.resume.iter_mut().for_each(|resume| resume.ended(result));
    }

    pub(super) fn add(&mut self, topic: Topic, form: KeyForm, generation: u64, expected: Expected) {
        let key = topic.shared_routing_key();
        self.keys.insert(key, Key { topic, form, generation, expected });
    }

    /// Of an event that is one, and still wanted.
    fn frame(&self, event: &RingEvent) -> Option<Frame> {
        let wanted = self.keys.contains_key(event.routing_key());
        event.frame(&self.exchange).filter(|_| wanted)
    }

    /// With so many events beside those that were queued.
    fn over(&self, further: u64, here: Position) -> Frame {
        protocol::replayed(self.tag.as_deref(), &self.exchange, here, self.count + further)
    }
}
