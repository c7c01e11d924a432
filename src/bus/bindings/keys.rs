//! The keys of one exchange that somebody here holds, and what of them is bound. Where they lead
//! into a log, from where on that is whole: a marker that took the same way, and is read there,
//! shows it.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::Instant};

use super::{
    NotBound,
    proofs::{Proofs, Proven},
};
use crate::event::{Position, Topic};

/// Pages come and go, and a client that lost its connection is back soon.
pub(super) const UNBIND_AFTER: Duration = Duration::from_secs(30);

/// Names among those to be bound that nobody wants any more are cleared away beyond so many.
const SPARE: usize = 64;

/// The keys of one exchange. Its reader is the only one who binds them.
#[derive(Debug, Default)]
pub(in crate::bus) struct Keys {
    table: Mutex<Table>,
    /// Something is to be bound.
    due: Notify,
    /// Something was, or nothing can be any more.
    changed: Notify,
    /// Something was, and nothing proves it in the log.
    unproven: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// Those that are held, bound, or both.
    keys: HashMap<Arc<str>, Key>,
    /// To be bound; some of it may be wanted no more.
    wanted: VecDeque<Arc<str>>,
    /// To be unbound.
    leaving: VecDeque<Numbered>,
    /// What is bound is read.
    open: bool,
    /// Of exchanges with a log.
    proofs: Proofs,
    /// So many keys had a number.
    numbers: u64,
    /// So many times something was bound.
    bindings: u64,
}

/// A key, with the number of its binding: none that may have been unbound has the same, as the
/// broker may carry that out late.
pub(in crate::bus) type Numbered = (Arc<str>, u64);

#[derive(Debug, Default)]
struct Key {
    holders: usize,
    /// Nobody has held it since.
    idle_since: Option<Instant>,
    /// Of its binding, however often that is made.
    number: u64,
    /// The broker may have bound it.
    asked: bool,
    bound: bool,
    /// When it was bound, counted in bindings.
    binding: u64,
    /// It is among those to be bound, or being bound.
    wanted: bool,
    /// From there on all that was published to it is in the log, where there is one.
    whole_since: Option<Position>,
}

impl Keys {
    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    pub(super) fn hold(&self, name: Arc<str>) {
        let mut table = self.lock();
        let Table { keys, wanted, numbers, .. } = &mut *table;
        let key = keys.entry(name.clone()).or_insert_with(|| {
            *numbers += 1;
            Key { number: *numbers, ..Key::default() }
        });
        key.holders += 1;
        key.idle_since = None;
        if !key.bound && !mem::replace(&mut key.wanted, true) {
            wanted.push_back(name);
            drop(table);
            self.due.notify_one();
        }
    }

    pub(super) fn release(&self, name: &str) {
        let mut table = self.lock();
        let Some(key) = table.keys.get_mut(name) else { return };
        // Where all was taken away, those before count no more.
        key.holders = key.holders.saturating_sub(1);
        if key.holders > 0 {
            return;
        }
        key.idle_since = Some(Instant::now());
        if !key.asked {
            table.keys.remove(name);
            table.forget_unwanted();
        }
    }

    pub(super) async fn all_bound(&self, topics: &[Topic]) -> Result<(), NotBound> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let table = self.lock();
                if !table.open {
                    return Err(NotBound);
                }
                let bound = |topic: &Topic| table.is_bound(topic.routing_key());
                if topics.iter().all(bound) {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// It may be that nothing is bound any more, and what is held is to be. Until [`Self::open`]
    /// nobody is told that it is.
    pub(in crate::bus) fn begin_anew(&self) {
        let mut table = self.lock();
        table.open = false;
        table.proofs.forget();
        for key in table.keys.values_mut() {
            (key.bound, key.wanted, key.whole_since) = (false, key.holders > 0, None);
        }
        table.want_again();
        drop(table);
        self.changed.notify_waiters();
    }

    /// What was bound is so still, and what was about to be is to be bound again.
    pub(in crate::bus) fn go_on(&self) {
        self.lock().want_again();
    }

    /// What is bound is read from now on.
    pub(in crate::bus) fn open(&self) {
        self.lock().open = true;
        self.changed.notify_waiters();
    }

    /// Some that are to be bound, so many at most. Who has given up waiting keeps nobody waiting.
    pub(in crate::bus) fn take_wanted(&self, most: usize) -> Vec<Numbered> {
        let mut table = self.lock();
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(name) = table.wanted.pop_front()
        {
            let Some(key) = table.keys.get_mut(&name) else { continue };
            key.wanted = key.holders > 0 && !key.bound;
            let numbered = (name, key.number);
            // Who gave up and asked again is there twice.
            if key.wanted && !taken.contains(&numbered) {
                key.asked = true;
                taken.push(numbered);
            }
        }
        taken
    }

    pub(in crate::bus) fn bound(&self, names: &[Numbered]) {
        let mut table = self.lock();
        table.bindings += 1;
        let binding = table.bindings;
        for (name, _) in names {
            // None is forgotten on its way.
            if let Some(key) = table.keys.get_mut(name) {
                (key.bound, key.binding, key.wanted) = (true, binding, false);
            }
        }
        drop(table);
        self.changed.notify_waiters();
        self.unproven.notify_one();
    }

    /// Some that nobody has held for a while: not bound any more, as far as anybody is told. They
    /// come again until they are [`Self::unbound`].
    pub(in crate::bus) fn idle(&self, most: usize) -> Vec<Numbered> {
        let is_old = |since: Instant| since.elapsed() >= UNBIND_AFTER;
        let is_idle = |key: &Key| !key.wanted && key.idle_since.is_some_and(is_old);
        self.lock().leaving(most, is_idle)
    }

    /// The same of any: nobody is here any more, and who comes is told that nothing is bound.
    pub(in crate::bus) fn any(&self, most: usize) -> Vec<Numbered> {
        let mut table = self.lock();
        table.open = false;
        let leaving = table.leaving(most, |_| true);
        drop(table);
        self.changed.notify_waiters();
        leaving
    }

    /// So many of those.
    pub(in crate::bus) fn unbound(&self, count: usize) {
        self.lock().leaving.drain(..count);
    }

    /// Resolves when something is to be bound.
    pub(in crate::bus) async fn due(&self) {
        self.due.notified().await;
    }

    /// Resolves when something was bound that no marker has proved yet.
    pub(in crate::bus) async fn unproven(&self) {
        self.unproven.notified().await;
    }

    /// A marker with this id is about to be published to the exchange. Where it is read in the
    /// log, all that is bound by now is whole, and perhaps a gap is to be told of what was before.
    pub(in crate::bus) fn prove(&self, marker: &str, gap: bool) {
        let mut table = self.lock();
        let bindings = table.bindings;
        table.proofs.add(marker, bindings, gap);
    }

    /// The marker is not going to be there.
    pub(in crate::bus) fn take_back(&self, marker: &str) {
        self.lock().proofs.take_back(marker);
    }

    /// A marker was read in the log. Answers whether a gap is to be told.
    pub(in crate::bus) fn read(&self, marker: &str, at: Position) -> bool {
        let mut table = self.lock();
        let Some(Proven { bindings, gap }) = table.proofs.read(marker) else { return false };
        let proven = |key: &&mut Key| key.bound && key.binding <= bindings;
        for key in table.keys.values_mut().filter(proven) {
            key.whole_since.get_or_insert(at);
        }
        gap
    }

    /// It is another log, or entries of it are missing.
    pub(in crate::bus) fn interrupt(&self) {
        self.lock().keys.values_mut().for_each(|key| key.whole_since = None);
        self.unproven.notify_one();
    }

    pub(super) fn whole_since(&self, topics: &[Topic]) -> Option<Position> {
        let table = self.lock();
        let since = |topic: &Topic| table.keys.get(topic.routing_key())?.whole_since;
        topics.iter().map(since).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}

impl Table {
    fn is_bound(&self, name: &str) -> bool {
        self.keys.get(name).is_some_and(|key| key.bound)
    }

    fn want_again(&mut self) {
        let wanted = self.keys.iter().filter(|(_, key)| key.wanted);
        self.wanted = wanted.map(|(name, _)| name.clone()).collect();
    }

    /// While nothing is bound, who gives up and asks again leaves a name each time.
    fn forget_unwanted(&mut self) {
        if self.wanted.len() > 2 * self.keys.len() + SPARE {
            self.want_again();
        }
    }

    /// What fits leaves; some of all that does.
    fn leaving(&mut self, most: usize, fits: impl Fn(&Key) -> bool) -> Vec<Numbered> {
        let room = most.saturating_sub(self.leaving.len());
        let fitting = self.keys.iter().filter(|(_, key)| key.asked && fits(key));
        let fitting = fitting.map(|(name, key)| (name.clone(), key.number)).take(room);
        let fitting: Vec<_> = fitting.collect();
        for (name, _) in &fitting {
            self.keys.remove(name);
        }
        self.leaving.extend(fitting);
        self.leaving.iter().take(most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_in_vain_again_and_again_leaves_little_behind() {
        let keys = Keys::default();
        for n in 0..1_000 {
            let name = n.to_string();
            keys.hold(name.as_str().into());
            keys.release(&name);
        }
        let table = keys.lock();
        assert!(table.keys.is_empty());
        assert!(table.wanted.len() <= SPARE, "{}", table.wanted.len());
    }
}
