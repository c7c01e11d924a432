//! The way to the application: a connection that is made at once, kept by a task of its own,
//! and made again when it is lost.
//!
//! It counts as up only once the application has begun to speak HTTP/2: a port that accepts
//! and stays silent (a frozen process, a forwarder with nothing behind it, a server of
//! another protocol) is one that no call has reached.

mod greeting;
mod live;
mod open;
mod pongs;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

pub(super) use self::live::{Call, Live};
use self::{
    live::End,
    open::{CONNECTION_WINDOW, connect},
};
use super::{Endpoint, state::ApplicationState};
use crate::net::backoff::Backoff;

/// Between failed attempts. The last is short so that an application that returns is found
/// fast.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(1);

/// After the application has sent this gateway away, and again soon after.
const CALM_FIRST: Duration = Duration::from_secs(2);
const CALM_LAST: Duration = Duration::from_secs(32);

/// Why there is no connection to make a call on.
#[derive(Debug)]
pub(super) struct NotConnected(pub(super) String);

/// Where to connect to, and how.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) endpoint: Endpoint,
    /// This gateway's own listeners and their flags: not to be taken for the application.
    pub(super) own_ports: Arc<[(SocketAddr, &'static str)]>,
    /// How much of one reply may be on its way: all of it.
    stream_window: u32,
    /// How long a call may take.
    timeout: Duration,
}

impl Settings {
    pub(super) fn new(
        endpoint: Endpoint,
        own_ports: Arc<[(SocketAddr, &'static str)]>,
        timeout: Duration,
        max_reply_size: usize,
    ) -> Self {
        let stream_window = u32::try_from(max_reply_size).unwrap_or(CONNECTION_WINDOW);
        let stream_window = stream_window.clamp(u32::from(u16::MAX), CONNECTION_WINDOW);
        Self { endpoint, own_ports, stream_window, timeout }
    }
}

/// The way to the application. Dropping all that watch it ends the connection.
#[derive(Debug)]
pub(super) struct Connector(watch::Receiver<Link>);

#[derive(Debug, Clone)]
pub(super) enum Link {
    Connecting,
    Up(Arc<Live>),
    Down(Arc<str>),
}

impl Connector {
    /// Begins to connect, on the runtime that this is called in.
    pub(super) fn start(settings: Settings, state: Arc<ApplicationState>) -> Self {
        let (link, watching) = watch::channel(Link::Connecting);
        tokio::spawn(keep(settings, state, link));
        Self(watching)
    }

    pub(super) fn watch(&self) -> watch::Receiver<Link> {
        self.0.clone()
    }

    /// The live connection, waited for while one is being made. Between failed attempts
    /// it fails at once.
    pub(super) async fn live(&self, deadline: Instant) -> Result<Arc<Live>, NotConnected> {
        let settle = |link: &Link| match link {
            Link::Up(live) if !live.is_retired() => Some(Ok(live.clone())),
            Link::Down(problem) => Some(Err(NotConnected(problem.to_string()))),
            Link::Connecting | Link::Up(_) => None,
        };
        if let Some(settled) = settle(&self.0.borrow()) {
            return settled;
        }
        let mut link = self.0.clone();
        let unreached = |why: &str| Err(NotConnected(why.into()));
        match timeout_at(deadline, link.wait_for(|link| settle(link).is_some())).await {
            Ok(Ok(link)) => settle(&link).unwrap_or_else(|| unreached("not connected")),
            Ok(Err(_)) => unreached("the gateway is shutting down"),
            Err(_) => unreached("not connected before the deadline"),
        }
    }
}

/// Keeps the connection until nobody watches it any more.
async fn keep(settings: Settings, state: Arc<ApplicationState>, link: watch::Sender<Link>) {
    tokio::select! {
        () = link.closed() => {}
        () = reconnect(&settings, &state, &link) => {}
    }
}

async fn reconnect(settings: &Settings, state: &ApplicationState, link: &watch::Sender<Link>) {
    // In a row: to try another of the application's addresses each time.
    let mut failures = 0;
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_LAST);
    let mut calm = Backoff::new(CALM_FIRST, CALM_LAST);
    loop {
        let (problem, pause) = match connect(settings, failures).await {
            Err(problem) => (problem, Some(backoff.pause())),
            Ok(opened) => {
                link.send_replace(Link::Up(opened.live.clone()));
                let since = Instant::now();
                let end = opened.run(settings.timeout).await;
                if since.elapsed() > BACKOFF_LAST || matches!(end, End::Replaced(_)) {
                    failures = 0;
                    backoff.reset();
                }
                if since.elapsed() > CALM_LAST {
                    calm.reset();
                }
                tell(settings, state, &end);
                match end {
                    End::SentAway(why) => {
                        (format!("it sent this gateway away: {why}"), Some(calm.pause()))
                    }
                    // One that was just lost is made again at once, unless it was lost at once too.
                    End::Closed(why) | End::Lost(why) | End::Replaced(why) => {
                        (why, (failures > 0).then(|| backoff.pause()))
                    }
                }
            }
        };
        failures += 1;
        match pause {
            None => _ = link.send_replace(Link::Connecting),
            Some(pause) => {
                link.send_replace(Link::Down(problem.into()));
                sleep(pause).await;
            }
        }
    }
}

fn tell(settings: &Settings, state: &ApplicationState, end: &End) {
    match end {
        End::Closed(why) => {
            let endpoint = &settings.endpoint;
            tracing::debug!(%endpoint, "the connection to the application ended: {why}");
        }
        End::Lost(why) => state.note(format!("the connection was lost during calls: {why}")),
        End::Replaced(why) => state.note(format!("new calls go over a new connection: {why}")),
        // Said with the pause that follows.
        End::SentAway(_) => {}
    }
}
