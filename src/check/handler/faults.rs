//! What happens to calls in a bad hour: they are given up, come too late, or are followed by a ping.
//! Each over a connection of its own; afterwards it must serve as before.

use std::time::Duration;

use futures_util::future::join_all;

use super::{Outcome, Run, actions::UNKNOWN, found, words};
use crate::application::Action;

/// Calls of an action that nobody knows, for one that is known might happen. They are given up one a
/// little later than another, so that some are still under way in every handler.
const GIVEN_UP: u32 = 10;
const APART: Duration = Duration::from_millis(5);

/// A deadline that has passed when the call arrives, and one that is passing.
const SHORT: [Duration; 2] = [Duration::from_micros(1), Duration::from_millis(2)];

const ACTION: Action<'_> = Action { name: UNKNOWN, payload: "{}", tag: None };

const LOST: &str = "ApplicationUnavailable or ActionTimeout, for all clients of the connection";

impl Run<'_> {
    pub(super) async fn faults(&mut self) {
        self.cancelled().await;
        self.late().await;
        self.pinged().await;
    }

    async fn cancelled(&mut self) {
        let asked = format!("{GIVEN_UP} actions that are cancelled, then another");
        let Some(probe) = self.another("cancelled-calls", &asked).await else { return };
        let mark = probe.mark();
        let calls = (0..GIVEN_UP)
            .map(|number| probe.cancelled_action(APART * number, &self.session, ACTION));
        let answered = join_all(calls).await.into_iter().filter(|answered| *answered).count();
        let after = probe.action(&self.session, ACTION).await;
        let kept = probe.kept(&mark);
        let came = format!("{answered} were answered before; then {}", words::came(&after));
        self.survived("cancelled-calls", asked, came, after.is_silence(), kept).await;
    }

    async fn late(&mut self) {
        let asked = "actions whose deadline has passed or is passing, then another".to_owned();
        let Some(probe) = self.another("short-deadline", &asked).await else { return };
        let mark = probe.mark();
        for time in SHORT {
            probe.action_within(time, &self.session, ACTION).await;
        }
        let after = probe.action(&self.session, ACTION).await;
        let kept = probe.kept(&mark);
        let came = words::came(&after);
        // Ruby's stock server ends the connection at times, and serves the next.
        if let Err(why) = &kept
            && self.serves().await.is_ok()
        {
            let came = format!("the connection was lost, and the next one serves: {why}");
            let found = found("short-deadline", Outcome::Warning, asked, came)
                .client(LOST)
                .advice("where your runtime lets you, bear calls that come too late");
            self.report.add(found);
            return;
        }
        self.survived("short-deadline", asked, came, after.is_silence(), kept).await;
    }

    /// The gateway pings where calls time out in silence.
    async fn pinged(&mut self) {
        let asked = "two HTTP/2 pings, as after calls that time out in silence".to_owned();
        let Some(probe) = self.another("pings", &asked).await else { return };
        let mark = probe.mark();
        let pinged = probe.doubted().await;
        let after = probe.action(&self.session, ACTION).await;
        let kept = pinged.and_then(|()| probe.kept(&mark));
        let came = words::came(&after);
        self.survived("pings", asked, came, after.is_silence(), kept).await;
    }

    pub(super) async fn survived(
        &mut self,
        name: &str,
        asked: String,
        came: String,
        silent: bool,
        kept: Result<(), String>,
    ) {
        let gone = self.serves().await.err();
        let found = match (gone, kept) {
            (Some(why), _) => {
                found(name, Outcome::Failed, asked, format!("it does not serve any more: {why}"))
                    .client(LOST)
                    .advice(
                        "it must go on after this: it happens whenever a client or a network goes",
                    )
            }
            (None, Err(why)) => {
                found(name, Outcome::Failed, asked, format!("the connection was lost: {why}"))
                    .client(LOST)
                    .advice(
                        "let the server bear it; of pings, any stock server does (two without a \
                         call between them)",
                    )
            }
            (None, Ok(())) if silent => found(name, Outcome::Failed, asked, came)
                .client(LOST)
                .advice("the connection must go on: what was given up must not hold it"),
            (None, Ok(())) => found(name, Outcome::Ok, asked, came),
        };
        self.report.add(found);
    }
}
