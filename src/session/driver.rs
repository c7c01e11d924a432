//! One client's life: a state machine that a single task drives over any stream and sink of
//! WebSocket messages. Reading, acting and writing go on beside each other, so a client
//! that does not read holds up nobody, not even its own actions.

mod closing;

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Sink, Stream, future::BoxFuture};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::{Bytes, Error as SocketError, Message};

use self::closing::Phase;
pub use self::closing::fault;
use crate::{
    event::PushedAt,
    protocol::{CloseReason, Frame},
    session::actions::Client,
};

/// How many pings may go unanswered before the client counts as gone.
const MISSED_PINGS_MAX: u32 = 2;

/// A right that was taken away must not live on until the next re-check because one failed.
const RECHECK_RETRY: Duration = Duration::from_secs(2);

/// What carries a client's messages.
pub trait Socket:
    Stream<Item = Result<Message, SocketError>> + Sink<Message, Error = SocketError> + Unpin
{
}

impl<S> Socket for S where
    S: Stream<Item = Result<Message, SocketError>> + Sink<Message, Error = SocketError> + Unpin
{
}

#[derive(Debug, Clone)]
pub struct SessionSettings {
    pub ask_application_first: bool,
    pub ping_interval: Duration,
    pub recheck_interval: Duration,
    /// Actions that may wait for their turn; while so many do, the socket is not read.
    pub max_unread_actions: usize,
    /// The same bound in bytes.
    pub max_unread_bytes: usize,
}

/// How a session ended.
pub struct End {
    pub reason: CloseReason,
    /// The client closed; then the code is its own choice.
    pub by_client: bool,
    /// What the application was asked and has not answered yet. It has a deadline, and is
    /// to be awaited: what follows, follows in order.
    pub unfinished: Option<BoxFuture<'static, ()>>,
}

/// Lives one session. The socket is left to the caller, who knows how to let go of it.
pub async fn run<S: Socket>(
    socket: &mut S,
    client: Arc<Client>,
    settings: Arc<SessionSettings>,
) -> End {
    let now = Instant::now();
    let opening = client.clone().open(settings.ask_application_first, settings.ping_interval);
    let mut session = Session {
        socket,
        unread: VecDeque::new(),
        unread_bytes: 0,
        acting: Some(Box::pin(opening)),
        rechecking: None,
        recheck_due: false,
        auth_changed: false,
        unflushed: false,
        followed: None,
        closed_by_client: false,
        phase: Phase::Open,
        next_ping: now + settings.ping_interval,
        missed_pings: 0,
        wrote_since_ping: false,
        next_recheck: now + jittered(settings.recheck_interval),
        timer: Box::pin(sleep_until(now + settings.ping_interval)),
        client,
        settings,
    };
    let reason = poll_fn(|cx| session.poll(cx)).await;
    let by_client = session.closed_by_client;
    End { reason, by_client, unfinished: session.acting.take() }
}

struct Session<'a, S> {
    socket: &'a mut S,
    client: Arc<Client>,
    settings: Arc<SessionSettings>,
    phase: Phase,
    /// Messages read that wait for their turn.
    unread: VecDeque<Frame>,
    unread_bytes: usize,
    /// The one action under way; at first, the opening.
    acting: Option<BoxFuture<'static, ()>>,
    /// Answers whether the application has answered.
    rechecking: Option<BoxFuture<'static, bool>>,
    recheck_due: bool,
    /// What is or will be asked follows a change of auth, and must be answered.
    auth_changed: bool,
    /// Whether the socket holds what it has not yet written.
    unflushed: bool,
    /// When an event was pushed that the socket holds: it is timed until it is written.
    followed: Option<PushedAt>,
    closed_by_client: bool,
    next_ping: Instant,
    missed_pings: u32,
    wrote_since_ping: bool,
    next_recheck: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S: Socket> Session<'_, S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            let mut progress = self.poll_read(cx);
            progress |= self.poll_act(cx);
            progress |= self.poll_recheck(cx);
            progress |= self.poll_write(cx);
            progress |= self.poll_timer(cx);
            progress |= self.advance();
            if let Phase::Ended(reason) = &self.phase {
                return Poll::Ready(reason.clone());
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while self.reads() {
            let Poll::Ready(received) = Pin::new(&mut *self.socket).poll_next(cx) else { break };
            progress = true;
            self.missed_pings = 0;
            self.receive(received);
        }
        progress
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

    fn receive(&mut self, received: Option<Result<Message, SocketError>>) {
        if let Phase::Closing { .. } = self.phase {
            return self.receive_while_closing(received);
        }
        match received {
            Some(Ok(Message::Text(text))) => self.queue(text),
            Some(Ok(Message::Binary(bytes))) => match Frame::try_from(bytes) {
                Ok(text) => self.queue(text),
                Err(_) => self.seal(CloseReason::INVALID_UTF8, "a binary message must be UTF-8"),
            },
            Some(Ok(Message::Close(frame))) => self.closed_by_client(frame),
            // Its answer waits in the socket.
            Some(Ok(Message::Ping(_))) => self.unflushed = true,
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => self.failed(&error),
            None => self.lost("connection lost"),
        }
    }

    fn queue(&mut self, text: Frame) {
        self.unread_bytes += text.len();
        self.client.metrics().received_bytes.inc_by(text.len() as u64);
        self.unread.push_back(text);
    }

    /// One action at a time, and none while its replies could not be queued: a client that
    /// asks faster than it reads waits for itself.
    fn poll_act(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        if let Some(acting) = &mut self.acting {
            if acting.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.acting = None;
            if self.client.take_recheck_due() {
                // What is being asked is about an auth that is no more.
                self.rechecking = None;
                self.recheck_due = true;
                self.auth_changed = true;
            }
            progress = true;
        }
        let acts = !matches!(self.phase, Phase::Closing { .. } | Phase::Ended(_));
        if acts
            && !self.client.outbox().is_half_full()
            && let Some(text) = self.unread.pop_front()
        {
            self.unread_bytes -= text.len();
            self.acting = Some(Box::pin(self.client.clone().perform(text)));
            progress = true;
        }
        progress
    }

    fn poll_recheck(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(rechecking) = &mut self.rechecking {
            let Poll::Ready(answered) = rechecking.as_mut().poll(cx) else { return false };
            self.rechecking = None;
            if answered {
                self.auth_changed = false;
            } else if self.auth_changed {
                let retry = Instant::now() + jittered(RECHECK_RETRY);
                self.next_recheck = self.next_recheck.min(retry);
            }
        }
        let start = self.recheck_due && matches!(self.phase, Phase::Open);
        if start {
            self.recheck_due = false;
            self.next_recheck = Instant::now() + jittered(self.settings.recheck_interval);
            self.rechecking = Some(Box::pin(self.client.clone().recheck()));
        }
        start
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
    fn try_write(&mut self, cx: &mut Context<'_>) -> Result<bool, SocketError> {
        let mut wrote = false;
        let mut sent_bytes = 0;
        let mut socket = Pin::new(&mut *self.socket);
        while self.phase.writes() {
            if socket.as_mut().poll_ready(cx)?.is_pending() {
                self.client.outbox().pass();
                break;
            }
            let message = match (self.client.outbox().poll_frame(cx), &mut self.phase) {
                (Poll::Ready(Some((frame, followed))), _) => {
                    sent_bytes += frame.len();
                    self.followed = self.followed.or(followed);
                    Message::Text(frame)
                }
                (Poll::Ready(None), Phase::Closing { reason, close_sent, .. }) => {
                    *close_sent = true;
                    Message::Close(Some((&*reason).into()))
                }
                (Poll::Ready(None) | Poll::Pending, _) => break,
            };
            socket.as_mut().start_send(message)?;
            self.unflushed = true;
            self.wrote_since_ping = true;
            wrote = true;
        }
        if sent_bytes > 0 {
            self.client.metrics().sent_bytes.inc_by(sent_bytes as u64);
        }
        if self.unflushed && socket.poll_flush(cx)?.is_ready() {
            self.unflushed = false;
            wrote = true;
            if let Some(took) = self.followed.take().and_then(PushedAt::age) {
                self.client.metrics().publish_to_write.observe(took);
            }
        }
        Ok(wrote)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let wake_at = match self.phase {
            Phase::Open => self.next_ping.min(self.next_recheck),
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
        if let Phase::Closing { reason, until, .. } | Phase::ClosedByClient { reason, until } =
            &self.phase
        {
            if *until <= now {
                self.phase = Phase::Ended(reason.clone());
            }
            return true;
        }
        if self.next_recheck <= now {
            self.recheck_due = true;
            self.next_recheck = now + jittered(self.settings.recheck_interval);
        }
        if self.next_ping <= now {
            self.next_ping = now + self.settings.ping_interval;
            self.ping(cx);
        }
        true
    }

    fn ping(&mut self, cx: &mut Context<'_>) {
        // A client that is behind need only go on reading: its answers may stand behind all
        // that waits for it. One that is not read waits for the application.
        let behind = self.client.outbox().is_half_full();
        let alive = if behind { self.wrote_since_ping } else { !self.reads() };
        self.wrote_since_ping = false;
        if alive {
            self.missed_pings = 0;
        }
        if self.missed_pings == MISSED_PINGS_MAX {
            return match behind {
                true => self.seal(CloseReason::SLOW_CONSUMER, "slow consumer: it does not read"),
                false => self.lost("pings went unanswered"),
            };
        }
        self.missed_pings += 1;
        let mut socket = Pin::new(&mut *self.socket);
        if let Poll::Ready(Ok(())) = socket.as_mut().poll_ready(cx) {
            // A failure shows again at the flush.
            self.unflushed = true;
            let _ = socket.start_send(Message::Ping(Bytes::new()));
        }
    }
}

/// Spread, so that sessions that began together do not stay in step.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.75..1.25))
}
