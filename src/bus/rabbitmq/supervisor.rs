//! Keeps one connection to the broker alive: makes it, watches it, and makes it again when
//! it is lost. lapin's own recovery stays off: it would read streams again from where they
//! were first read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

pub(super) use crate::problem::Problem;

use super::{connection::BrokerConnection, nodes::Nodes, url::BrokerUrl};
use crate::net::backoff::Backoff;

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// A broker that comes up again is to be noticed soon.
const BACKOFF_LONGEST: Duration = Duration::from_millis(500);

/// Shown by whatever needs a connection that was not made yet.
pub(super) const NOT_CONNECTED_YET: &str = "not connected to the broker yet";

/// What the users of a connection see of it.
#[derive(Clone)]
pub(super) struct Link {
    /// The connection, while there is one.
    state: watch::Receiver<Option<Arc<BrokerConnection>>>,
    problem: Arc<Problem>,
    /// How often the connection was made.
    made: Arc<AtomicU64>,
}

impl Link {
    /// The connection, as soon as there is one. `None` when the bus has been closed.
    pub(super) async fn connection(&mut self) -> Option<Arc<BrokerConnection>> {
        self.state.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Whether this connection is the one in use.
    pub(super) fn uses(&self, connection: &Arc<BrokerConnection>) -> bool {
        is(&self.state.borrow(), connection)
    }

    /// Resolves when this connection is no longer the one in use.
    pub(super) async fn lost(&self, connection: &Arc<BrokerConnection>) {
        let mut state = self.state.clone();
        let _ = state.wait_for(|now| !is(now, connection)).await;
    }

    /// How often the connection was made again.
    pub(super) fn reconnects(&self) -> u64 {
        self.made.load(Ordering::Relaxed).saturating_sub(1)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.state.borrow().as_ref().is_some_and(|connection| connection.is_blocked())
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.problem.get()
    }

    pub(super) async fn close(&self, deadline: Instant) {
        let connection = self.state.borrow().clone();
        if let Some(connection) = connection {
            connection.close(deadline).await;
        }
    }
}

fn is(now: &Option<Arc<BrokerConnection>>, connection: &Arc<BrokerConnection>) -> bool {
    now.as_ref().is_some_and(|now| Arc::ptr_eq(now, connection))
}

/// Makes the connection, tells its [`Link`]s, and makes it again when it is lost.
pub(super) struct Supervisor {
    name: Arc<str>,
    nodes: Nodes,
    state: watch::Sender<Option<Arc<BrokerConnection>>>,
    problem: Arc<Problem>,
    /// The broker holds publishers back.
    alarm: Problem,
    made: Arc<AtomicU64>,
}

impl Supervisor {
    /// `name` is what operators see in the broker's list of connections.
    pub(super) fn new(name: String, urls: Arc<[BrokerUrl]>) -> (Self, Link) {
        let (state, link) = watch::channel(None);
        let (problem, alarm) = (Arc::new(Problem::awaited(&name)), Problem::new(&name));
        problem.not_yet(NOT_CONNECTED_YET);
        let made = Arc::<AtomicU64>::default();
        let link = Link { state: link, problem: problem.clone(), made: made.clone() };
        let (name, nodes) = (name.into(), Nodes::new(urls));
        (Self { name, nodes, state, problem, alarm, made }, link)
    }

    pub(super) async fn run(mut self) {
        let mut backoff = backoff();
        let mut failures = 0;
        loop {
            let url = self.nodes.next();
            let attempt = failures / self.nodes.count();
            let reason = match BrokerConnection::open(&url, &self.name, attempt).await {
                Ok(connection) => {
                    failures = 0;
                    let since = Instant::now();
                    let reason = self.keep(&url, connection).await;
                    self.nodes.begin_round();
                    if since.elapsed() > BACKOFF_LONGEST {
                        backoff.reset();
                    }
                    reason
                }
                Err(e) => {
                    failures += 1;
                    format!("cannot connect to {url}: {e}")
                }
            };
            // Whoever sees that it is down sees why.
            self.problem.set(Some(reason));
            self.state.send_replace(None);
            backoff.wait().await;
        }
    }

    /// While it lasts; says why it does not any more.
    async fn keep(&self, url: &BrokerUrl, connection: BrokerConnection) -> String {
        let connection = Arc::new(connection);
        self.made.fetch_add(1, Ordering::Relaxed);
        self.state.send_replace(Some(connection.clone()));
        self.problem.is_over(&format_args!("connected to {url}"));
        let reason = connection.lost(&self.alarm).await;
        connection.cut();
        format!("lost the connection to {url}: {reason}")
    }
}

/// Between attempts at anything of the broker's.
pub(super) fn backoff() -> Backoff {
    Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST)
}
