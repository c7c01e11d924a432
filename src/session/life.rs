//! A session's life, from its id to the last thing said about it.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{
    Services, Session,
    directory::Directory,
    driver::{DriverSettings, End, drive},
    socket::Socket,
};
use crate::{
    application::{ClientInfo, SessionSnapshot},
    hub::outbox::Outbox,
    ids::SessionIds,
};

/// What the sessions of all runtimes share.
pub(crate) struct Sessions {
    pub ids: SessionIds,
    pub directory: Arc<Directory>,
    /// Bytes that may wait for one client.
    pub max_outbox: usize,
    pub settings: Arc<DriverSettings>,
    /// One permit for each session that is over but has not been told to the application.
    pub farewells: Arc<Semaphore>,
}

/// Lives one session, and leaves the socket to the caller.
pub(crate) async fn live<S: Socket>(
    sessions: &Sessions,
    services: Arc<Services>,
    socket: &mut S,
    client: ClientInfo,
) {
    let metrics = services.metrics.clone();
    let id = sessions.ids.next();
    metrics.sessions_opened.inc();
    tracing::debug!(session = %id, remote = %client.remote_address, "session opened");
    let outbox = Outbox::in_dialect(client.dialect, id, sessions.max_outbox);
    let snapshot =
        SessionSnapshot { id, client: Arc::new(client), auth: None, data: Default::default() };
    let session = Session::new(services, outbox, snapshot);
    let entry = sessions.directory.enter(session.clone());
    let end = drive(socket, session.clone(), sessions.settings.clone()).await;
    drop(entry);
    metrics.sessions_closed[(&end).into()].inc();
    let End { close, unfinished, .. } = end;
    let lived = session.opened().elapsed();
    tracing::debug!(session = %id, code = close.code, "session closed");
    session.end(close.clone());
    let farewell = async move {
        if let Some(action) = unfinished {
            action.await;
        }
        session.tell_application(close, lived).await;
    };
    // Best effort: where as many wait for the application as may be connected, it has
    // trouble enough.
    if let Ok(place) = sessions.farewells.clone().try_acquire_owned() {
        tokio::spawn(async move {
            farewell.await;
            drop(place);
        });
    }
}
