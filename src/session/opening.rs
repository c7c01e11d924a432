//! How a session begins: the application is asked where it wants to be, and the client greeted.

use std::{sync::Arc, time::Duration};

use super::Session;
use crate::{
    application::Admission,
    metrics::Rpc,
    protocol::{self, Close},
};

impl Session {
    /// Greets the client, after the application has let it in where it wants to be asked.
    pub async fn open(self: Arc<Self>, ask_application: bool, ping_interval: Duration) {
        let snapshot = self.snapshot();
        let welcome = protocol::welcome(snapshot.id, ping_interval);
        if !ask_application {
            self.lock().admitted = true;
            return self.outbox.greet([welcome]);
        }
        match self.services.application.session_opened(&snapshot).await {
            Ok(Admission::Refuse(close)) => self.outbox.seal(close),
            Ok(Admission::Accept { update, events }) => {
                let frames = self.frames(&events, None);
                match frames.and_then(|frames| self.update(update).map(|()| frames)) {
                    Ok(frames) => {
                        self.lock().admitted = true;
                        self.outbox.greet([welcome].into_iter().chain(frames));
                    }
                    Err(error) => {
                        self.complain(Rpc::SessionOpened, None, &error);
                        self.refuse();
                    }
                }
            }
            Err(_) => self.refuse(),
        }
    }

    /// Nobody is let in unasked.
    fn refuse(&self) {
        self.outbox.seal(Close::try_later());
    }
}
