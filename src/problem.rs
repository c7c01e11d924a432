//! Why a part does not work now: for whoever asks (readiness, the console), and in the log
//! each time that it becomes another reason.
//!
//! A part that fails says so at every attempt, several times a second. So a line is written
//! when the reason is another one than the log's last; one that comes back soon (two that
//! take turns, a broker that is here and gone) is written after a pause that doubles. What
//! lasts is said again at each attempt, and so is always written in the end.

use std::{fmt::Display, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::text::gist;

/// Until a reason that was written is written again, at first and at most.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_LONGEST: Duration = Duration::from_secs(3600);

/// Reasons that are remembered. More at once are a reason that never reads the same.
const REMEMBERED: usize = 16;

/// The state of one part.
#[derive(Debug)]
pub(crate) struct Problem {
    /// As the log names it.
    part: String,
    now: Mutex<Option<String>>,
    written: Mutex<Written>,
}

impl Problem {
    /// A part that is well.
    pub(crate) fn new(part: impl Into<String>) -> Self {
        Self { part: part.into(), now: Mutex::default(), written: Mutex::default() }
    }

    /// A part that is to begin, whose first success is worth a line too.
    pub(crate) fn awaited(part: impl Into<String>) -> Self {
        let part = Self::new(part);
        part.written.lock().last = Some(String::new());
        part
    }

    /// Shows why the part does not work, without a line: it has hardly begun, or another
    /// part is the cause and says so.
    pub(crate) fn not_yet(&self, reason: &str) {
        *self.now.lock() = Some(reason.into());
    }

    pub(crate) fn set(&self, problem: Option<String>) {
        match problem {
            Some(reason) => {
                if self.written.lock().is_due(&reason) {
                    tracing::warn!(part = self.part, "{reason}");
                }
                *self.now.lock() = Some(reason);
            }
            None => self.is_over(&"it works again"),
        }
    }

    /// Where the log is to be told, a line says `how` it ended.
    pub(crate) fn is_over(&self, how: &dyn Display) {
        *self.now.lock() = None;
        if self.written.lock().last.take().is_some() {
            tracing::info!(part = self.part, "{how}");
        }
    }

    pub(crate) fn get(&self) -> Option<String> {
        self.now.lock().clone()
    }
}

/// What the log says.
#[derive(Debug, Default)]
struct Written {
    /// Of the last line, unless that said that all is well.
    last: Option<String>,
    lately: Vec<Lately>,
}

#[derive(Debug)]
struct Lately {
    gist: String,
    at: Instant,
    /// Not again before this is over.
    pause: Duration,
}

impl Written {
    /// Whether this reason is to be written now; then it counts as written.
    fn is_due(&mut self, reason: &str) -> bool {
        let gist = gist(reason);
        if self.last.as_ref() == Some(&gist) {
            return false;
        }
        let now = Instant::now();
        self.lately.retain(|one| now < one.at + 2 * one.pause);
        let room = self.lately.len() < REMEMBERED;
        match self.lately.iter_mut().find(|one| one.gist == gist) {
            Some(one) if now < one.at + one.pause => return false,
            Some(one) => {
                one.at = now;
                one.pause = (2 * one.pause).min(PAUSE_LONGEST);
            }
            None if !room => return false,
            None => self.lately.push(Lately { gist: gist.clone(), at: now, pause: PAUSE_FIRST }),
        }
        self.last = Some(gist);
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// The reasons that are written, of those that are said every 50 ms for so long.
    async fn written(reasons: &[&'static str], time: Duration) -> Vec<&'static str> {
        let mut written = Written::default();
        let start = Instant::now();
        let mut due = Vec::new();
        for reason in reasons.iter().cycle() {
            if start.elapsed() >= time {
                break;
            }
            if written.is_due(reason) {
                due.push(*reason);
            }
            advance(Duration::from_millis(50)).await;
        }
        due
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_is_written_once_and_the_next_at_once() {
        assert_eq!(written(&["refused"], PAUSE_LONGEST).await, ["refused"]);
        let numbers = ["not in 17 ms", "not in 3 ms", "not in <0.17.2> ms"];
        assert_eq!(written(&numbers, PAUSE_LONGEST).await, ["not in 17 ms"]);

        let mut log = Written::default();
        for reason in ["refused", "wrong password", "no rights"] {
            assert!(log.is_due(reason), "{reason}");
            assert!(!log.is_due(reason), "{reason}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reasons_that_take_turns_are_written_less_and_less() {
        let turns = written(&["one", "two"], PAUSE_LONGEST).await;
        assert!((4..=20).contains(&turns.len()), "{turns:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_reads_the_same_is_bounded() {
        let mut log = Written::default();
        let due = (0..1000).filter(|n| log.is_due(&format!("x{n}"))).count();
        assert_eq!(due, REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_and_stays_is_written_in_the_end() {
        let mut log = Written::default();
        assert!(log.is_due("refused"));
        log.last = None;
        assert!(!log.is_due("refused"), "it was written a moment ago");
        advance(PAUSE_FIRST).await;
        assert!(log.is_due("refused"));
        log.last = None;
        advance(3 * PAUSE_FIRST * 2).await;
        assert!(log.is_due("refused"), "that was long ago");
    }
}
