//! What each client message means: the built-in actions, and the forwarded ones with
//! everything that the application's answer brings about.

mod subscriptions;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use self::subscriptions::Subscriptions;
use crate::{
    application::{
        Action, ActionHandler, ActionReply, Admission, AuthUpdate, HandlerError, SessionInfo,
        SessionUpdate,
    },
    complaints::{Complaint, Complaints},
    event::EventBody,
    hub::{Hub, outbox::Outbox},
    metrics::{ActionKind, CallStatus, Ended, Metrics, Rpc},
    protocol::{self, ClientError, ClientMessage, CloseReason, ErrorCode, Frame, Outcome, Tag},
    time::UnixTime,
};

/// What auth and data may hold together, in bytes: they travel with every call.
const SESSION_STATE_MAX: usize = 16 * 1024;

/// What all clients of one runtime share.
pub struct Services {
    pub hub: Arc<Hub>,
    pub handler: Arc<dyn ActionHandler>,
    pub max_subscriptions: usize,
    /// Bounds the JSON of one event, in bytes.
    pub max_event_size: usize,
    /// Shared with the handler, which complains of the calls themselves.
    pub complaints: Complaints,
    pub metrics: Arc<Metrics>,
}

/// One session as its actions see it: who it is, what it is subscribed to.
pub struct Client {
    services: Arc<Services>,
    outbox: Arc<Outbox>,
    opened: Instant,
    state: Mutex<State>,
}

struct State {
    session: Arc<SessionInfo>,
    /// The client was let in. Of one that was not, the application hears no more.
    admitted: bool,
    /// Grows with every change of auth: an answer to an older question counts no more.
    auth_version: u64,
    recheck_due: bool,
    subscriptions: Subscriptions,
}

impl Client {
    pub fn new(services: Arc<Services>, outbox: Arc<Outbox>, session: SessionInfo) -> Arc<Self> {
        let state = State {
            session: Arc::new(session),
            admitted: false,
            auth_version: 0,
            recheck_due: false,
            subscriptions: Subscriptions::default(),
        };
        Arc::new(Self { services, outbox, opened: Instant::now(), state: Mutex::new(state) })
    }

    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub fn metrics(&self) -> &Metrics {
        &self.services.metrics
    }

    pub fn opened(&self) -> Instant {
        self.opened
    }

    pub fn subscriptions(&self) -> usize {
        self.lock().subscriptions.len()
    }

    /// Who it is by now.
    pub fn session(&self) -> Arc<SessionInfo> {
        self.lock().session.clone()
    }

    /// Greets the client, after the application has let it in where it wants to be asked.
    pub async fn open(self: Arc<Self>, ask_application: bool, ping_interval: Duration) {
        let session = self.session();
        let welcome = protocol::welcome(session.id, ping_interval);
        if !ask_application {
            self.lock().admitted = true;
            return self.outbox.greet([welcome]);
        }
        match self.services.handler.session_opened(&session).await {
            Ok(Admission::Refuse(reason)) => self.outbox.seal(reason),
            Ok(Admission::Accept { update, events }) => {
                let frames = self.frames(&events, None);
                match frames.and_then(|frames| self.update(update).map(|()| frames)) {
                    Ok(frames) => {
                        self.lock().admitted = true;
                        self.outbox.greet([welcome].into_iter().chain(frames));
                    }
                    Err(error) => {
                        self.complain(Rpc::SessionOpened, None, &error);
                        self.refuse();
                    }
                }
            }
            Err(_) => self.refuse(),
        }
    }

    /// Nobody is let in unasked.
    fn refuse(&self) {
        let reason = "the application cannot be asked, try again later";
        self.outbox.seal(CloseReason::new(CloseReason::TRY_LATER, reason));
    }

    /// Carries out one message. Whatever comes of it is queued in the outbox: at least one
    /// reply where the message has a tag.
    pub async fn perform(self: Arc<Self>, text: Frame) {
        let since = Instant::now();
        let count = |kind, name, outcome: Outcome, cause| {
            self.metrics().action(Ended { kind, name, outcome: outcome.into(), cause, since });
        };
        let message = match ClientMessage::parse(&text) {
            Ok(message) => message,
            Err(invalid) => {
                let outcome = self.tell_error(invalid.tag, &invalid.error);
                return count(ActionKind::Gateway, None, outcome, None);
            }
        };
        let (kind, result) = match &*message.action {
            "Subscribe" => (ActionKind::Subscribe, self.subscribe(&message).await),
            "Unsubscribe" => (ActionKind::Gateway, self.unsubscribe(&message)),
            "ListSubscriptions" => {
                self.list_subscriptions(message.tag);
                (ActionKind::Gateway, Ok(Outcome::Ok))
            }
            "Ping" => {
                self.outbox.push(protocol::pong(message.tag, UnixTime::now()));
                (ActionKind::Gateway, Ok(Outcome::Ok))
            }
            _ => (ActionKind::Application, self.forward(&message).await),
        };
        let cause = result.as_ref().err().and_then(ClientError::cause).map(str::to_owned);
        let outcome = result.unwrap_or_else(|error| self.tell_error(message.tag, &error));
        count(kind, Some(&message.action), outcome, cause.as_deref());
    }

    /// Every error that a client is told goes through here.
    fn tell_error(&self, tag: Option<&Tag>, error: &ClientError) -> Outcome {
        self.outbox.push(protocol::error(tag, error));
        let code = error.code();
        self.metrics().error(code.into());
        Outcome::Error(code)
    }

    async fn forward(&self, message: &ClientMessage<'_>) -> Result<Outcome, ClientError> {
        let session = self.session();
        let action = Action {
            name: &message.action,
            payload: message.payload,
            tag: message.tag.map(Tag::get),
        };
        let reply = self.services.handler.handle_action(&session, action).await;
        let applied = match reply {
            Ok(reply) => self.apply(reply, message.tag).inspect_err(|error| {
                self.complain(Rpc::HandleAction, Some(&message.action), error);
            }),
            Err(error) => Err(error),
        };
        applied.map(|()| Outcome::Ok).map_err(|error| {
            tracing::debug!(session = %session.id, %error, "action failed");
            let cause = error.problem();
            action_error(error).because(cause)
        })
    }

    /// Of a reply that was read, and cannot be carried out.
    fn complain(&self, rpc: Rpc, action: Option<&str>, error: &HandlerError) {
        self.services.complaints.hear(Complaint {
            rpc: Some(rpc.to_string()),
            action: action.map(Into::into),
            session: Some(self.outbox.session()),
            status: Some(CallStatus::Ok.into()),
            problem: Some(error.problem()),
            ..Complaint::new(Complaint::BROKEN_REPLY)
        });
    }

    /// All of the reply, or nothing where it breaks a rule.
    fn apply(&self, reply: ActionReply, tag: Option<&Tag>) -> Result<(), HandlerError> {
        let frames = self.frames(&reply.events, tag)?;
        self.update(reply.update)?;
        for topic in &reply.unsubscribe {
            self.end_subscription(topic);
        }
        for (exchange, routing_key) in &reply.subscribe {
            self.add_subscription(exchange, routing_key);
        }
        frames.into_iter().for_each(|frame| self.outbox.push(frame));
        if let (Some(tag), true) = (tag, reply.events.is_empty()) {
            self.outbox.push(protocol::done(tag));
        }
        if let Some(reason) = reply.disconnect {
            self.outbox.seal(reason);
        }
        Ok(())
    }

    /// The application's events as the client gets them, none too large, nor all together.
    fn frames(&self, events: &[EventBody], tag: Option<&Tag>) -> Result<Vec<Frame>, HandlerError> {
        let max = self.services.max_event_size;
        let mut room = self.outbox.room_for_replies();
        let mut frames = Vec::with_capacity(events.len());
        for event in events {
            let size = event.payload.get().len();
            if size > max {
                let message = format!("an event of {size} bytes, {max} is the most");
                return Err(HandlerError::Failed(message));
            }
            let frame = protocol::event(&event.name, tag, &event.payload);
            room = room.checked_sub(Outbox::cost(&frame)).ok_or_else(|| {
                let all = events.len();
                HandlerError::Failed(format!("{all} events, more than half an outbox holds"))
            })?;
            frames.push(frame);
        }
        Ok(frames)
    }

    fn update(&self, update: SessionUpdate) -> Result<(), HandlerError> {
        let auth_changed = update.auth != AuthUpdate::Keep;
        if !auth_changed && update.set_data.is_empty() && update.remove_data.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        let mut session = SessionInfo::clone(&state.session);
        match update.auth {
            AuthUpdate::Keep => {}
            AuthUpdate::Set(auth) => session.auth = Some(auth),
            AuthUpdate::Clear => session.auth = None,
        }
        session.data.extend(update.set_data);
        for name in &update.remove_data {
            session.data.remove(name);
        }
        let size = session.auth.as_ref().map_or(0, |auth| auth.len())
            + session.data.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if size > SESSION_STATE_MAX {
            let message =
                format!("auth and data would be {size} bytes, {SESSION_STATE_MAX} is the most");
            return Err(HandlerError::Failed(message));
        }
        state.session = Arc::new(session);
        if auth_changed {
            state.auth_version += 1;
            state.recheck_due = true;
        }
        Ok(())
    }

    /// Whether auth has changed since this was last asked.
    pub fn take_recheck_due(&self) -> bool {
        std::mem::take(&mut self.lock().recheck_due)
    }

    /// The session is over: nothing is delivered to it any more.
    pub fn leave(&self, reason: CloseReason) {
        self.outbox.seal(reason);
        let topics = self.lock().subscriptions.take_topics();
        for topic in topics {
            self.services.hub.unsubscribe(&topic, self.outbox.session());
        }
    }

    /// Tells the application, if it can be told. What it had been asked is answered by now,
    /// and may have added subscriptions.
    pub async fn close(&self, reason: CloseReason, lived: Duration) {
        self.leave(reason.clone());
        let (session, admitted) = {
            let state = self.lock();
            (state.session.clone(), state.admitted)
        };
        if admitted {
            self.services.handler.session_closed(&session, &reason, lived).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a failed `HandleAction` means to the client. `retryable` only where nothing was
/// sent, or the application says so in its own words: a status may be its runtime's, which
/// does not know how far the handler got.
fn action_error(error: HandlerError) -> ClientError {
    match error {
        HandlerError::Refused { code, details, retryable } => {
            ClientError::by_application(code, details, retryable)
        }
        HandlerError::Unimplemented => ClientError::new(ErrorCode::InvalidAction),
        HandlerError::Unauthenticated => ClientError::new(ErrorCode::AuthRequired),
        HandlerError::PermissionDenied => ClientError::new(ErrorCode::PermissionDenied),
        HandlerError::InvalidPayload(message) => {
            ClientError::new(ErrorCode::InvalidPayload).message(message)
        }
        HandlerError::Timeout => ClientError::outcome_unknown(ErrorCode::ActionTimeout),
        HandlerError::Unreachable(_) => ClientError::retryable(ErrorCode::ApplicationUnavailable),
        HandlerError::Lost(_) | HandlerError::Unavailable(_) => {
            ClientError::outcome_unknown(ErrorCode::ApplicationUnavailable)
        }
        HandlerError::Busy => ClientError::busy(),
        HandlerError::Exhausted(_) => ClientError::outcome_unknown(ErrorCode::Busy),
        HandlerError::Failed(_) => ClientError::outcome_unknown(ErrorCode::InternalError),
    }
}
