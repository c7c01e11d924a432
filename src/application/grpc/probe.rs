//! The application as somebody asks it who wants to know how it answers: with the gateway's own
//! requests over the gateway's own connection, and read by its rules. Nothing is retried for the
//! sake of a client, and nothing is logged: whoever asks is told all of it.

use std::{sync::Arc, time::Duration};

use prost::Message;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Code;

use super::{
    GrpcConfig, Methods,
    call::{CallError, Caller, Method},
    connection::{Connector, Link, Live, Settings},
    convert,
    failure::CallFailure,
    remarks,
    service::nobody_asks,
    state::ApplicationState,
};
use crate::{
    application::{
        Action, ActionReply, Admission, ApplicationError, CheckReason, Decision, SessionSnapshot,
    },
    event::Topic,
    metrics::{CallStatus, Rpc},
    proto,
    protocol::Close,
};

/// As often as the gateway asks a silent connection before it makes another.
const PINGS: usize = 2;

/// For the answer to one, as the gateway waits.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// One connection, and calls on it.
#[derive(Debug)]
pub(crate) struct Probe {
    caller: Caller,
    methods: Methods,
    timeout: Duration,
}

/// What one call came to.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub took: Duration,
    /// The application's, or what kept it from answering.
    pub status: CallStatus,
    /// What came with the status, or why there is none.
    pub said: String,
    /// What the gateway makes of it.
    pub read: Result<T, ApplicationError>,
    /// What of it counts otherwise than it was written.
    pub remarks: Vec<String>,
}

impl<T> Answer<T> {
    /// It answered, and the answer breaks a rule of the contract; says which.
    pub(crate) fn broken(&self) -> Option<&str> {
        match (self.status, &self.read) {
            (CallStatus::Ok, Err(ApplicationError::Failed(rule))) => Some(rule),
            (CallStatus::Unreadable, _) => Some(&self.said),
            _ => None,
        }
    }

    /// It did not answer.
    pub(crate) fn is_silence(&self) -> bool {
        use CallStatus::{Lost, Timeout, Unreached};
        matches!(self.status, Lost | Timeout | Unreached)
    }
}

/// A connection as it was at some time.
#[derive(Debug)]
pub(crate) struct Mark(Option<Arc<Live>>);

impl Probe {
    /// Begins to connect, on the runtime that this is called in.
    pub(crate) fn start(config: GrpcConfig) -> Self {
        let GrpcConfig { endpoint, token, timeout, max_reply_size, own_ports } = config;
        let methods = Methods::of(&endpoint.authority());
        let state = Arc::new(ApplicationState::new(&endpoint, 1));
        let settings = Settings::new(endpoint, own_ports, timeout, max_reply_size);
        let connector = Connector::start(settings, state);
        let caller = Caller::new(connector, timeout, max_reply_size, token.as_ref());
        Self { caller, methods, timeout }
    }

    /// Waits for the connection, at most so long, or for the first attempt to make it, which has a
    /// bound of its own; says why there is none.
    pub(crate) async fn connected(&self, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        let mut link = self.caller.watch();
        let mut problem = None;
        loop {
            match &*link.borrow_and_update() {
                Link::Up(_) => return Ok(()),
                Link::Down(why) => problem = Some(why.to_string()),
                Link::Connecting => {}
            }
            let news = match problem {
                None => Ok(link.changed().await),
                Some(_) => timeout_at(deadline, link.changed()).await,
            };
            if !matches!(news, Ok(Ok(()))) {
                return Err(problem.unwrap_or_else(|| "no connection in time".into()));
            }
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(match &*self.caller.watch().borrow() {
            Link::Up(live) => Some(live.clone()),
            Link::Connecting | Link::Down(_) => None,
        })
    }

    /// Whether it is the same connection as then; if not, what is known of why.
    pub(crate) fn kept(&self, Mark(then): &Mark) -> Result<(), String> {
        match (&*self.caller.watch().borrow(), then) {
            (Link::Up(now), Some(then)) if Arc::ptr_eq(now, then) && !now.is_retired() => Ok(()),
            (Link::Down(why), _) => Err(why.to_string()),
            _ => Err("the connection ended".into()),
        }
    }

    pub(crate) async fn action(
        &self,
        session: &SessionSnapshot,
        action: Action<'_>,
    ) -> Answer<ActionReply> {
        self.action_within(self.timeout, session, action).await
    }

    pub(crate) async fn action_within(
        &self,
        time: Duration,
        session: &SessionSnapshot,
        action: Action<'_>,
    ) -> Answer<ActionReply> {
        let method = &self.methods.handle_action;
        let request = convert::action(session, action);
        self.ask(time, method, &request, remarks::of_reply, convert::reply).await
    }

    /// Gives the call up after so long, as a client's end does; answers whether it was answered
    /// before.
    pub(crate) async fn cancelled_action(
        &self,
        after: Duration,
        session: &SessionSnapshot,
        action: Action<'_>,
    ) -> bool {
        timeout(after, self.action(session, action)).await.is_ok()
    }

    pub(crate) async fn check(
        &self,
        session: &SessionSnapshot,
        topics: &[Topic],
        reason: CheckReason,
    ) -> Answer<Vec<Decision>> {
        let request = convert::check(session, topics, reason);
        self.check_of(&request, topics.len()).await
    }

    /// What the gateway asks on its own account.
    pub(crate) async fn nobody_asks(&self) -> Answer<Vec<Decision>> {
        self.check_of(&nobody_asks(), 0).await
    }

    async fn check_of(
        &self,
        request: &proto::CheckSubscriptionsRequest,
        topics: usize,
    ) -> Answer<Vec<Decision>> {
        let method = &self.methods.check_subscriptions;
        let read =
            |reply: proto::CheckSubscriptionsResponse| convert::decisions(&reply.decisions, topics);
        self.ask(self.timeout, method, request, remarks::of_decisions, read).await
    }

    pub(crate) async fn session_opened(&self, session: &SessionSnapshot) -> Answer<Admission> {
        let method = &self.methods.session_opened;
        let request = proto::SessionOpenedRequest { session: Some(convert::session(session)) };
        self.ask(self.timeout, method, &request, remarks::of_admission, convert::admission).await
    }

    pub(crate) async fn session_closed(
        &self,
        session: &SessionSnapshot,
        reason: &Close,
    ) -> Answer<()> {
        let method = &self.methods.session_closed;
        let request = convert::closed(session, reason, Duration::ZERO);
        let read = |proto::SessionClosedResponse {}| Ok(());
        self.ask(self.timeout, method, &request, |_| Vec::new(), read).await
    }

    async fn ask<Reply: Message + Default, T>(
        &self,
        time: Duration,
        method: &Method,
        request: &impl Message,
        remarks: impl FnOnce(&Reply) -> Vec<String>,
        read: impl FnOnce(Reply) -> Result<T, ApplicationError>,
    ) -> Answer<T> {
        let begun = Instant::now();
        let reply = self.caller.call_within(time, method, request).await;
        let took = begun.elapsed();
        match reply {
            Ok(reply) => {
                let (status, said, remarks) = (CallStatus::Ok, String::new(), remarks(&reply));
                Answer { took, status, said, read: read(reply), remarks }
            }
            Err(error) => {
                let (status, said) = (error.status(), error.words().to_owned());
                let read = Err(meaning(method.rpc, error));
                Answer { took, status, said, read, remarks: Vec::new() }
            }
        }
    }

    /// Doubts the connection as often as the gateway would, where calls time out in silence: each
    /// time it is pinged, and nothing else is said.
    pub(crate) async fn doubted(&self) -> Result<(), String> {
        let mark = self.mark();
        let Mark(Some(live)) = &mark else { return Err("there is no connection".into()) };
        for _ in 0..PINGS {
            let before = live.received();
            live.call().timed_out();
            let answered = async {
                while live.received() == before && self.kept(&mark).is_ok() {
                    sleep(LOOK_AGAIN).await;
                }
            };
            let _ = timeout(PING_TIMEOUT, answered).await;
            self.kept(&mark)?;
            if live.received() == before {
                return Err(format!("no answer to a ping within {PING_TIMEOUT:?}"));
            }
        }
        Ok(())
    }
}

/// Of a call that was not answered well, as `GrpcApplication` has it.
fn meaning(rpc: Rpc, error: CallError) -> ApplicationError {
    let failure = CallFailure::Call(error);
    match (rpc, failure.code()) {
        (Rpc::HandleAction, _) => failure.of_action(),
        (Rpc::SessionClosed, Some(Code::Unimplemented)) => ApplicationError::Unimplemented,
        _ => failure.of_question(),
    }
}
