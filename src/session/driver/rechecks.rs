//! When the application is asked again about a session's subscriptions: from time to time,
//! and at once when auth has changed.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{DriverSettings, Session};

/// A right that was taken away must not live on until the next re-check because one failed.
const RETRY: Duration = Duration::from_secs(2);

pub(super) struct Rechecks {
    settings: Arc<DriverSettings>,
    next: Instant,
    due: bool,
    /// Resolves to whether the application has answered.
    asking: Option<BoxFuture<'static, bool>>,
    /// What is or will be asked follows a change of auth, and must be answered.
    auth_changed: bool,
}

impl Rechecks {
    pub(super) fn new(settings: Arc<DriverSettings>, now: Instant) -> Self {
        let next = now + settings.jittered(settings.recheck_interval);
        Self { settings, next, due: false, asking: None, auth_changed: false }
    }

    /// When it is time for one.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// To be called when it may be time.
    pub(super) fn on_time(&mut self, now: Instant) {
        if self.next <= now {
            self.due = true;
            self.next = now + self.settings.jittered(self.settings.recheck_interval);
        }
    }

    /// What is being asked is about an auth that is no more.
    pub(super) fn on_new_auth(&mut self) {
        self.asking = None;
        self.due = true;
        self.auth_changed = true;
    }

    /// Goes on with the one under way, and begins the next where `begins`; returns whether it
    /// did.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        session: &Arc<Session>,
        begins: bool,
    ) -> bool {
        if let Some(asking) = &mut self.asking {
            let Poll::Ready(answered) = asking.as_mut().poll(cx) else { return false };
            self.asking = None;
            if answered {
                self.auth_changed = false;
            } else if self.auth_changed {
                let retry = Instant::now() + self.settings.jittered(RETRY);
                self.next = self.next.min(retry);
            }
        }
        let begins = begins && self.due;
        if begins {
            self.due = false;
            self.next = Instant::now() + self.settings.jittered(self.settings.recheck_interval);
            self.asking = Some(Box::pin(session.clone().recheck()));
        }
        begins
    }
}
