//! One client's session: who it is and what it holds. What its messages mean is said in
//! `session/actions.rs` and `session/subscriptions.rs`, its task is `session/driver.rs`, and its
//! life, from its id to its farewell, `session/life.rs`.

mod actions;
pub(crate) mod directory;
pub(crate) mod driver;
mod ending;
pub(crate) mod errors;
pub(crate) mod life;
mod opening;
mod recheck;
mod replay;
pub(crate) mod reply;
mod resume;
pub(crate) mod socket;
mod subscribe;
mod subscriptions;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use self::{replay::Replay, subscriptions::Subscriptions};
use crate::{
    application::{Application, SessionSnapshot},
    bus::Bindings,
    complaints::Complaints,
    hub::{Hub, outbox::Outbox},
    metrics::Metrics,
    ring::Ring,
};

/// What the sessions of one runtime share.
pub struct Services {
    pub hub: Arc<Hub>,
    pub ring: Arc<Ring>,
    pub bindings: Arc<Bindings>,
    /// How long a client waits for a replica that is behind what it has seen elsewhere.
    pub patience: Duration,
    pub application: Arc<dyn Application>,
    pub max_subscriptions: usize,
    /// Bounds the JSON of one event, in bytes.
    pub max_event_size: usize,
    /// Shared with the application's client, which complains of the calls themselves.
    pub complaints: Complaints,
    pub metrics: Arc<Metrics>,
}

/// Who the client is by now, what it is subscribed to, and what waits to be written to it.
pub struct Session {
    services: Arc<Services>,
    outbox: Arc<Outbox>,
    opened: Instant,
    state: Mutex<State>,
}

struct State {
    snapshot: Arc<SessionSnapshot>,
    /// The client was let in. Of one that was not, the application hears no more.
    admitted: bool,
    /// Grows with every change of auth: an answer to an older question counts no more.
    auth_version: u64,
    recheck_due: bool,
    subscriptions: Subscriptions,
    /// To be run, one after another,
    replays: VecDeque<Box<Replay>>,
    /// as one is now.
    replaying: bool,
}

impl Session {
    pub fn new(
        services: Arc<Services>,
        outbox: Arc<Outbox>,
        snapshot: SessionSnapshot,
    ) -> Arc<Self> {
        let state = State {
            snapshot: Arc::new(snapshot),
            admitted: false,
            auth_version: 0,
            recheck_due: false,
            subscriptions: Subscriptions::default(),
            replays: VecDeque::new(),
            replaying: false,
        };
        Arc::new(Self { services, outbox, opened: Instant::now(), state: Mutex::new(state) })
    }

    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub fn metrics(&self) -> &Metrics {
        &self.services.metrics
    }

    pub fn opened(&self) -> Instant {
        self.opened
    }

    pub fn subscriptions(&self) -> usize {
        self.lock().subscriptions.len()
    }

    /// Of these, those that have not received yet what they missed.
    pub fn catching_up(&self) -> usize {
        self.lock().subscriptions.catching_up()
    }

    /// The next of the replays that are due.
    pub fn next_replay(&self) -> Option<Box<Replay>> {
        let mut state = self.lock();
        let next = state.replays.pop_front();
        state.replaying = next.is_some();
        next
    }

    /// What the application is told of it now.
    pub fn snapshot(&self) -> Arc<SessionSnapshot> {
        self.lock().snapshot.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
