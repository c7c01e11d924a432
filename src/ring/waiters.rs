//! Those who wait until a log is read up to some offset. Each is woken when that is so, and not
//! for what comes before it: thousands may wait at once, for thousands of entries.

use std::{collections::BTreeMap, ops::RangeBounds, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// By their offset. One that nobody waits for has no place.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<BTreeMap<u64, Arc<Notify>>>);

/// Somebody who waits.
struct Waiter<'a> {
    waiters: &'a Waiters,
    offset: u64,
    read: Arc<Notify>,
}

impl Waiters {
    /// Looks, and looks again whenever this offset was read.
    pub(super) async fn until<T>(&self, offset: u64, look: impl Fn() -> Option<T>) -> T {
        let read = self.0.lock().entry(offset).or_default().clone();
        let waiter = Waiter { waiters: self, offset, read };
        loop {
            let read = waiter.read.notified();
            if let Some(found) = look() {
                return found;
            }
            read.await;
        }
    }

    pub(super) fn wake(&self, offsets: impl RangeBounds<u64>) {
        self.0.lock().range(offsets).for_each(|(_, read)| read.notify_waiters());
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiters.0.lock();
        // The map's, and this one.
        if Arc::strong_count(&self.read) <= 2 {
            waiting.remove(&self.offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn whoever_waits_is_woken_by_its_own_offset_and_leaves_nothing_behind() {
        let (waiters, end) = (Waiters::default(), Cell::new(3));
        let looks = Cell::new(0);
        let look = |offset| {
            looks.set(looks.get() + 1);
            (end.get() >= offset).then_some(offset)
        };
        let [mut five, mut too, mut six] =
            [5, 5, 6].map(|offset| Box::pin(waiters.until(offset, move || look(offset))));
        for waiting in [&mut five, &mut too, &mut six] {
            assert_eq!(waiting.now_or_never(), None);
        }
        end.set(5);
        waiters.wake(4..=5);
        looks.set(0);
        assert_eq!((&mut six).now_or_never(), None);
        assert_eq!(looks.get(), 0, "it was not woken");
        assert_eq!((&mut five).now_or_never(), Some(5));
        drop(too);
        waiters.wake(..);
        assert_eq!((&mut six).now_or_never(), None, "it looked, and waits");
        assert_eq!(waiters.0.lock().len(), 1);
        drop((five, six));
        assert!(waiters.0.lock().is_empty());
    }
}
