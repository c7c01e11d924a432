//! Whether the application has the service and takes the gateway's token. It is asked once
//! on each new connection, with a `CheckSubscriptions` of no topics; after that, its answers
//! to the calls of clients tell.
//!
//! `UNIMPLEMENTED` and `UNAUTHENTICATED` mean something about an action or a user when
//! `HandleAction` answers them. A check of subscriptions has no user who could be missing: to
//! it they mean that the application is another than the operator thinks.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};
use tonic::Code;

use super::{
    call::{CallError, Caller, Method},
    connection::{Link, Live},
    state::ApplicationState,
};
use crate::{net::backoff::Backoff, proto};

/// Between questions to an application that is not as it should be. Its next good answer to
/// anybody ends them.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LAST: Duration = Duration::from_secs(8);

/// Of the session that asks nothing for itself.
const NO_SESSION: &str = "0000000000000000";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not asked yet on this connection.
    Unknown,
    Serves,
    /// It has no `ActionHandler`.
    Missing(Arc<str>),
    TokenRefused(Arc<str>),
    /// It has given no answer that says anything of the service.
    Unanswered(Arc<str>),
}

/// What is known of the service, on the way over one connector.
#[derive(Debug)]
pub(super) struct Service {
    verdict: watch::Sender<Verdict>,
    /// To say which of the two is wrong.
    has_token: bool,
}

impl Service {
    pub(super) fn new(has_token: bool) -> Self {
        Self { verdict: watch::Sender::new(Verdict::Unknown), has_token }
    }

    /// Learns from what `CheckSubscriptions` was answered.
    pub(super) fn checked<T>(&self, answer: &Result<T, CallError>) {
        match answer {
            Err(CallError::Status(Code::Unimplemented, message)) => {
                self.learn(Verdict::Missing(missing(message)));
            }
            Err(CallError::Status(Code::Unauthenticated, message)) => self.refused(message),
            // It may be a proxy's, with nothing behind it.
            Err(CallError::Status(Code::Unavailable, _)) => {}
            Ok(_) | Err(CallError::Status(..)) => self.learn(Verdict::Serves),
            Err(_) => {}
        }
    }

    /// Learns from what `SessionClosed` was answered.
    pub(super) fn closed<T>(&self, answer: &Result<T, CallError>) {
        if let Err(CallError::Status(Code::Unauthenticated, message)) = answer {
            self.refused(message);
        }
    }

    fn refused(&self, message: &str) {
        let token = if self.has_token { "another" } else { "no" };
        let why = format!(
            "it refuses the gateway's token (UNAUTHENTICATED: {message:?}, where no user is \
             meant): the gateway has {token} --action-handler-token"
        );
        self.learn(Verdict::TokenRefused(why.into()));
    }

    /// An action was carried out, so the application is there.
    pub(super) fn worked(&self) {
        if matches!(&*self.verdict.borrow(), Verdict::Unknown | Verdict::Unanswered(_)) {
            self.learn(Verdict::Serves);
        }
    }

    /// Why this status of `HandleAction` is not about the action or its user, if it is not.
    /// Waits while the application is being asked.
    pub(super) async fn explains(&self, status: Code, patience: Duration) -> Option<Arc<str>> {
        let mut watching = self.verdict.subscribe();
        let known = watching.wait_for(|verdict| *verdict != Verdict::Unknown);
        let Ok(Ok(verdict)) = timeout(patience, known).await else { return None };
        match (status, &*verdict) {
            (Code::Unimplemented, Verdict::Missing(why))
            | (Code::Unauthenticated, Verdict::TokenRefused(why)) => Some(why.clone()),
            _ => None,
        }
    }

    fn learn(&self, verdict: Verdict) {
        self.verdict.send_if_modified(|known| {
            let news = *known != verdict;
            *known = verdict;
            news
        });
    }

    /// Learns from the answer to the gateway's own question, which says something in any case.
    fn asked(&self, answer: &Result<(), CallError>) {
        let unanswered = |why: String| self.learn(Verdict::Unanswered(why.into()));
        match answer {
            Err(CallError::Unreadable(problem)) => {
                let why = format!("it speaks HTTP/2 and no gRPC: {problem}");
                self.learn(Verdict::Missing(why.into()));
            }
            Err(CallError::Status(Code::Unavailable, message)) => {
                unanswered(format!("CheckSubscriptions is answered UNAVAILABLE: {message:?}"));
            }
            Err(CallError::Timeout) => {
                unanswered("CheckSubscriptions is not answered in time".into());
            }
            Err(CallError::Unreached(why) | CallError::Lost(why)) => {
                unanswered(format!("CheckSubscriptions was not answered: {why}"));
            }
            answer => self.checked(answer),
        }
    }
}

fn missing(message: &str) -> Arc<str> {
    format!(
        "it has no CheckSubscriptions of myxi.v1.ActionHandler (UNIMPLEMENTED: {message:?}): most \
         likely the port is another service's, or the handler is not registered with its server; \
         a handler without subscriptions has it too"
    )
    .into()
}

impl Verdict {
    fn problem(&self) -> Option<String> {
        match self {
            Self::Unknown | Self::Serves => None,
            Self::Missing(why) | Self::TokenRefused(why) | Self::Unanswered(why) => {
                Some(why.to_string())
            }
        }
    }
}

/// Looks after one connector: knows before the first client how the application is, and
/// tells whoever asks.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) caller: Arc<Caller>,
    pub(super) check_subscriptions: Method,
    pub(super) service: Arc<Service>,
    pub(super) state: Arc<ApplicationState>,
    /// This connector's place in the state.
    pub(super) number: usize,
}

impl Prober {
    pub(super) async fn run(self) {
        let mut link = self.caller.watch();
        loop {
            let now = link.borrow_and_update().clone();
            let changed = link.changed();
            let gone = match now {
                Link::Connecting => changed.await,
                Link::Down(problem) => {
                    self.state.set(self.number, Some(problem.to_string()));
                    changed.await
                }
                Link::Up(live) => {
                    self.service.learn(Verdict::Unknown);
                    tokio::select! {
                        changed = changed => changed,
                        never = self.attend(&live) => match never {},
                    }
                }
            };
            if gone.is_err() {
                return;
            }
        }
    }

    /// Asks until there is a good answer, and again when another comes to be known.
    async fn attend(&self, live: &Live) -> std::convert::Infallible {
        let mut verdict = self.service.verdict.subscribe();
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LAST);
        loop {
            let known = verdict.borrow_and_update().clone();
            if known != Verdict::Unknown {
                self.state.set(self.number, known.problem());
            }
            if known == Verdict::Serves {
                backoff.reset();
            }
            let question = async {
                match known {
                    Verdict::Serves => std::future::pending().await,
                    Verdict::Unknown => {}
                    _ => {
                        backoff.wait().await;
                    }
                }
                self.service.asked(&self.ask(live).await);
            };
            tokio::select! {
                _ = verdict.changed() => {}
                () = question => {}
            }
        }
    }

    async fn ask(&self, live: &Live) -> Result<(), CallError> {
        let question = nobody_asks();
        self.caller.ask(live, &self.check_subscriptions, &question).await
    }
}

/// What the gateway asks on its own account.
pub(super) fn nobody_asks() -> proto::CheckSubscriptionsRequest {
    // A session with all of its fields: where one is missing, handlers in some languages
    // do not answer but end.
    let session = proto::Session { id: NO_SESSION.into(), ..Default::default() };
    proto::CheckSubscriptionsRequest {
        session: Some(session),
        topics: Vec::new(),
        reason: proto::CheckReason::Unspecified.into(),
    }
}
