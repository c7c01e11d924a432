//! Plays the gateway against a handler. What the contract demands fails where it is not kept; what
//! is only kinder to clients, or safer, is a warning.

mod actions;
mod faults;
mod load;
mod odd;
mod reach;
mod reply;
mod sessions;
mod subscriptions;
mod tokens;
mod words;

use std::{sync::Arc, time::Duration};

use super::report::{Face, Finding, Outcome, Report};
use crate::{
    application::{
        ClientInfo, SessionSnapshot,
        grpc::{Answer, GrpcConfig, Probe},
    },
    config::HandlerToCheck,
    ids::{ReplicaId, SessionIds},
    metrics::CallStatus,
    net::token::BearerToken,
    protocol::{Close, Dialect},
};

/// By which a handler knows whom it has before it.
const PATH: &str = "/myxi-check";

/// For a handler that was there a moment ago.
const STILL_THERE: Duration = Duration::from_secs(2);

/// So many calls without an answer, one after another, may mean that there is nobody any more.
const SILENT: usize = 3;

/// One run of the checks.
struct Run<'a> {
    wanted: &'a HandlerToCheck,
    report: &'a mut Report,
    probe: Probe,
    /// As the actions have left it.
    session: SessionSnapshot,
    /// How long each answer took, and to what.
    times: Vec<(Duration, String)>,
    /// How many calls had none, and how many of the last.
    silences: usize,
    in_a_row: usize,
    /// What was heard of each RPC.
    heard: Vec<(&'static str, CallStatus)>,
}

pub(super) async fn check(wanted: &HandlerToCheck, report: &mut Report) {
    let probe = probe(wanted, wanted.application.token.clone());
    let (session, times, heard) = (session(wanted.auth.as_deref()), Vec::new(), Vec::new());
    let mut run = Run { wanted, report, probe, session, times, silences: 0, in_a_row: 0, heard };
    if !run.reach().await {
        let (asked, came) = ("everything else", "not asked: see above");
        run.add("everything-else", Outcome::NotChecked, asked, came);
        return;
    }
    let _ = run.everything().await;
    run.rpcs();
    run.speed();
}

/// A connection as the gateway's, with this token.
fn probe(wanted: &HandlerToCheck, token: Option<BearerToken>) -> Probe {
    Probe::start(GrpcConfig {
        endpoint: wanted.application.endpoint.clone(),
        token,
        timeout: wanted.application.timeout,
        max_reply_size: wanted.max_outbox / 2,
        own_ports: Arc::new([]),
    })
}

/// A client that has just connected.
fn session(auth: Option<&str>) -> SessionSnapshot {
    let client = ClientInfo {
        remote_address: "127.0.0.1".into(),
        path: PATH.into(),
        query: "".into(),
        headers: Box::default(),
        dialect: Dialect::default(),
    };
    SessionSnapshot {
        id: SessionIds::new(ReplicaId::random()).next(),
        client: Arc::new(client),
        auth: auth.map(Into::into),
        data: Default::default(),
    }
}

/// As its sessions are closed.
fn done() -> Close {
    Close::new(Close::NORMAL, "myxi check is done")
}

impl Run<'_> {
    /// One after another, for as long as anything is answered: each call may take its whole timeout.
    async fn everything(&mut self) -> Option<()> {
        self.actions().await;
        self.is_there().await?;
        self.odd_payloads().await;
        self.is_there().await?;
        self.subscriptions().await;
        self.is_there().await?;
        self.tokens().await;
        self.sessions().await;
        self.is_there().await?;
        self.faults().await;
        self.load().await;
        Some(())
    }

    /// Asked where several calls in a row had no answer.
    async fn is_there(&mut self) -> Option<()> {
        if self.in_a_row < SILENT {
            return Some(());
        }
        self.in_a_row = 0;
        let Err(why) = self.serves().await else { return Some(()) };
        let came = format!("not asked: it answers nothing any more: {why}");
        self.add("everything-else", Outcome::NotChecked, "everything else", came);
        None
    }

    fn add(
        &mut self,
        name: impl Into<String>,
        outcome: Outcome,
        asked: impl Into<String>,
        came: impl Into<String>,
    ) {
        self.report.add(found(name, outcome, asked, came));
    }

    /// What is to be said at the end of how fast it is, and of what is there.
    fn note<T>(&mut self, rpc: &'static str, answer: &Answer<T>, asked: &str) {
        match answer.is_silence() {
            true => {
                self.silences += 1;
                self.in_a_row += 1;
            }
            false => {
                self.in_a_row = 0;
                self.times.push((answer.took, asked.to_owned()));
            }
        }
        self.heard.push((rpc, answer.status));
    }

    /// A connection of its own for what may cost it, if the handler is still there.
    async fn another(&mut self, name: &str, asked: &str) -> Option<Probe> {
        let probe = probe(self.wanted, self.wanted.application.token.clone());
        match probe.connected(STILL_THERE).await {
            Ok(()) => Some(probe),
            Err(why) => {
                let came = format!("it cannot be reached any more: {why}");
                self.add(name, Outcome::NotChecked, asked, came);
                None
            }
        }
    }

    /// Whether it answers over a new connection; if not, what came.
    async fn serves(&mut self) -> Result<(), String> {
        let probe = probe(self.wanted, self.wanted.application.token.clone());
        probe.connected(STILL_THERE).await?;
        let answer = probe.nobody_asks().await;
        match answer.is_silence() {
            true => Err(words::came(&answer)),
            false => Ok(()),
        }
    }
}

fn found(
    name: impl Into<String>,
    outcome: Outcome,
    asked: impl Into<String>,
    came: impl Into<String>,
) -> Finding {
    Finding::new(Face::Handler, name, outcome, asked, came)
}
