//! Complaints that others can cause, as often as they like: each is in the log once in a
//! while, with how often it was left out, and none is hidden by another.
//!
//! What is complained of may quote strangers (names of actions, origins), so there is a bound
//! on what is remembered and on the lines; beyond it only the number is said.

mod complaint;
mod likeness;
mod throttle;

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

pub(crate) use self::complaint::Complaint;
use self::{
    likeness::Heard,
    throttle::{Line, Throttle},
};

/// One kind of complaint of one process; clones are the same one.
#[derive(Debug, Clone)]
pub struct Complaints(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    throttle: Mutex<Throttle>,
    /// What the others are called.
    others: &'static str,
}

impl Complaints {
    /// `others`: what they are called where only their number is said, `failed calls`.
    pub fn of(others: &'static str) -> Self {
        Self(Arc::new(Shared { throttle: Mutex::default(), others }))
    }

    /// Says it now, or counts it and says so in time: that needs a runtime that goes on.
    pub fn hear(&self, complaint: Complaint) {
        let heard = Heard::new(complaint);
        let (line, to_be_closed) = {
            let mut throttle = self.0.throttle.lock();
            (throttle.hear(heard, Instant::now()), throttle.begin_closing())
        };
        line.into_iter().for_each(|line| self.0.say(&line));
        if to_be_closed && let Ok(runtime) = Handle::try_current() {
            runtime.spawn(close(Arc::downgrade(&self.0)));
        }
    }

    /// For the end of the process, which waits for no interval.
    pub fn say_the_rest(&self) {
        self.0.say_the_rest();
    }
}

impl Default for Complaints {
    fn default() -> Self {
        Self::of("complaints")
    }
}

/// Says what was counted, until nothing is left to be said.
async fn close(complaints: Weak<Shared>) {
    loop {
        let Some(due) = complaints.upgrade().and_then(|shared| shared.throttle.lock().next_due())
        else {
            return;
        };
        sleep_until(due).await;
        let Some(shared) = complaints.upgrade() else { return };
        let lines = shared.throttle.lock().close(Instant::now());
        lines.iter().for_each(|line| shared.say(line));
    }
}

impl Shared {
    fn say(&self, line: &Line) {
        match line {
            Line::One(complaint, left_out) => complaint.say(*left_out),
            Line::Others(1) => tracing::warn!("and 1 other: {}", self.others),
            Line::Others(count) => tracing::warn!("and {count} others: {}", self.others),
        }
    }

    fn say_the_rest(&self) {
        let rest = self.throttle.lock().rest();
        rest.iter().for_each(|line| self.say(line));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.say_the_rest();
    }
}

#[cfg(test)]
mod tests {
    use super::{throttle::INTERVAL, *};

    fn complaint() -> Complaint {
        let problem = Some("down".into());
        Complaint { action: Some("A".into()), problem, ..Complaint::new("failed") }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_when_there_is_nothing_to_say() {
        let complaints = Complaints::of("complaints");
        for _ in 0..2 {
            complaints.hear(complaint());
            complaints.hear(complaint());
            assert_eq!(Arc::weak_count(&complaints.0), 1, "one waits for all");
            tokio::time::sleep(3 * INTERVAL).await;
            let mut throttle = complaints.0.throttle.lock();
            assert!(throttle.begin_closing(), "{throttle:?}");
            assert_eq!(throttle.next_due(), None);
        }
    }
}
