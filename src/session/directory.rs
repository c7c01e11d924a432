//! The live sessions of this replica, by id.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::yield_now;

use crate::{
    gateway_api::peers::{LocalSessions, SessionCommand},
    ids::SessionId,
    protocol,
    session::actions::Client,
};

/// Sessions that are looked at before others have their turn: some tens of microseconds.
pub const AT_ONCE: usize = 128;

#[derive(Default)]
pub struct Directory {
    sessions: Mutex<HashMap<SessionId, Arc<Client>>>,
}

impl Directory {
    /// The session can be found until the entry is dropped.
    pub fn enter(self: &Arc<Self>, client: Arc<Client>) -> Entry {
        let id = client.outbox().session();
        self.lock().insert(id, client);
        Entry { directory: self.clone(), id }
    }

    pub fn get(&self, id: SessionId) -> Option<Arc<Client>> {
        self.lock().get(&id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Client>> {
        self.lock().values().cloned().collect()
    }

    /// Bytes that wait for clients to read them, of all sessions: asked a few at a time, and
    /// without holding the directory, so that nobody's events wait for the sum.
    pub async fn outbox_bytes(&self) -> u64 {
        let mut sum = 0;
        for some in self.all().chunks(AT_ONCE) {
            sum += some.iter().map(|client| client.outbox().bytes() as u64).sum::<u64>();
            yield_now().await;
        }
        sum
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Client>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalSessions for Directory {
    fn perform(&self, id: SessionId, command: &SessionCommand) -> bool {
        let Some(client) = self.get(id) else { return false };
        let outbox = client.outbox();
        match command {
            SessionCommand::Send(event) => {
                outbox.try_push(protocol::event(&event.name, None, &event.payload))
            }
            SessionCommand::Disconnect(reason) => {
                outbox.seal(reason.clone());
                true
            }
        }
    }
}

/// A session's place in the directory.
pub struct Entry {
    directory: Arc<Directory>,
    id: SessionId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.directory.lock().remove(&self.id);
    }
}
