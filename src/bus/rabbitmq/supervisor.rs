//! Keeps one connection to the broker alive: makes it, watches it, and makes it again when
//! it is lost. lapin's own recovery stays off: it would read streams again from where they
//! were first read.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{connection::BrokerConnection, url::BrokerUrl};

/// What the users of a connection see of it.
#[derive(Clone)]
pub struct Link {
    state: watch::Receiver<LinkState>,
    /// How often the connection was made.
    made: Arc<AtomicU64>,
}

#[derive(Clone)]
enum LinkState {
    Down(Arc<str>),
    Up(Arc<BrokerConnection>),
}

impl LinkState {
    fn is_up_with(&self, connection: &Arc<BrokerConnection>) -> bool {
        matches!(self, Self::Up(up) if Arc::ptr_eq(up, connection))
    }
}

impl Link {
    /// The connection, as soon as there is one. `None` when the bus has been closed.
    pub async fn connection(&mut self) -> Option<Arc<BrokerConnection>> {
        match &*self.state.wait_for(|state| matches!(state, LinkState::Up(_))).await.ok()? {
            LinkState::Up(connection) => Some(connection.clone()),
            LinkState::Down(_) => None,
        }
    }

    /// Whether this connection is the one in use.
    pub fn uses(&self, connection: &Arc<BrokerConnection>) -> bool {
        self.state.borrow().is_up_with(connection)
    }

    /// Comes back when this connection is no longer the one in use.
    pub async fn lost(&self, connection: &Arc<BrokerConnection>) {
        let mut state = self.state.clone();
        let _ = state.wait_for(|state| !state.is_up_with(connection)).await;
    }

    /// How often the connection was made again.
    pub fn reconnects(&self) -> u64 {
        self.made.load(Ordering::Relaxed).saturating_sub(1)
    }

    pub fn is_blocked(&self) -> bool {
        matches!(&*self.state.borrow(), LinkState::Up(connection) if connection.is_blocked())
    }

    pub fn problem(&self) -> Option<String> {
        match &*self.state.borrow() {
            LinkState::Down(reason) => Some(reason.to_string()),
            LinkState::Up(_) => None,
        }
    }

    pub async fn close(&self, deadline: Instant) {
        let state = self.state.borrow().clone();
        if let LinkState::Up(connection) = state {
            connection.close(deadline).await;
        }
    }
}

/// Makes the connection, tells its [`Link`]s, and makes it again when it is lost.
pub struct Supervisor {
    name: Arc<str>,
    urls: Arc<[BrokerUrl]>,
    state: watch::Sender<LinkState>,
    made: Arc<AtomicU64>,
}

impl Supervisor {
    /// `name` is what operators see in the broker's list of connections.
    pub fn new(name: String, urls: Arc<[BrokerUrl]>) -> (Self, Link) {
        let (state, link) =
            watch::channel(LinkState::Down("not connected to the broker yet".into()));
        let made = Arc::<AtomicU64>::default();
        let link = Link { state: link, made: made.clone() };
        (Self { name: name.into(), urls, state, made }, link)
    }

    pub async fn run(self) {
        let mut backoff = Backoff::default();
        let mut was_down = false;
        for url in self.urls.iter().cycle() {
            let reason = match BrokerConnection::open(url, &self.name).await {
                Ok(connection) => {
                    tracing::info!(broker = %url, connection = %self.name, "connected");
                    backoff.reset();
                    was_down = false;
                    let connection = Arc::new(connection);
                    self.made.fetch_add(1, Ordering::Relaxed);
                    self.state.send_replace(LinkState::Up(connection.clone()));
                    let reason = connection.lost().await;
                    connection.cut();
                    format!("lost the connection to {url}: {reason}")
                }
                Err(e) => format!("cannot connect to {url}: {e}"),
            };
            if !was_down {
                tracing::warn!(connection = %self.name, "{reason}");
                was_down = true;
            }
            self.state.send_replace(LinkState::Down(reason.into()));
            backoff.wait().await;
        }
    }
}

/// Waits between attempts: longer and longer, never the same for two replicas.
pub struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    /// A broker that comes up again is to be noticed soon.
    const LONGEST: Duration = Duration::from_millis(500);

    pub fn reset(&mut self) {
        *self = Self::default();
    }

    pub async fn wait(&mut self) {
        sleep(self.0.mul_f64(rand::random_range(0.5..1.0))).await;
        self.0 = (self.0 * 2).min(Self::LONGEST);
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self(Self::FIRST)
    }
}

/// Why a part of the bus does not work now, for people.
#[derive(Default)]
pub struct Problem(Mutex<Option<String>>);

impl Problem {
    pub fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
