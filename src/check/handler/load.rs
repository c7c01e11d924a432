//! Many calls at once, as the clients of a gateway cause them.

use futures_util::future::join_all;

use super::{Outcome, Run, actions::UNKNOWN, found, words};
use crate::{application::Action, metrics::CallStatus};

const AT_ONCE: usize = 100;

impl Run<'_> {
    pub(super) async fn load(&mut self) {
        let (name, asked) =
            ("hundred-at-once", format!("{AT_ONCE} actions at once, one connection"));
        if !self.wanted.full {
            self.add(name, Outcome::NotChecked, asked, "only with --full: it is load");
            return;
        }
        let Some(probe) = self.another(name, &asked).await else { return };
        let mark = probe.mark();
        let action = Action { name: UNKNOWN, payload: "{}", tag: Some(words::TAG) };
        let mut answers = join_all((0..AT_ONCE).map(|_| probe.action(&self.session, action))).await;
        answers.sort_by_key(|answer| answer.took);
        let lost: Vec<_> = answers.iter().filter(|answer| answer.is_silence()).collect();
        let turned_away = |status| {
            use CallStatus::{Cancelled, ResourceExhausted, Unavailable};
            matches!(status, Cancelled | ResourceExhausted | Unavailable)
        };
        let busy = answers.iter().filter(|answer| turned_away(answer.status)).count();
        if let Some(first) = lost.first() {
            let came = format!("{} of them were lost: {}", lost.len(), words::came(first));
            let found = found(name, Outcome::Failed, asked, came)
                .client("ActionTimeout or ApplicationUnavailable, outcome unknown, for these")
                .advice(
                    "more workers or threads, or calls that wait for less; or a lower \
                     --max-in-flight, past which the gateway lets calls wait",
                );
            self.report.add(found);
            return;
        }
        let slowest = answers.last().map(|answer| answer.took).unwrap_or_default();
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
