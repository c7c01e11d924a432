//! Whether it looks at the gateway's token. Whoever has configured one believes that nobody else
//! can speak in a user's name: a handler that answers all the same fails.

use super::{Outcome, Run, STILL_THERE, actions::UNKNOWN, done, found, probe, words};
use crate::{application::Action, ids::random_id, metrics::CallStatus, net::token::BearerToken};

impl Run<'_> {
    pub(super) async fn tokens(&mut self) {
        if self.wanted.application.token.is_none() {
            let (asked, came) =
                ("calls with a wrong token", "no --action-handler-token tells the right one");
            self.add("tokens", Outcome::NotChecked, asked, came);
            return;
        }
        let wrong: BearerToken = random_id().parse().expect("hex digits");
        self.with("wrong-token", "a token that is not the gateway's", Some(wrong)).await;
        self.with("no-token", "no token", None).await;
    }

    async fn with(&mut self, name: &str, what: &str, token: Option<BearerToken>) {
        let asked = match self.wanted.full {
            true => format!("every RPC with {what}"),
            false => format!("CheckSubscriptions and HandleAction with {what}"),
        };
        let stranger = probe(self.wanted, token);
        if let Err(why) = stranger.connected(STILL_THERE).await {
            self.add(name, Outcome::NotChecked, asked, why);
            return;
        }
        let checked = stranger.nobody_asks().await;
        let action = Action { name: UNKNOWN, payload: "{}", tag: None };
        let acted = stranger.action(&self.session, action).await;
        let mut came = format!(
            "CheckSubscriptions: {}; HandleAction: {}",
            words::came(&checked),
            words::came(&acted)
        );
        let statuses = [checked.status, acted.status];
        let mut answered = statuses.contains(&CallStatus::Ok);
        if self.wanted.full {
            let opened = stranger.session_opened(&self.session).await;
            let closed = stranger.session_closed(&self.session, &done()).await;
            came.push_str(&format!("; SessionOpened: {}", words::came(&opened)));
            came.push_str(&format!("; SessionClosed: {}", words::came(&closed)));
            answered |= [opened.status, closed.status].contains(&CallStatus::Ok);
        }
        // An action that is unknown is refused of anybody: that the token was looked at first, only
        // the check tells.
        let found = match statuses {
            _ if !answered
                && statuses.iter().all(|status| *status == CallStatus::Unauthenticated) =>
            {
                found(name, Outcome::Ok, asked, came)
                    .client("ApplicationUnavailable, and the gateway says that its token is wrong")
            }
            _ if checked.is_silence() || acted.is_silence() => {
                found(name, Outcome::Failed, asked, came).advice("answer UNAUTHENTICATED to it")
            }
            [CallStatus::PermissionDenied, _] | [_, CallStatus::PermissionDenied] if !answered => {
                found(name, Outcome::Warning, asked, came)
                    .client("errors, and nobody is told that the token is wrong")
                    .advice("answer UNAUTHENTICATED: the gateway then says what is wrong")
            }
            _ => found(name, Outcome::Failed, asked, came)
                .client("whoever reaches the handler speaks in the name of any user")
                .advice(
                    "compare the bearer token in every RPC, and answer UNAUTHENTICATED where it \
                     is another, as the examples do",
                ),
        };
        self.report.add(found);
    }
}
