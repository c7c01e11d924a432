//! What each client message means: the built-in actions, and the forwarded ones with
//! everything that the application's answer brings about.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Session, errors::action_error};
use crate::{
    application::{Action, ActionReply, ApplicationError},
    metrics::{ActionKind, Ended, Rpc},
    protocol::{self, BuiltIn, ClientError, ClientMessage, Close, Frame, Outcome, Tag},
    time::UnixTime,
};

impl Session {
    /// Carries out one message. Whatever comes of it is queued in the outbox: at least one
    /// reply where the message has a tag.
    pub async fn handle(self: Arc<Self>, text: Frame) {
        let since = Instant::now();
        let count = |kind, name, outcome: Outcome, cause| {
            self.metrics().action(Ended { kind, name, outcome: outcome.into(), cause, since });
        };
        let message = match self.outbox.dialect().parse(&text) {
            Ok(message) => message,
            Err(invalid) => {
                let outcome = self.tell_error(invalid.tag, &invalid.error);
                return count(ActionKind::Gateway, None, outcome, None);
            }
        };
        let (kind, result) = match BuiltIn::named(&message.action) {
            Some(BuiltIn::Subscribe) => (ActionKind::Subscribe, self.subscribe(&message).await),
            Some(BuiltIn::Unsubscribe) => (ActionKind::Gateway, self.unsubscribe(&message)),
            Some(BuiltIn::ListSubscriptions) => {
                self.list_subscriptions(message.tag);
                (ActionKind::Gateway, Ok(Outcome::Ok))
            }
            Some(BuiltIn::Ping) => {
                self.pong(message.tag);
                (ActionKind::Gateway, Ok(Outcome::Ok))
            }
            None => (ActionKind::Application, self.forward(&message).await),
        };
        let cause = result.as_ref().err().and_then(ClientError::cause).map(str::to_owned);
        let outcome = result.unwrap_or_else(|error| self.fail(kind, &message, &error));
        count(kind, Some(&message.action), outcome, cause.as_deref());
    }

    /// Says where the client is by now: it may have heard nothing for long.
    fn pong(&self, tag: Option<&Tag>) {
        let pong = |positions: &_| protocol::pong(tag, UnixTime::now(), positions);
        self.services.hub.tell_positions(self.live_exchanges(), &self.outbox, pong);
    }

    /// Told, or sent away to come back and ask again: one that would not ask otherwise, and
    /// without the answer is nobody, or not subscribed.
    fn fail(&self, kind: ActionKind, message: &ClientMessage<'_>, error: &ClientError) -> Outcome {
        let begins = kind == ActionKind::Subscribe || self.snapshot().auth.is_none();
        if begins && self.sends_away(error) {
            return Outcome::Error(error.code());
        }
        let dialect = self.outbox.dialect();
        for _ in 1..dialect.times(message, error) {
            if self.hears_no_more() {
                break;
            }
            self.tell_error(message.tag, error);
        }
        self.tell_error(message.tag, error)
    }

    /// Whether the client is sent away instead of being told of the error.
    pub(super) fn sends_away(&self, error: &ClientError) -> bool {
        let sends_away = self.outbox.dialect().asks_when_connected(error);
        if sends_away {
            self.outbox.seal(Close::try_later());
        }
        sends_away
    }

    /// Every error that a client is told goes through here.
    pub(super) fn tell_error(&self, tag: Option<&Tag>, error: &ClientError) -> Outcome {
        self.outbox.push(self.outbox.dialect().error(tag, error));
        let code = error.code();
        self.metrics().error(code.into());
        Outcome::Error(code)
    }

    async fn forward(&self, message: &ClientMessage<'_>) -> Result<Outcome, ClientError> {
        let snapshot = self.snapshot();
        let action = Action {
            name: &message.action,
            payload: message.payload,
            tag: message.tag.map(Tag::get),
        };
        let reply = self.services.application.handle_action(&snapshot, action).await;
        let applied = match reply {
            Ok(reply) => self.apply(reply, message.tag).await.inspect_err(|error| {
                self.complain(Rpc::HandleAction, Some(&message.action), error);
            }),
            Err(error) => Err(error),
        };
        applied.map(|()| Outcome::Ok).map_err(|error| {
            tracing::debug!(session = %snapshot.id, %error, "action failed");
            let cause = error.problem();
            action_error(error).because(cause)
        })
    }

    /// All of the reply, or nothing where it breaks a rule.
    async fn apply(&self, reply: ActionReply, tag: Option<&Tag>) -> Result<(), ApplicationError> {
        let frames = self.frames(&reply.events, tag)?;
        self.update(reply.update)?;
        for topic in &reply.unsubscribe {
            self.end_subscription(topic);
        }
        self.add_subscriptions(&reply.subscribe).await;
        frames.into_iter().for_each(|frame| self.outbox.push(frame));
        if let (Some(tag), true) = (tag, reply.events.is_empty()) {
            self.outbox.hint(protocol::done(tag));
        }
        if let Some(close) = reply.disconnect {
            self.outbox.seal(close);
        }
        Ok(())
    }
}
