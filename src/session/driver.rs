//! The task that a session lives in: a state machine over a [`Socket`]. Reading, acting and
//! writing go on beside each other, so a client that does not read holds up nobody, not even
//! its own actions.

mod closing;
mod keepalive;
mod rechecks;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, Sleep, sleep_until};

use self::{
    closing::Phase,
    keepalive::{Due, Keepalive, Silence},
    rechecks::Rechecks,
};
use super::{
    Session,
    socket::{Fault, Incoming, Outgoing, Socket},
};
use crate::{
    event::PushedAt,
    hub::outbox::Signal,
    protocol::{Close, Frame},
};

#[derive(Debug, Clone)]
pub(crate) struct DriverSettings {
    pub ask_application_first: bool,
    pub ping_interval: Duration,
    pub recheck_interval: Duration,
    /// Actions that may wait for their turn; while so many do, the socket is not read.
    pub max_unread_actions: usize,
    /// The same bound in bytes.
    pub max_unread_bytes: usize,
    /// Draws what an interval is multiplied by.
    pub jitter: fn() -> f64,
}

/// How a session ended.
pub struct End {
    pub close: Close,
    /// The client closed; then the code is its own choice.
    pub by_client: bool,
    /// What the application was asked and has not answered yet. It has a deadline, and is
    /// to be awaited: what follows, follows in order.
    pub unfinished: Option<BoxFuture<'static, ()>>,
}

/// Drives the session to its end. The socket is left to the caller, who knows how to let go
/// of it.
pub(crate) async fn drive<S: Socket>(
    socket: &mut S,
    session: Arc<Session>,
    settings: Arc<DriverSettings>,
) -> End {
    let mut driver = Driver::new(socket, session, settings);
    let close = poll_fn(|cx| driver.poll(cx)).await;
    End { close, by_client: driver.closed_by_client, unfinished: driver.acting.take() }
}

struct Driver<'a, S> {
    socket: &'a mut S,
    session: Arc<Session>,
    settings: Arc<DriverSettings>,
    phase: Phase,
    /// Messages read that wait for their turn.
    unread: VecDeque<Frame>,
    unread_bytes: usize,
    /// The one action under way; at first, the opening.
    acting: Option<BoxFuture<'static, ()>>,
    rechecks: Rechecks,
    /// What the client missed, on its way to it.
    replaying: Option<BoxFuture<'static, ()>>,
    /// Whether the socket holds what it has not yet written.
    unflushed: bool,
    /// When an event was pushed that the socket holds: it is timed until it is written.
    followed: Option<PushedAt>,
    closed_by_client: bool,
    keepalive: Keepalive,
    timer: Pin<Box<Sleep>>,
}

impl<'a, S: Socket> Driver<'a, S> {
    fn new(socket: &'a mut S, session: Arc<Session>, settings: Arc<DriverSettings>) -> Self {
        let now = Instant::now();
        let opening = session.clone().open(settings.ask_application_first, settings.ping_interval);
        let keepalive = Keepalive::new(settings.ping_interval, now);
        Self {
            socket,
            phase: Phase::Open,
            unread: VecDeque::new(),
            unread_bytes: 0,
            acting: Some(Box::pin(opening)),
            rechecks: Rechecks::new(settings.clone(), now),
            replaying: None,
            unflushed: false,
            followed: None,
            closed_by_client: false,
            timer: Box::pin(sleep_until(keepalive.next())),
            keepalive,
            session,
            settings,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Close> {
        loop {
            self.poll_read(cx);
            let mut progress = self.poll_act(cx);
            let open = matches!(self.phase, Phase::Open);
            progress |= self.rechecks.poll(cx, &self.session, open);
            progress |= open && self.poll_replay(cx);
            progress |= self.poll_write(cx);
            progress |= self.poll_timer(cx);
            progress |= self.advance();
            if let Phase::Ended(close) = &self.phase {
                return Poll::Ready(close.clone());
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    /// Whatever comes of what is read is done further down in the same round.
    fn poll_read(&mut self, cx: &mut Context<'_>) {
        while self.reads() {
            let Poll::Ready(received) = self.socket.poll_receive(cx) else { break };
            self.keepalive.heard();
            self.receive(received);
        }
    }

    fn reads(&self) -> bool {
        match self.phase {
            Phase::Open => {
                self.unread.len() < self.settings.max_unread_actions
                    && self.unread_bytes < self.settings.max_unread_bytes
            }
            Phase::Closing { answered, .. } => !answered,
            Phase::Draining | Phase::ClosedByClient { .. } | Phase::Ended(_) => false,
        }
    }

    fn receive(&mut self, received: Option<Result<Incoming, Fault>>) {
        if let Phase::Closing { .. } = self.phase {
            return self.receive_while_closing(received);
        }
        match received {
            Some(Ok(Incoming::Message(text))) => self.queue(text),
            Some(Ok(Incoming::Close(close))) => self.closed_by_client(close),
            Some(Ok(Incoming::Ping)) => self.unflushed = true,
            Some(Ok(Incoming::Pong)) => {}
            Some(Err(Fault::Violation(close))) => self.seal(close),
            Some(Err(Fault::Lost(problem))) => self.lost(&problem),
            None => self.lost("connection lost"),
        }
    }

    fn queue(&mut self, text: Frame) {
        self.unread_bytes += text.len();
        self.session.metrics().received_bytes.inc_by(text.len() as u64);
        self.unread.push_back(text);
    }

    /// Whether reading may go on that could not before.
    fn poll_act(&mut self, cx: &mut Context<'_>) -> bool {
        let read = self.reads();
        while let Some(acting) = self.acting() {
            if acting.as_mut().poll(cx).is_pending() {
                break;
            }
            self.acting = None;
            if self.session.take_recheck_due() {
                self.rechecks.on_new_auth();
            }
            if self.replaying.is_none() {
                self.replaying = self.next_replay();
            }
        }
        !read && self.reads()
    }

    /// One action at a time, and none while its replies could not be queued: a client that
    /// asks faster than it reads waits for itself. None behind one that sent the client away.
    fn acting(&mut self) -> Option<&mut BoxFuture<'static, ()>> {
        let acts = match self.phase {
            Phase::Open | Phase::Draining => self.session.outbox().signal() != Signal::Sealed,
            Phase::ClosedByClient { .. } => true,
            Phase::Closing { .. } | Phase::Ended(_) => false,
        };
        if self.acting.is_none()
            && acts
            && !self.session.outbox().is_half_full()
            && let Some(text) = self.unread.pop_front()
        {
            self.unread_bytes -= text.len();
            self.acting = Some(Box::pin(self.session.clone().handle(text)));
        }
        self.acting.as_mut()
    }

    /// One at a time, beside actions. A client that is to leave goes in the midst of it.
    fn poll_replay(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(replaying) = &mut self.replaying else { return false };
        let over = replaying.as_mut().poll(cx).is_ready();
        if over {
            self.replaying = self.next_replay();
        }
        over
    }

    fn next_replay(&self) -> Option<BoxFuture<'static, ()>> {
        let next = self.session.next_replay()?;
        Some(Box::pin(self.session.clone().replay(next)))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        match self.try_write(cx) {
            // Room in the outbox matters to an action that waits for it, and to an end.
            Ok(wrote) => wrote && !(self.unread.is_empty() && matches!(self.phase, Phase::Open)),
            Err(error) => {
                self.lost(&error.to_string());
                true
            }
        }
    }

    /// Feeds everything that waits, then flushes once.
    fn try_write(&mut self, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let mut wrote = false;
        let mut sent_bytes = 0;
        while self.phase.writes() {
            if self.socket.poll_ready(cx)?.is_pending() {
                self.session.outbox().pass();
                break;
            }
            let message = match (self.session.outbox().poll_frame(cx), &mut self.phase) {
                (Poll::Ready(Some((frame, followed))), _) => {
                    sent_bytes += frame.len();
                    self.followed = self.followed.or(followed);
                    Outgoing::Message(frame)
                }
                (Poll::Ready(None), Phase::Closing { close, close_sent, .. }) => {
                    *close_sent = true;
                    Outgoing::Close(close.clone())
                }
                (Poll::Ready(None) | Poll::Pending, _) => break,
            };
            self.socket.send(message)?;
            self.unflushed = true;
            self.keepalive.wrote();
            wrote = true;
        }
        if sent_bytes > 0 {
            self.session.metrics().sent_bytes.inc_by(sent_bytes as u64);
        }
        if self.unflushed && self.socket.poll_flush(cx)?.is_ready() {
            self.unflushed = false;
            wrote = true;
            if let Some(took) = self.followed.take().and_then(PushedAt::age) {
                self.session.metrics().publish_to_write.observe(took);
            }
        }
        Ok(wrote)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let wake_at = match self.phase {
            Phase::Open => self.keepalive.next().min(self.rechecks.next()),
            Phase::Closing { until, .. } | Phase::ClosedByClient { until, .. } => until,
            Phase::Draining | Phase::Ended(_) => return false,
        };
        if self.timer.deadline() != wake_at {
            self.timer.as_mut().reset(wake_at);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        let now = Instant::now();
        if let Phase::Closing { close, until, .. } | Phase::ClosedByClient { close, until } =
            &self.phase
        {
            if *until <= now {
                self.phase = Phase::Ended(close.clone());
            }
            return true;
        }
        self.rechecks.on_time(now);
        if self.keepalive.next() <= now {
            self.keep_alive(now, cx);
        }
        true
    }

    fn keep_alive(&mut self, now: Instant, cx: &mut Context<'_>) {
        let silence = if self.session.outbox().is_half_full() {
            Silence::Behind
        } else if self.reads() {
            Silence::Own
        } else {
            Silence::Unread
        };
        match self.keepalive.due(now, silence) {
            Due::Gone => self.lost("pings went unanswered"),
            Due::NotReading => {
                let reason = "slow consumer: it does not read";
                self.seal(Close::new(Close::SLOW_CONSUMER, reason));
            }
            Due::Ping => {
                if let Poll::Ready(Ok(())) = self.socket.poll_ready(cx) {
                    // A failure shows again at the flush.
                    self.unflushed = true;
                    let _ = self.socket.send(Outgoing::Ping);
                }
            }
        }
    }
}

impl DriverSettings {
    /// Spread, so that sessions that began together do not stay in step.
    fn jittered(&self, interval: Duration) -> Duration {
        interval.mul_f64((self.jitter)())
    }
}
