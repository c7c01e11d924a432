//! An application whose every answer waits until the test gives it.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use myxi::internals::{
    application::{
        Action, ActionReply, Admission, Application, ApplicationError, CheckReason, Decision,
        SessionSnapshot,
    },
    event::Topic,
    ids::SessionId,
    protocol::Close,
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

    async fn ask(&self, session: SessionId, asked: Asked) -> Result<Given, ApplicationError> {
        let (answer, answered) = oneshot::channel();
        self.questions().push(Question { session, asked, answer });
        match answered.await {
            Ok(Given::Failure) | Err(_) => Err(ApplicationError::Timeout),
            Ok(given) => Ok(given),
        }
    }
}

#[async_trait]
impl Application for App {
    async fn handle_action(
        &self,
        session: &SessionSnapshot,
        _: Action<'_>,
    ) -> Result<ActionReply, ApplicationError> {
        match self.ask(session.id, Asked::Action).await? {
            Given::Reply(reply) => Ok(reply),
            _ => panic!("the test gave a wrong answer"),
        }
    }

    async fn check_subscriptions(
        &self,
        session: &SessionSnapshot,
        topics: &[Topic],
        reason: CheckReason,
    ) -> Result<Vec<Decision>, ApplicationError> {
        let asked = match reason {
            CheckReason::Subscribe | CheckReason::Resume => Asked::Subscribe(topics.to_vec()),
            CheckReason::Recheck => Asked::Recheck(topics.to_vec()),
        };
        match self.ask(session.id, asked).await? {
            Given::Decisions(decisions) => Ok(decisions),
            _ => panic!("the test gave a wrong answer"),
        }
    }

    async fn session_opened(&self, _: &SessionSnapshot) -> Result<Admission, ApplicationError> {
        panic!("nobody asked for this call")
    }

    async fn session_closed(&self, session: &SessionSnapshot, _: &Close, _: Duration) {
        self.closed.lock().unwrap().push(session.id);
    }
}
