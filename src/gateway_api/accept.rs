//! Connections as they are accepted, within the listener's bound: those that speak HTTP/2 go
//! to the gRPC server, the others are served here.

use std::{io, sync::Arc};

use futures_util::{Stream, stream};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    connection::{CallerConnection, Greeted},
    http1::Http1,
};
use crate::net::listener::Listener;

/// An application has a few; whoever comes beyond these waits to be accepted.
const CONNECTIONS_MAX: usize = 1_000;

/// Connections over HTTP/2, for ever.
pub(super) fn http2(
    listener: Listener,
    http1: Http1,
) -> impl Stream<Item = io::Result<CallerConnection>> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let door = Door { listener, places, http1, greeting: JoinSet::new() };
    stream::unfold(door, |mut door| async { Some((Ok(door.next().await), door)) })
}

struct Door {
    listener: Listener,
    places: Arc<Semaphore>,
    http1: Http1,
    /// Those that have not said yet what they speak. Each has a place.
    greeting: JoinSet<io::Result<Greeted>>,
}

impl Door {
    async fn next(&mut self) -> CallerConnection {
        loop {
            tokio::select! {
                connection = accept(&self.listener, &self.places) => {
                    self.greeting.spawn(connection.greet());
                }
                Some(greeted) = self.greeting.join_next() => match greeted {
                    Ok(Ok(Greeted::Http2(connection))) => return connection,
                    Ok(Ok(Greeted::Http1(connection))) => {
                        let crowded = self.places.available_permits() < CONNECTIONS_MAX / 2;
                        self.http1.serve(connection, crowded);
                    }
                    // Gone, or too slow.
                    Ok(Err(_)) | Err(_) => {}
                },
            }
        }
    }
}

async fn accept(listener: &Listener, places: &Arc<Semaphore>) -> CallerConnection {
    match places.clone().acquire_owned().await {
        Ok(place) => CallerConnection::new(listener.accept().await, place),
        // It is never closed.
        Err(_) => std::future::pending().await,
    }
}
