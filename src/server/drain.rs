//! The ordered end: no new clients, then the clients there are, then the application's way
//! in, then the bus.

use std::{pin::pin, sync::Arc, time::Duration};

use rand::seq::SliceRandom;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use crate::{
    bus::EventBus, complaints::Complaints, config::DrainConfig, edge::Edge, health::Health,
    session::life::Sessions,
};

/// Few sessions need no more spreading than this: the next one's turn comes at the latest
/// so long after the one before.
const TURN_MAX: Duration = Duration::from_millis(10);

/// How often it is looked for sessions that have begun since the drain.
const LATECOMERS: Duration = Duration::from_millis(100);

/// What a close that is cut short at the end of the drain still has to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// For the calls of the application that are in flight and for the broker's confirms,
/// together, whatever state the broker is in.
const FAREWELL: Duration = Duration::from_secs(5);

pub(super) struct Drain {
    pub config: DrainConfig,
    pub action_timeout: Duration,
    pub max_connections: usize,
    pub max_pending_handshakes: usize,
    pub health: Arc<Health>,
    pub stop_accepting: watch::Sender<bool>,
    /// One permit for each connection without a finished handshake.
    pub handshakes: Arc<Semaphore>,
    pub edge: Arc<Edge>,
    pub sessions: Arc<Sessions>,
    pub stop_grpc: watch::Sender<bool>,
    pub grpc: JoinSet<Result<(), tonic::transport::Error>>,
    pub bus: Arc<dyn EventBus>,
    /// The listeners' tasks: they end with the drain.
    pub tasks: JoinSet<()>,
    /// Of the application.
    pub complaints: Complaints,
}

impl Drain {
    pub(super) async fn run(mut self) {
        self.health.set_draining();
        sleep(self.config.shutdown_delay).await;
        self.stop_accepting.send_replace(true);
        let turns_end = Instant::now() + self.config.drain_time;
        let cut_off = turns_end + self.action_timeout;
        if timeout_at(cut_off, self.send_away(turns_end)).await.is_err() {
            self.cut_off().await;
        }
        let deadline = Instant::now() + FAREWELL;
        self.stop_grpc.send_replace(true);
        let _ = timeout_at(deadline, self.grpc.join_next()).await;
        self.bus.close(deadline).await;
        drop(self.tasks);
        self.complaints.say_the_rest();
        self.edge.complaints.say_the_rest();
    }

    /// Asks one session after another to finish, until all have.
    async fn send_away(&self, turns_end: Instant) {
        let mut sessions = self.sessions.directory.all();
        sessions.shuffle(&mut rand::rng());
        tracing::info!(sessions = sessions.len(), "sending the clients away");
        let turns = turns(Instant::now(), turns_end, sessions.len());
        for (session, turn) in sessions.iter().zip(turns) {
            sleep_until(turn).await;
            session.outbox().drain();
        }
        // Whoever was accepted is let in, and then sent away like all others. No place is
        // asked for before: who waits for all of them leaves none to take.
        self.send_away_until(self.all_in()).await;
        self.send_away_until(self.all_gone()).await;
    }

    /// Those who have come late, too.
    async fn send_away_until(&self, done: impl Future<Output = ()>) {
        let mut done = pin!(done);
        while timeout(LATECOMERS, &mut done).await.is_err() {
            self.sessions.directory.all().iter().for_each(|session| session.outbox().drain());
        }
    }

    /// No handshake is under way.
    async fn all_in(&self) {
        let _ = self.handshakes.acquire_many(permits(self.max_pending_handshakes)).await;
    }

    /// Every connection is closed, and the application has been told.
    async fn all_gone(&self) {
        let all = permits(self.max_connections);
        let _ = self.edge.connections.acquire_many(all).await;
        let _ = self.sessions.farewells.acquire_many(all).await;
    }

    /// What has not finished by now is closed as it is.
    async fn cut_off(&self) {
        let sessions = self.sessions.directory.all();
        // Sessions that ended, which the application has not been told of.
        let untold = self.max_connections - self.sessions.farewells.available_permits();
        let sessions_left = sessions.len();
        tracing::warn!(sessions_left, untold, "the drain's time is over, closing what is left");
        for session in sessions {
            session.outbox().send_elsewhere();
        }
        let _ = timeout(LAST_WORDS, self.all_gone()).await;
    }
}

/// More than fit the argument would be more sockets than a system has.
fn permits(all: usize) -> u32 {
    u32::try_from(all).unwrap_or(u32::MAX)
}

/// When each session is asked, spread over the time there is. Moments, not pauses: a timer
/// is up to a millisecond late, which many pauses would add up.
fn turns(start: Instant, end: Instant, sessions: usize) -> impl Iterator<Item = Instant> {
    let time = end.duration_since(start);
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    let spread = time.min(TURN_MAX.saturating_mul(sessions));
    (0..sessions).map(move |n| start + spread.mul_f64(f64::from(n) / f64::from(sessions)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_sessions_follow_each_other_soon() {
        let start = Instant::now();
        let turns: Vec<_> = turns(start, start + Duration::from_secs(10), 3).collect();
        assert_eq!(turns, [start, start + TURN_MAX, start + 2 * TURN_MAX]);
    }

    #[test]
    fn many_sessions_all_have_their_turn_in_time() {
        let start = Instant::now();
        let end = start + Duration::from_secs(1);
        let turns: Vec<_> = turns(start, end, 100_000).collect();
        assert_eq!(turns.len(), 100_000);
        assert!(turns.is_sorted() && turns.iter().all(|turn| *turn < end));
        assert!(turns[50_000] > start + Duration::from_millis(400));
    }

    #[test]
    fn without_time_everybody_goes_at_once() {
        let now = Instant::now();
        assert!(turns(now, now, 5).all(|turn| turn == now));
        assert_eq!(turns(now, now, 0).count(), 0);
    }
}
