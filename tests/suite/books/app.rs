//! An application whose every answer waits until the test gives it.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use myxi::{
    application::{
        Action, ActionHandler, ActionReply, Admission, CheckReason, Decision, HandlerError,
        SessionInfo,
    },
    event::Topic,
    ids::SessionId,
    protocol::CloseReason,
};
use tokio::sync::oneshot;

#[derive(Default)]
pub struct App {
    questions: Mutex<Vec<Question>>,
    /// The sessions it was told the end of.
    closed: Mutex<Vec<SessionId>>,
}

pub struct Question {
    pub session: SessionId,
    pub asked: Asked,
    pub answer: oneshot::Sender<Given>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Action,
    Subscribe(Vec<Topic>),
    Recheck(Vec<Topic>),
}

pub enum Given {
    Reply(ActionReply),
    Decisions(Vec<Decision>),
    Failure,
}

impl App {
    pub fn questions(&self) -> MutexGuard<'_, Vec<Question>> {
        self.questions.lock().unwrap()
    }

    pub fn closed(&self) -> Vec<SessionId> {
        self.closed.lock().unwrap().clone()
    }

    async fn ask(&self, session: SessionId, asked: Asked) -> Result<Given, HandlerError> {
        let (answer, answered) = oneshot::channel();
        self.questions().push(Question { session, asked, answer });
        match answered.await {
            Ok(Given::Failure) | Err(_) => Err(HandlerError::Timeout),
            Ok(given) => Ok(given),
        }
    }
}

#[async_trait]
impl ActionHandler for App {
    async fn handle_action(
        &self,
        session: &SessionInfo,
        _: Action<'_>,
    ) -> Result<ActionReply, HandlerError> {
        match self.ask(session.id, Asked::Action).await? {
            Given::Reply(reply) => Ok(reply),
            _ => panic!("the test gave a wrong answer"),
        }
    }

    async fn check_subscriptions(
        &self,
        session: &SessionInfo,
        topics: &[Topic],
        reason: CheckReason,
    ) -> Result<Vec<Decision>, HandlerError> {
        let asked = match reason {
            CheckReason::Subscribe => Asked::Subscribe(topics.to_vec()),
            CheckReason::Recheck => Asked::Recheck(topics.to_vec()),
        };
        match self.ask(session.id, asked).await? {
            Given::Decisions(decisions) => Ok(decisions),
            _ => panic!("the test gave a wrong answer"),
        }
    }

    async fn session_opened(&self, _: &SessionInfo) -> Result<Admission, HandlerError> {
        panic!("nobody asked for this call")
    }

    async fn session_closed(&self, session: &SessionInfo, _: &CloseReason, _: Duration) {
        self.closed.lock().unwrap().push(session.id);
    }
}
