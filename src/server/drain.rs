//! The ordered end: no new clients, then the clients there are, then the application's way
//! in, then the bus.

use std::{sync::Arc, time::Duration};

use rand::seq::SliceRandom;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    bus::EventBus, config::DrainConfig, directory::Directory, health::Health, protocol::CloseReason,
};

/// Few sessions need no more spreading than this: the next one's turn comes at the latest
/// so long after the one before.
const TURN_MAX: Duration = Duration::from_millis(10);

/// A handshake that was under way when the drain began may still end in a session.
const LATECOMERS: Duration = Duration::from_millis(100);

/// What a close that is cut short at the end of the drain still has to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(super) struct Drain {
    pub config: DrainConfig,
    pub action_timeout: Duration,
    pub max_connections: usize,
    pub health: Arc<Health>,
    pub stop_accepting: watch::Sender<bool>,
    pub directory: Arc<Directory>,
    pub connections: Arc<Semaphore>,
    pub stop_grpc: watch::Sender<bool>,
    pub grpc: JoinSet<Result<(), tonic::transport::Error>>,
    pub bus: Arc<dyn EventBus>,
    /// The listeners' tasks: they end with the drain.
    pub tasks: JoinSet<()>,
}

impl Drain {
    pub(super) async fn run(mut self) {
        self.health.set_draining();
        sleep(self.config.shutdown_delay).await;
        self.stop_accepting.send_replace(true);
        let turns_end = Instant::now() + self.config.drain_time;
        let cut_off = turns_end + self.action_timeout;
        if timeout_at(cut_off, self.sessions(turns_end)).await.is_err() {
            self.cut_off().await;
        }
        self.stop_grpc.send_replace(true);
        // It bounds its own end.
        let _ = self.grpc.join_next().await;
        self.bus.close().await;
        drop(self.tasks);
    }

    /// Asks one session after another to finish; comes back when all have.
    async fn sessions(&self, turns_end: Instant) {
        let mut sessions = self.directory.all();
        sessions.shuffle(&mut rand::rng());
        tracing::info!(sessions = sessions.len(), "sending the clients away");
        let time = turns_end.duration_since(Instant::now());
        let turn = time.checked_div(sessions.len() as u32).unwrap_or_default().min(TURN_MAX);
        for session in sessions {
            session.drain();
            sleep(turn).await;
        }
        while timeout(LATECOMERS, self.all_gone()).await.is_err() {
            self.directory.all().iter().for_each(|session| session.drain());
        }
    }

    async fn all_gone(&self) {
        // More permits than fit the argument would be more sockets than a system has.
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        let _ = self.connections.acquire_many(all).await;
    }

    /// What has not finished by now is closed as it is.
    async fn cut_off(&self) {
        let sessions = self.directory.all();
        tracing::warn!(sessions = sessions.len(), "the drain's time is over, closing what is left");
        for session in sessions {
            let reason = "the gateway is being restarted, come back";
            session.seal(CloseReason::new(CloseReason::SERVICE_RESTART, reason));
        }
        let _ = timeout(LAST_WORDS, self.all_gone()).await;
    }
}
