//! The turns of a hub's sessions to write. A hub queues at most a quarter of an outbox for
//! one session between two of its turns: else a burst of events would fill the outboxes of
//! clients that do read before their sessions had begun to write.
//!
//! A session that could not write in its turn has a client that is slower, or one that has
//! stopped. For the former's sake a hub waits a moment, which the latter cannot make longer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{task::yield_now, time::Instant};

use super::owed::{Due, Owed};

/// What may be queued between two turns is an outbox divided by this.
const SHARES: usize = 4;

/// How long a hub waits for turns while nobody has one: then somebody's will not come.
const TURN_PATIENCE: Duration = Duration::from_millis(100);

/// How long a round lasts where a client has yet to read what it was sent: whoever reads a
/// share meanwhile is not cut off by any burst. In so many pauses: where others have the
/// processor these take longer, and so does reading.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSES: u32 = 5;

/// What one hub has queued for its sessions, and what they owe it.
#[derive(Debug)]
pub struct Turns {
    /// Bytes that may be queued for one session in a round.
    share: usize,
    /// The most that was, in this round.
    most: AtomicUsize,
    /// By sessions that were woken and have not had their turn.
    turns: Arc<Owed>,
    round: Mutex<Round>,
    rounds: AtomicU64,
}

/// Ends when everybody may be given another share.
#[derive(Debug, Clone)]
struct Round {
    began: Instant,
    /// By sessions that much was queued for: to write all of it.
    rest: Arc<Owed>,
}

/// What a hub has queued for one session in this round, since it last had written all.
#[derive(Debug, Default)]
pub(super) struct Portion {
    bytes: usize,
    round: u64,
    turn: Option<Due>,
    rest: Option<Due>,
}

impl Turns {
    pub fn new(max_outbox: usize) -> Self {
        Self {
            share: max_outbox / SHARES,
            most: AtomicUsize::default(),
            turns: Arc::default(),
            round: Mutex::new(Round::new()),
            rounds: AtomicU64::default(),
        }
    }

    /// Waits until so many bytes may be queued for any session.
    pub async fn room_for(&self, bytes: usize) {
        if !self.has_room_for(bytes) {
            self.next_round().await;
        }
    }

    pub fn has_room_for(&self, bytes: usize) -> bool {
        let most = self.most.load(Relaxed);
        // An event of the greatest size is a share by itself, and its frame a little more.
        most == 0 || most + bytes <= self.share
    }

    async fn next_round(&self) {
        // Lets the runtime look which sockets have room again.
        yield_now().await;
        self.turns.none_left(TURN_PATIENCE).await;
        let round = self.round().clone();
        round.read().await;
        *self.round() = Round::new();
        self.most.store(0, Relaxed);
        self.rounds.fetch_add(1, Relaxed);
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock()
    }
}

impl Round {
    fn new() -> Self {
        Self { began: Instant::now(), rest: Arc::default() }
    }

    /// Waits until clients have read, or had the time for it.
    async fn read(&self) {
        let passed = self.began.elapsed().div_duration_f64(PAUSE) as u32;
        for _ in passed..PAUSES {
            if self.rest.none_left_within(PAUSE).await {
                return;
            }
        }
    }
}

impl Portion {
    /// To be told of all that a hub queues, and whether the session must be woken for it.
    pub(super) fn add(&mut self, bytes: usize, woken: bool, turns: &Turns) {
        let round = turns.rounds.load(Relaxed);
        if self.round != round {
            (self.round, self.bytes, self.rest) = (round, 0, None);
        }
        self.bytes += bytes;
        if self.bytes > turns.most.load(Relaxed) {
            turns.most.store(self.bytes, Relaxed);
        }
        if woken {
            self.turn = Some(turns.turns.one());
        }
        // Where less is queued somebody else's burst does not wait for a slow client.
        if self.bytes > turns.share / 2 {
            self.rest.get_or_insert_with(|| turns.round().rest.one());
        }
    }

    /// The session's turn came, but its socket is full.
    pub(super) fn passed(&mut self) {
        self.turn = None;
    }

    /// The session's turn came, and it writes: all that waits, or as much as it can.
    pub(super) fn written(&mut self, all: bool) {
        self.turn = None;
        if all {
            (self.bytes, self.rest) = (0, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use futures_util::future::join;
    use tokio::time::sleep;

    use super::*;
    use crate::{
        hub::outbox::Outbox,
        ids::{ReplicaId, SessionIds},
        protocol::{Close, Frame},
    };

    const OUTBOX: usize = 4_000;

    const REST_PATIENCE: Duration = PAUSE.saturating_mul(PAUSES);

    /// Most of a share.
    const LARGE: usize = 600;

    const SOON: Duration = Duration::from_millis(10);

    struct Session(Arc<Outbox>);

    impl Session {
        fn new() -> Self {
            let session = Self(Outbox::new(SessionIds::new(ReplicaId::random()).next(), OUTBOX));
            session.0.greet([]);
            session.writes();
            session
        }

        fn fed(&self, bytes: usize, turns: &Turns) {
            self.0.feed(Frame::from("x".repeat(bytes)), turns);
        }

        fn writes_one(&self) -> bool {
            self.0.poll_frame(&mut Context::from_waker(Waker::noop())).is_ready()
        }

        fn writes(&self) {
            while self.writes_one() {}
        }

        /// Its turn came, but the socket takes nothing.
        fn stalls(&self) {
            self.0.pass();
        }
    }

    async fn wait(turns: &Turns, bytes: usize) -> Duration {
        let began = Instant::now();
        turns.room_for(bytes).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn within_a_share_nobody_is_waited_for() {
        let (turns, session) = (Turns::new(OUTBOX), Session::new());
        session.fed(LARGE, &turns);
        assert_eq!(wait(&turns, LARGE / 2).await, Duration::ZERO);
        // Nor for who had a turn since.
        session.writes();
        session.fed(LARGE, &turns);
        assert_eq!(wait(&turns, LARGE / 2).await, Duration::ZERO);
        // Nor is an event held back that is a share by itself.
        assert_eq!(wait(&Turns::new(OUTBOX), OUTBOX).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_it_everybody_who_was_woken_is() {
        let (turns, sessions) = (Turns::new(OUTBOX), [Session::new(), Session::new()]);
        let [first, second] = &sessions;
        sessions.iter().for_each(|session| session.fed(LARGE, &turns));
        first.writes();
        let later = async {
            sleep(SOON).await;
            second.writes();
        };
        assert_eq!(join(wait(&turns, LARGE), later).await.0, SOON);
    }

    #[tokio::test(start_paused = true)]
    async fn whose_turn_does_not_come_is_waited_for_a_tenth_of_a_second() {
        let (turns, session) = (Turns::new(OUTBOX), Session::new());
        session.fed(LARGE, &turns);
        assert_eq!(wait(&turns, LARGE).await, TURN_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_ends_is_not_waited_for() {
        let (turns, session) = (Turns::new(OUTBOX), Session::new());
        session.fed(LARGE, &turns);
        session.0.seal(Close::new(Close::ABNORMAL, "gone"));
        assert_eq!(wait(&turns, LARGE).await, Duration::ZERO);
        let session = Session::new();
        session.fed(LARGE, &turns);
        drop(session);
        assert_eq!(wait(&turns, LARGE).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_socket_has_a_moment_to_be_read() {
        let (turns, session) = (Turns::new(OUTBOX), Session::new());
        (0..2).for_each(|_| session.fed(LARGE / 2, &turns));
        session.stalls();
        let later = async {
            // With a part it is not done.
            session.writes_one();
            sleep(SOON).await;
            session.writes();
        };
        assert_eq!(join(wait(&turns, LARGE), later).await.0, SOON);
        session.fed(LARGE, &turns);
        session.stalls();
        assert_eq!(wait(&turns, LARGE).await, REST_PATIENCE);
        session.fed(LARGE, &turns);
        // The moment counts from when this could be queued.
        sleep(SOON).await;
        assert_eq!(wait(&turns, LARGE).await, REST_PATIENCE - SOON);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_socket_that_little_is_queued_for_has_none() {
        let (turns, stopped, quick) = (Turns::new(OUTBOX), Session::new(), Session::new());
        stopped.fed(LARGE, &turns);
        stopped.stalls();
        assert_eq!(wait(&turns, LARGE).await, REST_PATIENCE);
        for _ in 0..10 {
            stopped.fed(10, &turns);
            quick.fed(LARGE, &turns);
            quick.writes();
            assert_eq!(wait(&turns, LARGE).await, Duration::ZERO);
        }
    }
}
