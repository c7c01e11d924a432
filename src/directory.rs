//! The live sessions of this replica, by id.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    ids::SessionId,
    outbox::Outbox,
    peers::{LocalSessions, SessionCommand},
    protocol,
};

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

    pub fn all(&self) -> Vec<Arc<Outbox>> {
        self.lock().values().cloned().collect()
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

impl LocalSessions for Directory {
    fn perform(&self, id: SessionId, command: &SessionCommand) -> bool {
        let Some(outbox) = self.lock().get(&id).cloned() else { return false };
        match command {
            SessionCommand::Send(event) => {
                outbox.push(protocol::event(&event.name, None, &event.payload));
            }
            SessionCommand::Disconnect(reason) => outbox.seal(reason.clone()),
        }
        true
    }
}
