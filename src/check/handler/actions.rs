//! Actions: those that are said to be valid, one that nobody knows, and one of nobody's.

use super::{Outcome, Run, found, session, words};
use crate::{
    application::{Action, ActionReply, AuthUpdate, SessionSnapshot, grpc::Answer},
    metrics::CallStatus,
};

/// No handler has it.
pub(super) const UNKNOWN: &str = "MyxiCheckNoSuchAction";

/// What an exception becomes in most runtimes, and what else says nothing to a client.
const SAYS_NOTHING: &str = "catch it, and answer a status of the contract (INVALID_ARGUMENT, \
                            PERMISSION_DENIED, UNIMPLEMENTED, …) or error with a code of your own";

/// How an answer to something that need not work is to be taken.
pub(super) struct Judged {
    pub outcome: Outcome,
    pub came: String,
    pub client: String,
    pub advice: Option<String>,
}

impl Run<'_> {
    pub(super) async fn actions(&mut self) {
        self.given_actions().await;
        self.unknown_action().await;
        self.without_auth().await;
    }

    /// One session says them in turn.
    async fn given_actions(&mut self) {
        if self.wanted.actions.is_empty() {
            let came = "no --action NAME=JSON tells one that is valid";
            self.add("action", Outcome::NotChecked, "an action that it knows", came);
        }
        for (name, payload) in &self.wanted.actions {
            let before = self.session.clone();
            // Of the payload, which may hold a secret, nothing.
            let asked = format!("the action {name} as it was given");
            let mut answer = self.act(&before, name, payload, &asked).await;
            let Judged { mut outcome, mut came, client, mut advice } =
                self.judged(&before, &mut answer);
            if answer.read.is_err() && outcome != Outcome::Failed {
                outcome = Outcome::Failed;
                came = format!("refused, though --action says that it is valid: {came}");
                advice = Some("carry it out, or correct --action (or --auth)".into());
            }
            let mut found = found(format!("action {name}"), outcome, asked, came).client(client);
            found.advice = advice;
            self.report.add(found);
        }
    }

    async fn unknown_action(&mut self) {
        let session = self.session.clone();
        let asked = format!("the action {UNKNOWN} with a tag");
        let mut answer = self.act(&session, UNKNOWN, "{}", &asked).await;
        let mut judged = self.judged(&session, &mut answer);
        let expected = "answer UNIMPLEMENTED to an action that you do not know: the client is told \
                        InvalidAction";
        let nobody = session.auth.is_none();
        match answer.status {
            CallStatus::Ok if answer.read.is_ok() && judged.outcome != Outcome::Failed => {
                judged.outcome = Outcome::Warning;
                judged.advice = Some(format!("{expected}, and not that it was done"));
            }
            CallStatus::Unauthenticated if !nobody => {
                judged.outcome = Outcome::Warning;
                judged.advice =
                    Some(format!("it takes a session with auth for nobody; {expected}"));
            }
            CallStatus::InvalidArgument => judged.outcome = Outcome::Warning,
            _ => {}
        }
        if judged.outcome == Outcome::Warning && judged.advice.as_deref() == Some(SAYS_NOTHING) {
            judged.advice = Some(expected.into());
        }
        self.tell("unknown-action", asked, judged);
    }

    /// A client that has just connected and says an action at once.
    async fn without_auth(&mut self) {
        let nobody = session(None);
        let first = self.wanted.actions.last();
        let (name, payload) =
            first.map_or((UNKNOWN, "{}"), |(name, payload)| (name.as_str(), payload.as_str()));
        let asked = format!("the action {name} of a session without auth");
        let mut answer = self.act(&nobody, name, payload, &asked).await;
        let mut judged = self.judged(&nobody, &mut answer);
        // One that says who this is, is for nobody yet.
        let done = matches!(&answer.read, Ok(reply)
            if reply.update.auth == AuthUpdate::Keep && reply.disconnect.is_none());
        if done && self.session.auth.is_some() && judged.outcome == Outcome::Ok {
            judged.outcome = Outcome::Warning;
            judged.advice = Some("answer UNAUTHENTICATED to it, unless it is for everybody".into());
        }
        self.tell("without-auth", asked, judged);
    }

    pub(super) fn tell(&mut self, name: &str, asked: String, judged: Judged) {
        let Judged { outcome, came, client, advice } = judged;
        let mut found = found(name, outcome, asked, came).client(client);
        found.advice = advice;
        self.report.add(found);
    }

    pub(super) async fn act(
        &mut self,
        session: &SessionSnapshot,
        name: &str,
        payload: &str,
        asked: &str,
    ) -> Answer<ActionReply> {
        let action = Action { name, payload, tag: Some(words::TAG) };
        let answer = self.probe.action(session, action).await;
        self.note("HandleAction", &answer, asked);
        answer
    }

    /// Carries it out for the session of the run, if it is its, and says what of it is not as it
    /// should be whatever was asked.
    pub(super) fn judged(
        &mut self,
        session: &SessionSnapshot,
        answer: &mut Answer<ActionReply>,
    ) -> Judged {
        let mut no_topics = Vec::new();
        let mut client = None;
        if let Ok(reply) = &mut answer.read {
            match self.carry_out(session, reply) {
                Ok(carried) => {
                    if session.id == self.session.id {
                        self.session = carried.session;
                    }
                    no_topics = carried.no_topics;
                    client = Some(carried.client);
                }
                // As the gateway would read it had it been carried out.
                Err(error) => answer.read = Err(error),
            }
        }
        let came = [vec![words::came(answer)], no_topics.clone()].concat().join("; ");
        let (outcome, advice) = match answer.status {
            _ if answer.is_silence() => {
                (Outcome::Failed, Some("answer before the deadline, whatever is asked".into()))
            }
            _ if answer.broken().is_some() => (
                Outcome::Failed,
                Some(
                    "nothing of such an answer is carried out: keep to action_handler.proto".into(),
                ),
            ),
            _ if !no_topics.is_empty() => (
                Outcome::Failed,
                Some("subscribe the client to exchanges and keys that there are".into()),
            ),
            _ if !answer.remarks.is_empty() => (Outcome::Warning, None),
            CallStatus::Ok
            | CallStatus::Unimplemented
            | CallStatus::Unauthenticated
            | CallStatus::PermissionDenied
            | CallStatus::InvalidArgument => (Outcome::Ok, None),
            _ => (Outcome::Warning, Some(SAYS_NOTHING.into())),
        };
        let told = answer.read.as_ref().err().map(|error| words::error(error.clone()));
        let client = client.or(told).unwrap_or_default();
        Judged { outcome, came, client, advice }
    }
}
