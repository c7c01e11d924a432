//! What asks a process to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// From here on they do not end the process by themselves.
    pub fn new() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// What comes of it, unless one of them comes before.
    pub(crate) async fn before<T>(&mut self, run: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = run => Some(done),
            () = self.next() => None,
        }
    }

    /// The next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
