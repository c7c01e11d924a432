//! One client's life: a state machine that a single task drives over any stream and sink of
//! WebSocket messages. Reading, acting and writing go on beside each other, so a client
//! that does not read holds up nobody, not even its own actions.

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
use tokio_tungstenite::tungstenite::{
    Bytes, Error as SocketError, Message,
    error::{CapacityError, ProtocolError},
    protocol::CloseFrame,
};

use crate::{
    actions::Client,
    outbox::Signal,
    protocol::{self, CloseReason, Frame},
};

/// How many pings may go unanswered before the client counts as gone.
const MISSED_PINGS_MAX: u32 = 2;

/// How long a close may take: to flush what is queued, and for the client's answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a drained client is asked to wait before it connects elsewhere: enough to spread
/// those that were sent off together.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

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
    /// What the application was asked and has not answered yet. It has a deadline, and is
    /// to be awaited: what follows, follows in order.
    pub unfinished: Option<BoxFuture<'static, ()>>,
}

/// Lives one session. The socket is left to the caller, who knows how to let go of it.
pub async fn run<S>(socket: &mut S, client: Arc<Client>, settings: Arc<SessionSettings>) -> End
where
    S: Stream<Item = Result<Message, SocketError>> + Sink<Message, Error = SocketError> + Unpin,
{
    let now = Instant::now();
    let opening = client.clone().open(settings.ask_application_first, settings.ping_interval);
    let mut session = Session {
        socket,
        unread: VecDeque::new(),
        unread_bytes: 0,
        acting: Some(Box::pin(opening)),
        rechecking: None,
        recheck_due: false,
        unflushed: false,
        phase: Phase::Open,
        next_ping: now + settings.ping_interval,
        missed_pings: 0,
        next_recheck: now + jittered(settings.recheck_interval),
        timer: Box::pin(sleep_until(now + settings.ping_interval)),
        client,
        settings,
    };
    let reason = poll_fn(|cx| session.poll(cx)).await;
    End { reason, unfinished: session.acting.take() }
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
    rechecking: Option<BoxFuture<'static, ()>>,
    recheck_due: bool,
    /// Whether the socket holds what it has not yet written.
    unflushed: bool,
    next_ping: Instant,
    missed_pings: u32,
    next_recheck: Instant,
    timer: Pin<Box<Sleep>>,
}

enum Phase {
    Open,
    /// No more is read; what was read is carried out.
    Draining,
    /// The client closed: what it said before is still carried out, but it hears no more.
    ClosedByClient {
        reason: CloseReason,
        until: Instant,
    },
    /// The outbox is sealed: it is written out, then the close frame, then the client's
    /// answer is awaited.
    Closing {
        reason: CloseReason,
        close_sent: bool,
        answered: bool,
        until: Instant,
    },
    Ended(CloseReason),
}

impl<S> Session<'_, S>
where
    S: Stream<Item = Result<Message, SocketError>> + Sink<Message, Error = SocketError> + Unpin,
{
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
        if let Phase::Closing { answered, .. } = &mut self.phase {
            *answered |= !matches!(received, Some(Ok(ref message)) if !message.is_close());
            return;
        }
        match received {
            Some(Ok(Message::Text(text))) => self.queue(text),
            Some(Ok(Message::Binary(bytes))) => match Frame::try_from(bytes) {
                Ok(text) => self.queue(text),
                Err(_) => self.seal(CloseReason::INVALID_UTF8, "a binary message must be UTF-8"),
            },
            Some(Ok(Message::Close(frame))) => self.closed_by_client(frame),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => self.failed(&error),
            None => self.lost("connection lost"),
        }
    }

    fn queue(&mut self, text: Frame) {
        self.unread_bytes += text.len();
        self.unread.push_back(text);
    }

    fn closed_by_client(&mut self, frame: Option<CloseFrame>) {
        let reason = match frame {
            Some(CloseFrame { code, reason }) => CloseReason::new(code.into(), &reason),
            None => CloseReason::new(CloseReason::NO_STATUS, ""),
        };
        self.client.outbox().seal(reason.clone());
        self.unflushed = true;
        self.phase = Phase::ClosedByClient { reason, until: Instant::now() + CLOSE_TIMEOUT };
    }

    /// What the client did wrong on the socket decides the close code.
    fn failed(&mut self, error: &SocketError) {
        match error {
            SocketError::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
                let reason = format!("a message may have {max_size} bytes");
                self.seal(CloseReason::TOO_BIG, &reason);
            }
            SocketError::Capacity(_) => self.seal(CloseReason::TOO_BIG, "message too big"),
            SocketError::Utf8(_) => self.seal(CloseReason::INVALID_UTF8, "invalid UTF-8"),
            SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                self.lost("connection lost");
            }
            SocketError::Protocol(error) => {
                self.seal(CloseReason::PROTOCOL_ERROR, &error.to_string());
            }
            error => self.lost(&error.to_string()),
        }
    }

    /// At once, and not only when the turn comes: after an error there is nothing to read
    /// any more, which must not pass for a lost connection.
    fn seal(&mut self, code: u16, reason: &str) {
        self.client.outbox().seal(CloseReason::new(code, reason));
        self.start_closing();
    }

    fn start_closing(&mut self) {
        let Some(reason) = self.client.outbox().sealed() else { return };
        let until = Instant::now() + CLOSE_TIMEOUT;
        self.unread.clear();
        self.phase = Phase::Closing { reason, close_sent: false, answered: false, until };
    }

    fn lost(&mut self, reason: &str) {
        self.phase = Phase::Ended(CloseReason::new(CloseReason::ABNORMAL, reason));
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
            if rechecking.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.rechecking = None;
        }
        let start = self.recheck_due && matches!(self.phase, Phase::Open);
        if start {
            self.recheck_due = false;
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
        let mut socket = Pin::new(&mut *self.socket);
        while self.phase.writes() && socket.as_mut().poll_ready(cx)?.is_ready() {
            let message = match (self.client.outbox().poll_frame(cx), &mut self.phase) {
                (Poll::Ready(Some(frame)), _) => Message::Text(frame),
                (Poll::Ready(None), Phase::Closing { reason, close_sent, .. }) => {
                    *close_sent = true;
                    Message::Close(Some((&*reason).into()))
                }
                (Poll::Ready(None) | Poll::Pending, _) => break,
            };
            socket.as_mut().start_send(message)?;
            self.unflushed = true;
            wrote = true;
        }
        if self.unflushed && socket.poll_flush(cx)?.is_ready() {
            self.unflushed = false;
            wrote = true;
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
        if !self.reads() {
            // Its answers wait unread behind actions of its own.
            self.missed_pings = 0;
        }
        if self.missed_pings == MISSED_PINGS_MAX {
            return self.lost("pings went unanswered");
        }
        self.missed_pings += 1;
        let mut socket = Pin::new(&mut *self.socket);
        if let Poll::Ready(Ok(())) = socket.as_mut().poll_ready(cx) {
            // A failure shows again at the flush.
            self.unflushed = true;
            let _ = socket.start_send(Message::Ping(Bytes::new()));
        }
    }

    /// Moves to the next phase when this one has done its work.
    fn advance(&mut self) -> bool {
        let outbox = self.client.outbox();
        let idle = self.acting.is_none() && self.unread.is_empty();
        match &self.phase {
            Phase::Open | Phase::Draining if outbox.signal() == Signal::Sealed => {
                self.start_closing();
            }
            Phase::Open if outbox.signal() == Signal::Drain => self.phase = Phase::Draining,
            Phase::Draining if idle => {
                outbox.push(protocol::reconnect(jittered(RECONNECT_AFTER)));
                let reason = "the gateway is being restarted, come back";
                outbox.seal(CloseReason::new(CloseReason::SERVICE_RESTART, reason));
            }
            Phase::ClosedByClient { reason, .. } if idle && !self.unflushed => {
                self.phase = Phase::Ended(reason.clone());
            }
            Phase::Closing { reason, close_sent: true, answered: true, .. } if !self.unflushed => {
                self.phase = Phase::Ended(reason.clone());
            }
            _ => return false,
        }
        true
    }
}

impl Phase {
    fn writes(&self) -> bool {
        match self {
            Self::Open | Self::Draining => true,
            Self::Closing { close_sent, .. } => !close_sent,
            Self::ClosedByClient { .. } | Self::Ended(_) => false,
        }
    }
}

/// Spread, so that sessions that began together do not stay in step.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.75..1.25))
}
