//! Many calls at once, as the clients of a gateway cause them.

use std::time::Duration;

use futures_util::future::join_all;

use super::{Outcome, Run, actions::UNKNOWN, found, words};
use crate::{
    application::{Action, CheckReason, grpc::Answer},
    metrics::CallStatus,
};

const AT_ONCE: usize = 100;

/// Of one of them, whichever it was.
struct Answered {
    took: Duration,
    status: CallStatus,
    /// What came in place of an answer.
    lost: Option<String>,
}

impl Answered {
    fn of<T>(answer: &Answer<T>) -> Self {
        let lost = answer.is_silence().then(|| words::came(answer));
        Self { took: answer.took, status: answer.status, lost }
    }
}

impl Run<'_> {
    pub(super) async fn load(&mut self) {
        let topics = self.topics();
        let asked = match topics.is_empty() {
            true => format!("{AT_ONCE} actions at once, one connection"),
            false => format!(
                "{AT_ONCE} calls at once, one connection: actions, and whether it may receive what \
                 --allow and --deny name"
            ),
        };
        let name = "hundred-at-once";
        if !self.wanted.full {
            self.add(name, Outcome::NotChecked, asked, "only with --full: it is load");
            return;
        }
        let Some(probe) = self.another(name, &asked).await else { return };
        let mark = probe.mark();
        let action = Action { name: UNKNOWN, payload: "{}", tag: Some(words::TAG) };
        let call = async |number: usize| match topics.is_empty() || number.is_multiple_of(2) {
            true => Answered::of(&probe.action(&self.session, action).await),
            false => {
                let check = probe.check(&self.session, &topics, CheckReason::Subscribe);
                Answered::of(&check.await)
            }
        };
        let answers = join_all((0..AT_ONCE).map(call)).await;
        let lost: Vec<_> = answers.iter().filter_map(|answer| answer.lost.as_ref()).collect();
        let turned_away = |answer: &&Answered| {
            use CallStatus::{Cancelled, ResourceExhausted, Unavailable};
            matches!(answer.status, Cancelled | ResourceExhausted | Unavailable)
        };
        let busy = answers.iter().filter(turned_away).count();
        if let Some(first) = lost.first() {
            let came = format!("{} of them were lost: {first}", lost.len());
            let found = found(name, Outcome::Failed, asked, came)
                .client("ActionTimeout or ApplicationUnavailable, outcome unknown, for these")
                .advice(
                    "more workers or threads, or calls that wait for less; or a lower \
                     --max-in-flight, past which the gateway lets calls wait",
                );
            self.report.add(found);
            return;
        }
        let slowest = answers.iter().map(|answer| answer.took).max().unwrap_or_default();
        let came = format!("all are answered within {}", words::millis(slowest));
        if busy > 0 {
            let found = found(name, Outcome::Warning, asked, format!("{came}, {busy} with no"))
                .client("Busy or ApplicationUnavailable, outcome unknown, for these")
                .advice("lower --max-in-flight to what it takes: the gateway lets calls wait");
            self.report.add(found);
            return;
        }
        let kept = probe.kept(&mark);
        self.survived(name, asked, came, false, kept).await;
    }
}
