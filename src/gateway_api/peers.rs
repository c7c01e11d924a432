//! Reaching one session by its id, whichever replica holds it.
//!
//! A session's id names its replica. Ours is served here; another is asked over the bus,
//! and only its answer counts: one that cannot be reached may be cut off from the bus, and
//! serve its clients.

use std::{borrow::Cow, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    bus::{Answers, AskError, Replicas},
    event::EventBody,
    ids::{ReplicaId, SessionId},
    protocol::Close,
    session::directory::{LocalSessions, SessionCommand},
};

/// A healthy replica answers within milliseconds; a caller should not wait for another.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// Of questions and answers. Replicas of different builds meet during a rollout.
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("there is no session {0}")]
    NoSuchSession(SessionId),
    /// Certainly not done; whether there is such a session is not known.
    #[error(
        "the session's replica cannot be reached: it is gone, or cut off from the broker; \
         nothing was done"
    )]
    Unreachable,
    /// Certainly not done.
    #[error("the session's replica could not be asked: {0}; nothing was done")]
    Unavailable(String),
    #[error("the session's replica did not answer; whether it was done is unknown")]
    NoAnswer,
}

/// All sessions of the fleet.
#[derive(Clone)]
pub struct Peers {
    replica: ReplicaId,
    sessions: Arc<dyn LocalSessions>,
    replicas: Arc<dyn Replicas>,
}

impl Peers {
    pub fn new(
        replica: ReplicaId,
        sessions: Arc<dyn LocalSessions>,
        replicas: Arc<dyn Replicas>,
    ) -> Self {
        Self { replica, sessions, replicas }
    }

    pub async fn command(&self, id: SessionId, command: &SessionCommand) -> Result<(), PeerError> {
        if id.replica() == self.replica {
            let done = self.sessions.command(id, command);
            return done.then_some(()).ok_or(PeerError::NoSuchSession(id));
        }
        let question = Question::new(id, command).to_json();
        let answer = match self.replicas.ask(id.replica(), question, ANSWER_DEADLINE).await {
            Ok(answer) => answer,
            Err(AskError::NoSuchReplica(_)) => return Err(PeerError::NoSuchSession(id)),
            Err(AskError::Unreachable(_)) => return Err(PeerError::Unreachable),
            Err(AskError::Unavailable(problem)) => return Err(PeerError::Unavailable(problem)),
            Err(AskError::NoAnswer(_)) => return Err(PeerError::NoAnswer),
        };
        match serde_json::from_slice(&answer) {
            Ok(Answer::Done) => Ok(()),
            Ok(Answer::NoSuchSession) => Err(PeerError::NoSuchSession(id)),
            Ok(Answer::NotUnderstood) => {
                Err(PeerError::Unavailable("it does not understand the question".into()))
            }
            Err(_) => Err(PeerError::NoAnswer),
        }
    }
}

/// Answers the other replicas' questions.
pub struct LocalAnswers(pub Arc<dyn LocalSessions>);

#[async_trait]
impl Answers for LocalAnswers {
    async fn answer(&self, question: Vec<u8>) -> Vec<u8> {
        let question = serde_json::from_slice::<Question>(&question).ok();
        let answer = match question.and_then(Question::read) {
            Some((id, command)) if self.0.command(id, &command) => Answer::Done,
            Some(_) => Answer::NoSuchSession,
            None => Answer::NotUnderstood,
        };
        serde_json::to_vec(&answer).expect("a name always serializes")
    }
}

/// As it travels: `{"version":1,"session":"…","command":{"send":{"event":…,"payload":…}}}`.
#[derive(Serialize, Deserialize)]
struct Question<'a> {
    version: u32,
    #[serde(borrow)]
    session: Cow<'a, str>,
    #[serde(borrow)]
    command: Command<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command<'a> {
    Send {
        #[serde(borrow)]
        event: Cow<'a, str>,
        #[serde(borrow)]
        payload: &'a RawValue,
    },
    Disconnect {
        code: u16,
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done,
    NoSuchSession,
    /// Of another version, or nonsense. Nothing was done.
    NotUnderstood,
}

impl<'a> Question<'a> {
    fn new(id: SessionId, command: &'a SessionCommand) -> Self {
        let command = match command {
            SessionCommand::Send(EventBody { name, payload }) => {
                Command::Send { event: name.as_ref().into(), payload }
            }
            SessionCommand::Disconnect(Close { code, reason }) => {
                Command::Disconnect { code: *code, reason: reason.as_ref().into() }
            }
        };
        Self { version: VERSION, session: id.to_string().into(), command }
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text, numbers and raw JSON always serialize")
    }

    fn read(self) -> Option<(SessionId, SessionCommand)> {
        if self.version != VERSION {
            return None;
        }
        let command = match self.command {
            Command::Send { event, payload } => {
                SessionCommand::Send(EventBody::new(&event, payload.get()).ok()?)
            }
            Command::Disconnect { code, reason } => {
                SessionCommand::Disconnect(Close::by_application(code.into(), &reason))
            }
        };
        Some((SessionId::parse(&self.session)?, command))
    }
}
