//! Takes the clients' connections, within bounds, for the workers.

use std::{pin::pin, sync::Arc};

use tokio::sync::watch;

use super::given;
use crate::{
    net::listener::{Bounds, Listener},
    workers::Workers,
};

/// Hands each connection to the next worker, until it is told to stop. One that was accepted is
/// handed over also then: nobody else would serve it.
pub(super) async fn accept(
    listener: Listener,
    bounds: Bounds,
    workers: Arc<Workers>,
    stop: watch::Receiver<bool>,
) {
    let mut stopped = pin!(given(stop));
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
