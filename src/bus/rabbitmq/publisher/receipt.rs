//! What the caller of one push learns of its events, and by when.
//!
//! The caller and the driver agree on each event: at the deadline one that is not written is
//! taken back, and will not be; of one that is written nobody knows.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::bus::rabbitmq::{not_published::NotPublished, window::Permits};

pub(super) type Outcome = Result<(), NotPublished>;

enum Fate {
    Gathering,
    Written,
    Settled(Outcome),
}

/// What was pushed together.
#[derive(Default)]
struct Call {
    fates: Mutex<Fates>,
    all_settled: Notify,
}

#[derive(Default)]
struct Fates {
    each: Vec<Fate>,
    open: usize,
}

/// The caller's half.
#[derive(Default)]
pub(crate) struct Pending(Arc<Call>);

impl Pending {
    /// The driver's half for one more event. All have one before the first is settled.
    pub(crate) fn receipt(&self, admitted: Permits) -> Receipt {
        let mut fates = self.0.fates.lock();
        fates.each.push(Fate::Gathering);
        fates.open += 1;
        Receipt { call: self.0.clone(), place: fates.each.len() - 1, _admitted: admitted }
    }

    /// Of each, in the order of the call.
    pub(crate) async fn outcomes(self, deadline: Instant) -> Vec<Outcome> {
        let all_settled = async {
            if self.0.fates.lock().open > 0 {
                self.0.all_settled.notified().await;
            }
        };
        let _ = timeout_at(deadline, all_settled).await;
        let mut fates = self.0.fates.lock();
        let taken_back = || Fate::Settled(Err(NotPublished::Unconfirmed));
        let each = fates.each.iter_mut().map(|fate| std::mem::replace(fate, taken_back()));
        each.map(|fate| match fate {
            Fate::Settled(outcome) => outcome,
            Fate::Gathering => Err(NotPublished::Overloaded("too many events are unconfirmed")),
            Fate::Written => Err(NotPublished::Unconfirmed),
        })
        .collect()
    }
}

/// The driver's half, for one event: tells the outcome, and is its admission.
pub(crate) struct Receipt {
    call: Arc<Call>,
    place: usize,
    _admitted: Permits,
}

impl Receipt {
    /// Whether it may be written: not when its caller has been told that it was not.
    pub(crate) fn begin(&self) -> bool {
        let mut fates = self.call.fates.lock();
        let fate = &mut fates.each[self.place];
        let gathering = matches!(fate, Fate::Gathering);
        if gathering {
            *fate = Fate::Written;
        }
        gathering
    }

    pub(crate) fn settle(self, outcome: Outcome) {
        self.call.settle(self.place, |_| outcome);
    }
}

impl Drop for Receipt {
    /// One that nobody settled was given up with its channel, or with the bus.
    fn drop(&mut self) {
        self.call.settle(self.place, |is_written| match is_written {
            true => Err(NotPublished::Unconfirmed),
            false => Err(NotPublished::Unavailable("the bus is closed".into())),
        });
    }
}

impl Call {
    fn settle(&self, place: usize, outcome: impl FnOnce(bool) -> Outcome) {
        let mut fates = self.fates.lock();
        let fate = &mut fates.each[place];
        let is_written = matches!(fate, Fate::Written);
        if matches!(fate, Fate::Settled(_)) {
            return;
        }
        *fate = Fate::Settled(outcome(is_written));
        fates.open -= 1;
        if fates.open == 0 {
            self.all_settled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::rabbitmq::window::Window;
    use std::time::Duration;

    fn a_call(count: usize) -> (Pending, Vec<Receipt>) {
        let (pending, quota) = (Pending::default(), Window::new().quota());
        let receipts = (0..count).map(|_| pending.receipt(quota.admit(1).expect("room")));
        let receipts = receipts.collect();
        (pending, receipts)
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_deadline_only_what_is_written_is_unknown_and_the_rest_stays_unwritten() {
        let (pending, receipts) = a_call(3);
        assert!(receipts[0].begin() && receipts[1].begin());
        let mut receipts = receipts.into_iter();
        receipts.next().expect("one").settle(Ok(()));
        let outcomes = pending.outcomes(Instant::now() + Duration::from_secs(5)).await;
        let (taken, unknown) = (Ok(()), Err(NotPublished::Unconfirmed));
        assert_eq!(outcomes[..2], [taken, unknown]);
        assert!(matches!(outcomes[2], Err(NotPublished::Overloaded(_))), "{outcomes:?}");
        assert!(!receipts.next_back().expect("the last").begin());
    }

    #[tokio::test]
    async fn all_are_told_as_soon_as_the_last_is_settled() {
        let (pending, receipts) = a_call(2);
        let settling = async { receipts.into_iter().for_each(|one| one.settle(Ok(()))) };
        let far = Instant::now() + Duration::from_secs(3600);
        let (outcomes, ()) = tokio::join!(pending.outcomes(far), settling);
        assert_eq!(outcomes, [Ok(()), Ok(())]);
    }

    #[tokio::test]
    async fn what_is_dropped_is_unknown_if_it_was_written_and_refused_if_not() {
        let (pending, receipts) = a_call(2);
        assert!(receipts[0].begin());
        drop(receipts);
        let outcomes = pending.outcomes(Instant::now()).await;
        assert_eq!(outcomes[0], Err(NotPublished::Unconfirmed));
        assert!(matches!(outcomes[1], Err(NotPublished::Unavailable(_))), "{outcomes:?}");
    }
}
