//! Takes the clients' connections, within bounds, for the workers.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::given;
use crate::{
    health::Health,
    net::listener::{Bounds, Listener},
    workers::Workers,
};

/// How long clients are left to whoever holds the same socket, while the bus is not attached: they
/// would be let in and could subscribe to nothing. Longer, and they are better told so.
const ATTACHING: Duration = Duration::from_secs(5);

/// How often to look whether it is.
const LOOK: Duration = Duration::from_millis(10);

/// Until clients can be served, for so long at most.
pub(super) async fn attached(health: &Health) {
    let attached = async {
        while !health.bus().attached_once {
            sleep(LOOK).await;
        }
    };
    if timeout(ATTACHING, attached).await.is_err() {
        tracing::warn!("accepting clients, though the bus is not attached after {ATTACHING:?}");
    }
}

/// Hands each connection to the next worker, from the beginning until it is told to stop. One that
/// was accepted is handed over also then: nobody else would serve it.
pub(super) async fn accept(
    listener: Listener,
    begin: impl Future<Output = ()>,
    bounds: Bounds,
    workers: Arc<Workers>,
    stop: watch::Receiver<bool>,
) {
    let mut stopped = pin!(given(stop));
    tokio::select! {
        () = begin => {}
        () = &mut stopped => return,
    }
    loop {
        let accepted = tokio::select! {
            accepted = bounds.accept(&listener) => accepted,
            () = &mut stopped => return,
        };
        if let Err(error) = workers.serve(accepted).await {
            tracing::warn!(%error, "a connection could not be handed to its worker");
        }
    }
}
