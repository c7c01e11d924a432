//! How a session ends: what it held is let go of, and the application told.

use std::time::Duration;

use super::Session;
use crate::protocol::Close;

impl Session {
    /// The session is over: nothing is delivered to it any more.
    pub fn end(&self, close: Close) {
        self.outbox.seal(close);
        let topics = self.lock().subscriptions.take_topics();
        for topic in topics {
            self.services.hub.unsubscribe(&topic, self.outbox.session());
        }
    }

    /// Tells the application, if it can be told. What it had been asked is answered by now,
    /// and may have added subscriptions.
    pub async fn tell_application(&self, close: Close, lived: Duration) {
        self.end(close.clone());
        let (snapshot, admitted) = {
            let state = self.lock();
            (state.snapshot.clone(), state.admitted)
        };
        if admitted {
            self.services.application.session_closed(&snapshot, &close, lived).await;
        }
    }
}
