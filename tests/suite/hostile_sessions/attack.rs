//! Plays numbered sessions at a steady rate, on a thread of its own. A number and a seed
//! are one session, whatever is played beside it.

use std::{net::SocketAddr, ops::Range, sync::Arc, thread, time::Duration};

use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    cost::Costs,
    plan::Class,
    play::{Played, play},
};

/// Longer than any session may take: pings that go unanswered, then a close that does.
const SESSION_DEADLINE: Duration = Duration::from_secs(60);

/// At any time.
pub const SESSIONS_AT_ONCE: usize = 500;

/// Where everything fails, a part tells as much.
const FAILURES_KEPT: usize = 1_000;

#[derive(Clone)]
pub struct Attacker {
    pub gateway: SocketAddr,
    pub classes: Arc<Vec<Class>>,
    pub seed: u64,
    /// Sessions begun in a second.
    pub rate: u32,
}

#[derive(Default)]
pub struct Outcome {
    pub costs: Costs,
    pub failures: Vec<String>,
}

impl Attacker {
    /// Each class once in every lap, in an order of the lap's own.
    pub fn class_of(&self, number: u64) -> usize {
        let count = self.classes.len() as u64;
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.shuffle(&mut SmallRng::seed_from_u64(self.seed ^ (number / count)));
        order[(number % count) as usize]
    }

    /// All of them, to their ends. `begun` is told when the last has begun.
    pub async fn sessions(&self, numbers: Range<u64>, begun: oneshot::Sender<()>) -> Outcome {
        let sessions = numbers.map(|number| (self.class_of(number), number)).collect();
        self.clone().on_a_thread(sessions, begun).await
    }

    /// So many of one class, all at once.
    pub async fn of_class(&self, class: usize, count: u64) -> Outcome {
        let sessions = (0..count).map(|number| (class, number)).collect();
        let at_once = Self { rate: 10_000, ..self.clone() };
        at_once.on_a_thread(sessions, oneshot::channel().0).await
    }

    async fn on_a_thread(self, sessions: Vec<(usize, u64)>, begun: oneshot::Sender<()>) -> Outcome {
        let (over, outcome) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let outcome = runtime.expect("a runtime").block_on(self.run(sessions, begun));
            let _ = over.send(outcome);
        });
        outcome.await.expect("the attacker does not panic")
    }

    async fn run(self, sessions: Vec<(usize, u64)>, begun: oneshot::Sender<()>) -> Outcome {
        let mut pace = interval(Duration::from_secs(1) / self.rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let at_once = Arc::new(Semaphore::new(SESSIONS_AT_ONCE));
        let mut playing = JoinSet::new();
        let mut outcome = Outcome::default();
        for (class, number) in sessions {
            pace.tick().await;
            let place = at_once.clone().acquire_owned().await.expect("never closed");
            let plan = self.classes[class].plan(self.seed, number);
            let gateway = self.gateway;
            playing.spawn(async move {
                let played = timeout(SESSION_DEADLINE, play(gateway, plan)).await;
                drop(place);
                (class, number, played.ok())
            });
            while let Some(played) = playing.try_join_next() {
                self.note(&mut outcome, played.expect("a session does not panic"));
            }
        }
        let _ = begun.send(());
        while let Some(played) = playing.join_next().await {
            self.note(&mut outcome, played.expect("a session does not panic"));
        }
        outcome
    }

    fn note(&self, outcome: &mut Outcome, (class, number, played): (usize, u64, Option<Played>)) {
        let name = &self.classes[class].name;
        let verdict = match played {
            Some(played) => {
                outcome.costs.add(name, played.bytes_in, played.bytes_out);
                played.verdict
            }
            None => Err(format!("no end within {SESSION_DEADLINE:?}")),
        };
        if let Err(problem) = verdict
            && outcome.failures.len() < FAILURES_KEPT
        {
            let seed = self.seed;
            outcome.failures.push(format!(
                "{name}: {problem}\n    again: scripts/hostile again {seed} {number}"
            ));
        }
    }
}
