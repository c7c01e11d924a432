//! The beginning and the end of a session. Handlers may count and tell them: only with `--full`.

use super::{Outcome, Run, done, found, session, words};
use crate::{
    application::Admission,
    config::SessionOpened,
    metrics::CallStatus,
    session::reply::{frames, updated},
};

impl Run<'_> {
    pub(super) async fn sessions(&mut self) {
        if !self.wanted.full {
            let came = "only with --full: handlers may count sessions, or tell of them";
            self.add("session-opened", Outcome::NotChecked, "SessionOpened", came);
            self.add("session-closed", Outcome::NotChecked, "SessionClosed", came);
            return;
        }
        self.opened().await;
        self.closed().await;
    }

    async fn opened(&mut self) {
        let asked = "SessionOpened of a client without auth";
        let snapshot = session(None);
        let mut answer = self.probe.session_opened(&snapshot).await;
        self.note("SessionOpened", &answer, asked);
        if let Ok(Admission::Accept { update, events }) = &mut answer.read {
            let (most, room) = (self.wanted.max_event_size, self.wanted.max_outbox / 2);
            let sent = frames(events, None, most, room);
            let update = std::mem::take(update);
            if let Err(error) = sent.and_then(|_| updated(&snapshot, update)) {
                answer.read = Err(error);
            }
        }
        let (came, client) = (words::came(&answer), words::admitted(&answer));
        let required = self.wanted.session_opened == SessionOpened::Required;
        let found = match answer.status {
            _ if answer.is_silence() || answer.broken().is_some() => {
                found("session-opened", Outcome::Failed, asked, came)
                    .advice("answer it as action_handler.proto says")
            }
            CallStatus::Ok if answer.remarks.is_empty() => {
                found("session-opened", Outcome::Ok, asked, came)
            }
            CallStatus::Ok => found("session-opened", Outcome::Warning, asked, came),
            CallStatus::Unimplemented if !required => {
                let came = format!("{came}: right as long as --session-opened is off");
                found("session-opened", Outcome::Ok, asked, came)
            }
            _ => found("session-opened", Outcome::Failed, asked, came).advice(
                "implement it, or leave --session-opened=required out: without an answer no \
                 client gets in",
            ),
        };
        self.report.add(found.client(client));
    }

    async fn closed(&mut self) {
        let asked = "SessionClosed of the session that said the actions";
        let answer = self.probe.session_closed(&self.session, &done()).await;
        self.note("SessionClosed", &answer, asked);
        let came = words::came(&answer);
        let found = match answer.status {
            CallStatus::Ok if answer.broken().is_none() => {
                found("session-closed", Outcome::Ok, asked, came)
            }
            CallStatus::Unimplemented => {
                let came = format!("{came}: not wanted, so it is asked once a minute");
                found("session-closed", Outcome::Ok, asked, came)
            }
            _ if answer.is_silence() || answer.broken().is_some() => {
                found("session-closed", Outcome::Failed, asked, came).advice("answer it")
            }
            _ => found("session-closed", Outcome::Warning, asked, came)
                .advice("answer OK, or UNIMPLEMENTED where you have no use for it"),
        };
        self.report.add(found.client("nothing: it is gone"));
    }
}
