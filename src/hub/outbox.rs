//! One session's bounded queue of frames that are ready to be written. Hub, actions and
//! the Gateway service fill it and wait for no client; the session's task empties it.

mod owed;
mod turns;

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

use self::turns::Portion;
pub(crate) use self::turns::Turns;
use crate::{
    event::PushedAt,
    ids::SessionId,
    protocol::{self, Close, Dialect, Frame},
};

/// What a client is asked to wait before it connects elsewhere, more or less: enough to
/// spread those that were sent off together.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// What a queued frame costs beside its text, so that a flood of tiny ones is bounded too.
const FRAME_OVERHEAD: usize = size_of::<Frame>();

/// Capacity that an idle outbox may keep.
const IDLE_CAPACITY: usize = 8;

#[derive(Debug)]
pub struct Outbox {
    session: SessionId,
    dialect: Dialect,
    /// Bytes that may wait here; one more and the client is cut off as a slow consumer.
    limit: usize,
    state: Mutex<State>,
}

/// What the session should know beside its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    None,
    Drain,
    Sealed,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Once set nothing more is taken in.
    sealed: Option<Close>,
    draining: bool,
    /// Until then nothing is written: what is sent to the session meanwhile waits.
    greeted: bool,
    waker: Option<Waker>,
    /// Frames taken out so far,
    taken: u64,
    /// and who waits for so many.
    awaited: Option<(u64, Waker)>,
    /// Of what is here, what a hub has just queued.
    portion: Portion,
    followed: Option<Followed>,
}

/// One event whose way to the socket is timed.
#[derive(Debug, Clone, Copy)]
struct Followed {
    frames_ahead: usize,
    pushed_at: PushedAt,
}

impl Outbox {
    pub fn new(session: SessionId, limit: usize) -> Arc<Self> {
        Self::in_dialect(Dialect::default(), session, limit)
    }

    pub fn in_dialect(dialect: Dialect, session: SessionId, limit: usize) -> Arc<Self> {
        Arc::new(Self { session, dialect, limit, state: Mutex::default() })
    }

    pub fn session(&self) -> SessionId {
        self.session
    }

    /// What is to be queued here.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What may follow from one action, in bytes of [`Outbox::cost`]: it always fits an
    /// outbox that is not half full, so that no reader is cut off for what it was answered.
    pub fn room_for_replies(&self) -> usize {
        self.limit / 2
    }

    /// What a client that catches up is queued at a time, beside all else.
    pub fn part(&self) -> usize {
        self.limit / 4
    }

    /// What a frame counts here.
    pub fn cost(frame: &Frame) -> usize {
        frame.len() + FRAME_OVERHEAD
    }

    /// Puts the greeting before everything that was sent to the session so far, and lets
    /// the writing begin.
    pub fn greet(&self, greeting: impl IntoIterator<Item = Frame>) {
        let mut state = self.lock();
        let early = std::mem::take(&mut state.frames);
        state.bytes = 0;
        state.greeted = true;
        for frame in greeting.into_iter().chain(early) {
            state.push(frame, self.limit);
        }
        state.wake();
    }

    /// Queues a frame of the session's own task, which writes before it rests and need not be
    /// woken. On a sealed outbox it is dropped: the connection is about to close.
    pub fn push(&self, frame: Frame) {
        self.lock().push(frame, self.limit);
    }

    /// Queues a frame of the session's own task that clients of some dialects do not know.
    pub fn hint(&self, frame: Frame) {
        if self.dialect.has_hints() {
            self.push(frame);
        }
    }

    /// Queues a frame of anybody else's, and tells whether it was.
    pub fn send(&self, frame: Frame) -> bool {
        let mut state = self.lock();
        let pushed = state.push(frame, self.limit);
        if pushed && state.frames.len() == 1 {
            state.wake();
        }
        pushed
    }

    /// Queues a frame of a hub, and leaves it to the hub to wake the session, where it must
    /// be: then its turn is awaited.
    pub fn feed(&self, frame: Frame, turns: &Turns) -> Option<Waker> {
        let bytes = Self::cost(&frame);
        let mut state = self.lock();
        if !state.push(frame, self.limit) {
            return None;
        }
        let must_wake = state.frames.len() == 1;
        let waker = state.waker.as_ref().filter(|_| must_wake).cloned();
        state.portion.add(bytes, waker.is_some(), turns);
        waker
    }

    /// Has [`Outbox::poll_frame`] tell when the next frame to be queued is taken out: an event
    /// that was pushed then. One at a time.
    pub fn follow_next(&self, pushed_at: PushedAt) {
        let mut state = self.lock();
        let frames_ahead = state.frames.len();
        if state.sealed.is_none() {
            state.followed.get_or_insert(Followed { frames_ahead, pushed_at });
        }
    }

    /// Closes the connection once everything queued before has been written; nothing is
    /// where there was no greeting. The first reason stays.
    pub fn seal(&self, reason: Close) {
        let mut state = self.lock();
        if state.sealed.is_none() {
            state.seal(reason);
        }
    }

    /// Closes as a gateway does that ends: the client is asked to come back.
    pub fn send_elsewhere(&self) {
        let after = RECONNECT_AFTER.mul_f64(rand::random_range(0.75..1.25));
        self.hint(protocol::reconnect(after));
        let reason = "the gateway is being restarted, come back";
        self.seal(Close::new(Close::SERVICE_RESTART, reason));
    }

    /// Asks the session to finish what it has read and to send its client elsewhere.
    pub fn drain(&self) {
        let mut state = self.lock();
        state.draining = true;
        state.wake();
    }

    /// Bytes that wait to be written, of [`Outbox::cost`].
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    pub fn sealed(&self) -> Option<Close> {
        self.lock().sealed.clone()
    }

    pub fn signal(&self) -> Signal {
        let state = self.lock();
        match state.sealed {
            Some(_) => Signal::Sealed,
            None if state.draining => Signal::Drain,
            None => Signal::None,
        }
    }

    /// Whether a reply of the greatest size might not fit any more.
    pub fn is_half_full(&self) -> bool {
        self.lock().bytes > self.limit / 2
    }

    /// The next frame to write; `None` when the outbox is sealed and empty. Its caller is
    /// woken by the next frame and by a seal, now and ever after. A frame that was followed
    /// comes with the time of its push.
    pub fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<(Frame, Option<PushedAt>)>> {
        let mut state = self.lock();
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        if state.greeted
            && let Some(frame) = state.frames.pop_front()
        {
            state.bytes -= Self::cost(&frame);
            state.taken += 1;
            let taken = state.taken;
            if let Some((_, waiting)) = state.awaited.take_if(|(last, _)| *last <= taken) {
                waiting.wake();
            }
            let all = state.frames.is_empty();
            state.portion.written(all);
            return Poll::Ready(Some((frame, state.followed_out())));
        }
        state.portion.written(true);
        if state.frames.is_empty() && state.frames.capacity() > IDLE_CAPACITY {
            state.frames = VecDeque::new();
        }
        if state.sealed.is_some() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    /// Waits until what is queued now has been taken out, or the outbox is sealed. For one at a
    /// time.
    pub async fn all_taken(&self) {
        let last = {
            let state = self.lock();
            state.taken + state.frames.len() as u64
        };
        poll_fn(|cx| self.poll_taken(last, cx)).await;
    }

    fn poll_taken(&self, last: u64, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.taken >= last || state.sealed.is_some() {
            return Poll::Ready(());
        }
        state.awaited = Some((last, cx.waker().clone()));
        Poll::Pending
    }

    /// To be called instead of [`Outbox::poll_frame`] when the socket is full.
    pub fn pass(&self) {
        self.lock().portion.passed();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn push(&mut self, frame: Frame, limit: usize) -> bool {
        if self.sealed.is_some() {
            return false;
        }
        self.bytes += Outbox::cost(&frame);
        if self.bytes > limit {
            self.frames = VecDeque::new();
            self.bytes = 0;
            self.followed = None;
            let reason = "slow consumer: too many bytes wait to be read";
            self.seal(Close::new(Close::SLOW_CONSUMER, reason));
            return false;
        }
        self.frames.push_back(frame);
        true
    }

    /// To be called for each frame that is taken out.
    fn followed_out(&mut self) -> Option<PushedAt> {
        let followed = self.followed.as_mut()?;
        match followed.frames_ahead.checked_sub(1) {
            Some(ahead) => {
                followed.frames_ahead = ahead;
                None
            }
            None => self.followed.take().map(|followed| followed.pushed_at),
        }
    }

    fn seal(&mut self, reason: Close) {
        self.sealed = Some(reason);
        self.portion.written(true);
        self.wake();
        if let Some((_, waiting)) = self.awaited.take() {
            waiting.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
