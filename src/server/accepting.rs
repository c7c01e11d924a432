//! Takes the clients' connections, within bounds, for the workers.

use std::sync::Arc;

use tokio::sync::watch;

use super::given;
use crate::{
    net::listener::{Bounds, Listener},
    workers::Workers,
};

/// Hands each connection to the next worker, until it is told to stop.
pub(super) async fn accept(
    listener: Listener,
    bounds: Bounds,
    workers: Arc<Workers>,
    stop: watch::Receiver<bool>,
) {
    let serving = async {
        loop {
            let accepted = bounds.accept(&listener).await;
            if let Err(error) = workers.serve(accepted).await {
                tracing::warn!(%error, "a connection could not be handed to its worker");
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = given(stop) => {}
    }
}
