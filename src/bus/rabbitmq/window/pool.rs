//! Permits that the exchanges of a bus share: whoever is alone may have all of them, and
//! whoever comes then finds room all the same.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Pool {
    /// What one lane may hold while no other wants any.
    permits: usize,
    state: Mutex<State>,
    /// Somebody waits, and permits were given back.
    returned: Notify,
}

#[derive(Debug, Default)]
struct State {
    lanes: Vec<Claim>,
    /// Lanes that hold or wait for some.
    wanting: usize,
    held: usize,
    waiting: usize,
}

/// What one lane has of a pool, and asks of it.
#[derive(Debug, Clone, Copy, Default)]
struct Claim {
    held: usize,
    waiting: usize,
}

impl Claim {
    fn wants(self) -> bool {
        self.held + self.waiting > 0
    }
}

/// One user of a [`Pool`].
#[derive(Debug, Clone)]
pub(super) struct Share {
    pool: Arc<Pool>,
    lane: usize,
}

/// Permits of a [`Pool`], until they are dropped.
#[derive(Debug)]
pub(crate) struct Permits {
    share: Share,
    count: usize,
}

impl Pool {
    pub(super) fn new(permits: usize) -> Arc<Self> {
        let (state, returned) = Default::default();
        Arc::new(Self { permits, state, returned })
    }

    /// Another user.
    pub(super) fn join(self: &Arc<Self>) -> Share {
        let mut state = self.state.lock();
        state.lanes.push(Claim::default());
        Share { pool: self.clone(), lane: state.lanes.len() - 1 }
    }

    /// Resolves when nobody holds any.
    pub(super) async fn is_idle(&self) {
        loop {
            let returned = self.returned.notified();
            if self.state.lock().held == 0 {
                return;
            }
            returned.await;
        }
    }
}

impl State {
    fn change(&mut self, lane: usize, change: impl FnOnce(&mut Claim)) {
        let claim = &mut self.lanes[lane];
        let before = *claim;
        change(claim);
        let after = *claim;
        self.wanting = self.wanting + usize::from(after.wants()) - usize::from(before.wants());
        self.held = self.held + after.held - before.held;
        self.waiting = self.waiting + after.waiting - before.waiting;
    }

    /// The share of each is the same for all who want some. What a lane took while it was
    /// alone cannot be taken back, so half as much again is kept for who comes then.
    fn has_room(&self, lane: usize, count: usize, permits: usize) -> bool {
        let Claim { held, .. } = self.lanes[lane];
        let wanting = self.wanting + usize::from(!self.lanes[lane].wants());
        let share = permits / wanting;
        // What is larger than a share goes when nothing else of its lane is under way.
        let fits = held + count <= share || held == 0;
        fits && self.held + count <= permits + permits / 2
    }
}

impl Share {
    /// Does not wait.
    pub(super) fn try_take(&self, count: usize) -> Option<Permits> {
        let mut state = self.pool.state.lock();
        if !state.has_room(self.lane, count, self.pool.permits) {
            return None;
        }
        state.change(self.lane, |claim| claim.held += count);
        Some(Permits { share: self.clone(), count })
    }

    /// Waits for its share. Whoever waits is one that wants some.
    pub(super) async fn take(&self, count: usize) -> Permits {
        let mut waiting = None;
        loop {
            // Before the look, so that nothing is given back unseen between the two.
            let returned = self.pool.returned.notified();
            if let Some(permits) = self.try_take(count) {
                return permits;
            }
            waiting.get_or_insert_with(|| Waiting::of(self));
            returned.await;
        }
    }
}

/// That a lane waits, until this is dropped.
struct Waiting<'a>(&'a Share);

impl<'a> Waiting<'a> {
    fn of(share: &'a Share) -> Self {
        share.pool.state.lock().change(share.lane, |claim| claim.waiting += 1);
        Self(share)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.pool.state.lock().change(self.0.lane, |claim| claim.waiting -= 1);
    }
}

impl Permits {
    /// Gives back what is beyond `count`.
    pub(crate) fn shrink(&mut self, count: usize) {
        let beyond = self.count.saturating_sub(count);
        self.give_back(beyond);
    }

    fn give_back(&mut self, count: usize) {
        self.count -= count;
        let Share { pool, lane } = &self.share;
        let wake = {
            let mut state = pool.state.lock();
            state.change(*lane, |claim| claim.held -= count);
            state.waiting > 0 || state.held == 0
        };
        if wake {
            pool.returned.notify_waiters();
        }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.give_back(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, future::poll_immediate};

    #[test]
    fn who_is_alone_may_have_all_and_no_more() {
        let pool = Pool::new(8);
        let (one, _other) = (pool.join(), pool.join());
        let taken: Vec<_> = std::iter::from_fn(|| one.try_take(1)).collect();
        assert_eq!(taken.len(), 8);
    }

    #[test]
    fn nobody_gets_beyond_half_while_another_wants_some() {
        let pool = Pool::new(8);
        let (one, other) = (pool.join(), pool.join());
        let wanted = other.try_take(1);
        let mut taken: Vec<_> = std::iter::from_fn(|| one.try_take(1)).collect();
        assert_eq!(taken.len(), 4);
        drop(wanted);
        taken.extend(std::iter::from_fn(|| one.try_take(1)));
        assert_eq!(taken.len(), 8);
    }

    #[test]
    fn who_comes_to_one_that_has_all_finds_its_half() {
        let pool = Pool::new(8);
        let (one, other) = (pool.join(), pool.join());
        let mut had: Vec<_> = std::iter::from_fn(|| one.try_take(1)).collect();
        let taken: Vec<_> = std::iter::from_fn(|| other.try_take(1)).collect();
        assert_eq!((had.len(), taken.len()), (8, 4));
        // The first gives back what is beyond its half before it gets any.
        had.truncate(4);
        assert!(one.try_take(1).is_none());
        had.truncate(3);
        assert!(one.try_take(1).is_some());
    }

    #[test]
    fn there_is_a_bound_whoever_comes() {
        let pool = Pool::new(8);
        let lanes: Vec<_> = (0..20).map(|_| pool.join()).collect();
        let taken = lanes.iter().map(|one| std::iter::from_fn(|| one.try_take(1)).collect());
        let taken: Vec<Vec<_>> = taken.collect();
        assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 12);
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back_and_holds_up_who_has_more() {
        let pool = Pool::new(4);
        let (one, two, three) = (pool.join(), pool.join(), pool.join());
        let first: Vec<_> = std::iter::from_fn(|| one.try_take(1)).collect();
        let second: Vec<_> = std::iter::from_fn(|| two.try_take(1)).collect();
        assert_eq!((first.len(), second.len()), (4, 2));
        let mut waiting = Box::pin(three.take(1));
        assert!(poll_immediate(&mut waiting).await.is_none());
        let mut held: Vec<_> = first.into_iter().chain(second).collect();
        held.truncate(5);
        assert!(one.try_take(1).is_none() && two.try_take(1).is_none());
        assert!(waiting.now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_is_larger_than_a_share_goes_alone() {
        let pool = Pool::new(8);
        let (one, other) = (pool.join(), pool.join());
        let _wanted = other.try_take(1);
        let large = one.try_take(8);
        assert!(large.is_some() && one.try_take(1).is_none());
    }

    #[tokio::test]
    async fn what_shrinks_leaves_room() {
        let pool = Pool::new(4);
        let one = pool.join();
        let mut taken = one.take(4).await;
        taken.shrink(1);
        assert!(one.try_take(3).is_some());
        drop(taken);
        pool.is_idle().await;
    }
}
