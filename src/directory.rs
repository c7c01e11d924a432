//! The live sessions of this replica, by id.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{ids::SessionId, outbox::Outbox};

#[derive(Debug, Default)]
pub struct Directory {
    sessions: Mutex<HashMap<SessionId, Arc<Outbox>>>,
}

impl Directory {
    /// The session can be found until the entry is dropped.
    pub fn enter(self: &Arc<Self>, outbox: Arc<Outbox>) -> Entry {
        let id = outbox.session();
        self.lock().insert(id, outbox);
        Entry { directory: self.clone(), id }
    }

    pub fn get(&self, id: SessionId) -> Option<Arc<Outbox>> {
        self.lock().get(&id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Outbox>> {
        self.lock().values().cloned().collect()
    }

    /// Bytes that wait for clients to read them, of all sessions.
    pub fn outbox_bytes(&self) -> u64 {
        // Without holding the directory while each outbox is asked.
        self.all().iter().map(|outbox| outbox.bytes() as u64).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Outbox>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place in the directory.
#[derive(Debug)]
pub struct Entry {
    directory: Arc<Directory>,
    id: SessionId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.directory.lock().remove(&self.id);
    }
}
