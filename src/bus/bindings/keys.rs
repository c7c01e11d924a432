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
    /// To be bound, each once.
    wanted: VecDeque<Arc<str>>,
    /// What is bound is read.
    open: bool,
    /// Of exchanges with a log.
    proofs: Proofs,
    /// The number of the last one that was made.
    bindings: u64,
}

#[derive(Debug, Default)]
struct Key {
    holders: usize,
    /// Nobody has held it since.
    idle_since: Option<Instant>,
    bound: bool,
    /// The number of its binding.
    binding: u64,
    /// It is among those to be bound, or being bound.
    wanted: bool,
    /// From there on all that was published to it is in the log, where there is one.
    whole_since: Option<Position>,
}

/// What is to be bound together.
#[derive(Debug)]
pub(in crate::bus) struct Wanted {
    pub names: Vec<Arc<str>>,
    /// The number of the binding. None that may have been unbound has the same: the broker may
    /// carry that out late.
    pub binding: u64,
}

impl Keys {
    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    pub(super) fn hold(&self, name: Arc<str>) {
        let mut table = self.lock();
        let key = table.keys.entry(name.clone()).or_default();
        key.holders += 1;
        key.idle_since = None;
        if !key.bound && !mem::replace(&mut key.wanted, true) {
            table.wanted.push_back(name);
            drop(table);
            self.due.notify_one();
        }
    }

    pub(super) fn release(&self, name: &str) {
        if let Some(key) = self.lock().keys.get_mut(name) {
            key.holders -= 1;
            key.idle_since = (key.holders == 0).then(Instant::now);
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

    /// Nothing is bound any more, and what is held is to be. Until [`Self::open`] nobody is told
    /// that it is.
    pub(in crate::bus) fn begin_anew(&self) {
        let mut table = self.lock();
        table.open = false;
        table.proofs.forget();
        table.keys.retain(|_, key| key.holders > 0);
        for key in table.keys.values_mut() {
            (key.bound, key.wanted, key.whole_since) = (false, true, None);
        }
        table.wanted = table.keys.keys().cloned().collect();
        drop(table);
        self.changed.notify_waiters();
    }

    /// What was bound is so still, and what was about to be is to be bound again.
    pub(in crate::bus) fn go_on(&self) {
        let mut table = self.lock();
        let wanted = table.keys.iter().filter(|(_, key)| key.wanted);
        table.wanted = wanted.map(|(name, _)| name.clone()).collect();
    }

    /// What is bound is read from now on.
    pub(in crate::bus) fn open(&self) {
        self.lock().open = true;
        self.changed.notify_waiters();
    }

    /// Some that are to be bound, so many at most. Who has given up waiting keeps nobody waiting.
    pub(in crate::bus) fn take_wanted(&self, most: usize) -> Wanted {
        let mut table = self.lock();
        let mut names = Vec::new();
        while names.len() < most
            && let Some(name) = table.wanted.pop_front()
        {
            match table.keys.get(&name) {
                Some(key) if key.holders > 0 => names.push(name),
                _ => drop(table.keys.remove(&name)),
            }
        }
        Wanted { names, binding: table.bindings + 1 }
    }

    pub(in crate::bus) fn bound(&self, wanted: &Wanted) {
        let mut table = self.lock();
        table.bindings = wanted.binding;
        for name in &wanted.names {
            // None is forgotten on its way.
            if let Some(key) = table.keys.get_mut(name) {
                (key.bound, key.binding, key.wanted) = (true, wanted.binding, false);
            }
        }
        drop(table);
        self.changed.notify_waiters();
        self.unproven.notify_one();
    }

    /// Some that nobody has held for a while, with the number of their binding: not bound any
    /// more, as far as anybody is told.
    pub(in crate::bus) fn take_idle(&self, most: usize) -> Vec<(Arc<str>, u64)> {
        let is_idle = |key: &Key| key.idle_since.is_some_and(|it| it.elapsed() >= UNBIND_AFTER);
        self.take_bound(most, is_idle)
    }

    /// The same of any: nobody is here any more.
    pub(in crate::bus) fn take_any(&self, most: usize) -> Vec<(Arc<str>, u64)> {
        self.take_bound(most, |_| true)
    }

    fn take_bound(&self, most: usize, fits: impl Fn(&Key) -> bool) -> Vec<(Arc<str>, u64)> {
        let mut table = self.lock();
        let taken = table.keys.iter().filter(|(_, key)| key.bound && fits(key));
        let taken = taken.take(most).map(|(name, key)| (name.clone(), key.binding));
        let taken: Vec<_> = taken.collect();
        for (name, _) in &taken {
            table.keys.remove(name);
        }
        taken
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
}
