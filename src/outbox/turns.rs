//! The turns of a hub's sessions to write. A hub queues at most a quarter of an outbox for
//! one session between two of its turns: else a burst of events would fill the outboxes of
//! clients that do read before their sessions had begun to write.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use tokio::{task::yield_now, time::Instant};

use super::owed::{Due, Owed};

/// What may be queued between two turns is an outbox divided by this.
const SHARES: usize = 4;

/// How long a hub waits for turns while nobody has one: then somebody's will not come.
const TURN_PATIENCE: Duration = Duration::from_millis(100);

/// How long the next share waits for a client to read, from when the last one could be
/// queued. A client that stopped takes four of these to be cut off.
const ROOM_PATIENCE: Duration = Duration::from_millis(25);

/// What one hub has queued for its sessions, and what they owe it.
#[derive(Debug)]
pub struct Turns {
    /// Bytes that may be queued for one session between two of its turns.
    share: usize,
    /// The most that were, in this round.
    most: AtomicUsize,
    /// A new one begins when everybody may be given another share.
    round: AtomicU64,
    round_began: Mutex<Instant>,
    /// By sessions that were woken.
    turns: Arc<Owed>,
    /// By sessions that had their turn, but whose sockets are full.
    room: Arc<Owed>,
}

/// What a hub has queued for one session since its last turn.
#[derive(Debug, Default)]
pub struct Portion {
    bytes: usize,
    round: u64,
    turn: Option<Due>,
    room: Option<Due>,
}

impl Turns {
    pub fn new(max_outbox: usize) -> Self {
        Self {
            share: max_outbox / SHARES,
            most: AtomicUsize::default(),
            round: AtomicU64::default(),
            round_began: Mutex::new(Instant::now()),
            turns: Arc::default(),
            room: Arc::default(),
        }
    }

    /// Waits until so many bytes may be queued for any session.
    pub async fn room_for(&self, bytes: usize) {
        let most = self.most.load(Relaxed);
        // An event of the greatest size is a share by itself, and its frame a little more.
        if most > 0 && most + bytes > self.share {
            self.next_round().await;
        }
    }

    async fn next_round(&self) {
        // Lets the runtime look which sockets have room again.
        yield_now().await;
        self.turns.none_left(TURN_PATIENCE).await;
        let began = *self.round_began();
        self.room.none_left_by(began + ROOM_PATIENCE).await;
        *self.round_began() = Instant::now();
        self.most.store(0, Relaxed);
        self.round.fetch_add(1, Release);
    }
}

impl Turns {
    fn round_began(&self) -> MutexGuard<'_, Instant> {
        self.round_began.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Portion {
    /// To be told of all that a hub queues, and whether the session must be woken for it.
    pub fn add(&mut self, bytes: usize, woken: bool, turns: &Turns) {
        let round = turns.round.load(Acquire);
        if self.round != round {
            (self.round, self.bytes) = (round, 0);
        }
        self.bytes += bytes;
        if self.bytes > turns.most.load(Relaxed) {
            turns.most.store(self.bytes, Relaxed);
        }
        if woken {
            self.turn = Some(turns.turns.one());
        } else if self.turn.is_none() && self.bytes > turns.share / 2 {
            // Something still waits though it had its turn. With little to write it is no
            // matter how slow it is.
            self.room.get_or_insert_with(|| turns.room.one());
        }
    }

    /// The session's turn came, but its socket is full.
    pub fn passed(&mut self) {
        self.turn = None;
    }

    /// The session's turn came, and it writes; or it never will again.
    pub fn settled(&mut self) {
        (self.bytes, self.turn, self.room) = (0, None, None);
    }
}
