//! The live sessions of this replica, by id.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::task::yield_now;

use super::Session;
use crate::{
    event::EventBody,
    ids::SessionId,
    protocol::{self, Close},
};

/// Sessions that are looked at before others have their turn: some tens of microseconds.
pub(crate) const AT_ONCE: usize = 128;

/// What can be done to one session.
#[derive(Debug, Clone)]
pub enum SessionCommand {
    Send(EventBody),
    Disconnect(Close),
}

/// The sessions of this replica.
pub trait LocalSessions: Send + Sync {
    /// `false`: no such session here.
    fn command(&self, id: SessionId, command: &SessionCommand) -> bool;
}

#[derive(Default)]
pub(crate) struct Directory {
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
}

impl Directory {
    /// The session can be found until the entry is dropped.
    pub(crate) fn enter(self: &Arc<Self>, session: Arc<Session>) -> Entry {
        let id = session.outbox().session();
        self.lock().insert(id, session);
        Entry { directory: self.clone(), id }
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.lock().values().cloned().collect()
    }

    /// Bytes that wait for clients to read them, of all sessions: asked a few at a time, and
    /// without holding the directory, so that nobody's events wait for the sum.
    pub(crate) async fn outbox_bytes(&self) -> u64 {
        let mut sum = 0;
        for some in self.all().chunks(AT_ONCE) {
            sum += some.iter().map(|session| session.outbox().bytes() as u64).sum::<u64>();
            yield_now().await;
        }
        sum
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Session>>> {
        self.sessions.lock()
    }
}

impl LocalSessions for Directory {
    fn command(&self, id: SessionId, command: &SessionCommand) -> bool {
        let Some(session) = self.get(id) else { return false };
        let outbox = session.outbox();
        match command {
            SessionCommand::Send(event) => {
                outbox.send(protocol::event(&event.name, None, &event.payload))
            }
            SessionCommand::Disconnect(close) => {
                outbox.seal(close.clone());
                true
            }
        }
    }
}

/// A session's place in the directory.
pub(crate) struct Entry {
    directory: Arc<Directory>,
    id: SessionId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.directory.lock().remove(&self.id);
    }
}
