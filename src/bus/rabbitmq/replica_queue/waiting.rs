//! The questions of this replica that wait for an answer.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::ids::random_id;

/// At the same time.
const MAX_ASKED: usize = 1_000;

/// By correlation id.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<String, oneshot::Sender<Vec<u8>>>>>);

impl Waiting {
    /// `None` when too many wait already.
    pub(super) fn register(&self) -> Option<(Asked, oneshot::Receiver<Vec<u8>>)> {
        let id = random_id();
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.len() >= MAX_ASKED {
            return None;
        }
        waiting.insert(id.clone(), sender);
        Some((Asked { id, waiting: self.clone() }, answer))
    }

    pub(super) fn resolve(&self, id: &str, answer: &[u8]) {
        if let Some(asked) = self.lock().remove(id) {
            // Nobody waits any more: too late.
            let _ = asked.send(answer.to_vec());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Vec<u8>>>> {
        self.0.lock()
    }
}

/// One question that waits for its answer; forgotten on drop.
pub(super) struct Asked {
    pub id: String,
    waiting: Waiting,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.id);
    }
}
