//! The client of the application's `ActionHandler` service: what its answers and its
//! failures mean.
//!
//! A call takes its turn ([`CallLimit`]), then has its whole deadline: connecting if need
//! be, sending, waiting. It is sent a second time only if it certainly never reached the
//! application.

mod call;
mod connection;
mod convert;
mod endpoint;
mod limit;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use http::uri::Authority;
use prost::Message;
use tokio::time::Instant;
use tonic::Code;

use self::{
    call::{CallError, Caller, Method},
    connection::Connector,
    limit::Urgency,
};
pub use self::{
    endpoint::{Endpoint, InvalidEndpoint},
    limit::CallLimit,
};
use super::{
    Action, ActionHandler, ActionReply, Admission, CheckReason, Decision, HandlerError, SessionInfo,
};
use crate::{
    event::Topic,
    metrics::{CallStatus, Metrics, Rpc},
    proto,
    protocol::CloseReason,
    rate_limit::RateLimit,
    token::BearerToken,
};

/// What one `CheckSubscriptions` may ask, as its proto file promises.
const TOPICS_PER_CHECK: usize = 1_000;

/// How long an application that has no `SessionClosed` is not asked again.
const SESSION_CLOSED_UNWANTED: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct GrpcHandlerConfig {
    pub endpoint: Endpoint,
    pub token: Option<BearerToken>,
    /// The deadline of each call.
    pub timeout: Duration,
    /// Of one reply, in bytes.
    pub max_reply_size: usize,
}

/// Asks the application over gRPC. Connects when it is first asked, on the runtime that
/// asks.
#[derive(Debug)]
pub struct GrpcActionHandler {
    caller: Caller,
    calls: Arc<CallLimit>,
    methods: Methods,
    session_closed_unwanted_until: Mutex<Option<Instant>>,
    complaints: RateLimit,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Methods {
    handle_action: Method,
    check_subscriptions: Method,
    session_opened: Method,
    session_closed: Method,
}

impl Methods {
    fn of(authority: &Authority) -> Self {
        let method = |rpc, path| Method::new(authority.clone(), rpc, path);
        Self {
            handle_action: method(Rpc::HandleAction, "/myxi.v1.ActionHandler/HandleAction"),
            check_subscriptions: method(
                Rpc::CheckSubscriptions,
                "/myxi.v1.ActionHandler/CheckSubscriptions",
            ),
            session_opened: method(Rpc::SessionOpened, "/myxi.v1.ActionHandler/SessionOpened"),
            session_closed: method(Rpc::SessionClosed, "/myxi.v1.ActionHandler/SessionClosed"),
        }
    }
}

impl GrpcActionHandler {
    /// `calls` is shared by all handlers of one gateway.
    pub fn new(config: GrpcHandlerConfig, calls: Arc<CallLimit>, metrics: Arc<Metrics>) -> Self {
        let GrpcHandlerConfig { endpoint, token, timeout, max_reply_size } = config;
        let methods = Methods::of(&endpoint.authority());
        let connector = Connector::new(endpoint, max_reply_size);
        Self {
            caller: Caller::new(connector, timeout, max_reply_size, token.as_ref()),
            calls,
            methods,
            session_closed_unwanted_until: Mutex::new(None),
            complaints: RateLimit::default(),
            metrics,
        }
    }

    async fn call<Reply: Message + Default>(
        &self,
        method: &Method,
        urgency: Urgency,
        request: &impl Message,
    ) -> Result<Reply, CallFailure> {
        let Some(_turn) = self.calls.turn(urgency).await else {
            self.metrics.call_without_turn(method.rpc);
            return Err(CallFailure::NoTurn);
        };
        let counted = self.metrics.call(method.rpc);
        let reply = self.caller.call(method, request).await;
        counted.ended(reply.as_ref().map_or_else(CallError::status, |_| CallStatus::Ok));
        reply.map_err(CallFailure::Call)
    }

    /// Tells the operator of a call that failed for the application's own fault; the
    /// client is not told why.
    fn complain<T>(
        &self,
        method: &Method,
        result: Result<T, HandlerError>,
    ) -> Result<T, HandlerError> {
        if let Err(
            HandlerError::Failed(problem)
            | HandlerError::Unavailable(problem)
            | HandlerError::Exhausted(problem),
        ) = &result
            && self.complaints.allows()
        {
            // Escaped: the application's words may quote a client.
            let method: &str = method.rpc.into();
            tracing::warn!(method, ?problem, "the application failed a call");
        }
        result
    }

    fn wants_session_closed(&self) -> bool {
        let until = self.session_closed_unwanted_until.lock().unwrap_or_else(|e| e.into_inner());
        until.is_none_or(|until| Instant::now() >= until)
    }
}

#[async_trait]
impl ActionHandler for GrpcActionHandler {
    async fn handle_action(
        &self,
        session: &SessionInfo,
        action: Action<'_>,
    ) -> Result<ActionReply, HandlerError> {
        let method = &self.methods.handle_action;
        let request = convert::action(session, action);
        let reply = self.call(method, Urgency::Client, &request).await;
        let reply = reply.map_err(CallFailure::of_action).and_then(convert::reply);
        self.complain(method, reply)
    }

    async fn check_subscriptions(
        &self,
        session: &SessionInfo,
        topics: &[Topic],
        reason: CheckReason,
    ) -> Result<Vec<Decision>, HandlerError> {
        let method = &self.methods.check_subscriptions;
        let urgency = match reason {
            CheckReason::Subscribe => Urgency::Client,
            CheckReason::Recheck => Urgency::Background,
        };
        let mut decisions = Vec::with_capacity(topics.len());
        for topics in topics.chunks(TOPICS_PER_CHECK) {
            let request = convert::check(session, topics, reason);
            let reply = self.call(method, urgency, &request).await;
            let some = reply.map_err(CallFailure::of_question).and_then(
                |reply: proto::CheckSubscriptionsResponse| {
                    convert::decisions(&reply.decisions, topics.len())
                },
            );
            decisions.extend(self.complain(method, some)?);
        }
        Ok(decisions)
    }

    async fn session_opened(&self, session: &SessionInfo) -> Result<Admission, HandlerError> {
        let method = &self.methods.session_opened;
        let request = proto::SessionOpenedRequest { session: Some(convert::session(session)) };
        let reply = self.call(method, Urgency::Client, &request).await;
        let admission = reply.map_err(CallFailure::of_question).and_then(convert::admission);
        self.complain(method, admission)
    }

    async fn session_closed(&self, session: &SessionInfo, reason: &CloseReason, lived: Duration) {
        if !self.wants_session_closed() {
            return;
        }
        let method = &self.methods.session_closed;
        let request = proto::SessionClosedRequest {
            session: Some(convert::session(session)),
            code: reason.code.into(),
            reason: reason.reason.as_ref().into(),
            duration_ms: i64::try_from(lived.as_millis()).unwrap_or(i64::MAX),
        };
        match self.call(method, Urgency::Background, &request).await {
            Ok(proto::SessionClosedResponse {}) => {}
            Err(CallFailure::Call(CallError::Status(Code::Unimplemented, _))) => {
                let until = Instant::now() + SESSION_CLOSED_UNWANTED;
                *self.session_closed_unwanted_until.lock().unwrap_or_else(|e| e.into_inner()) =
                    Some(until);
            }
            Err(failure) => {
                let error = failure.of_question();
                tracing::debug!(session = %session.id, ?error, "SessionClosed was not told");
            }
        }
    }

    fn problem(&self) -> Option<String> {
        self.caller.problem()
    }
}

#[derive(Debug)]
enum CallFailure {
    /// Too many calls were in flight for too long: this one was not sent.
    NoTurn,
    Call(CallError),
}

impl CallFailure {
    /// The application answers `HandleAction` with statuses that mean something to the
    /// client.
    fn of_action(self) -> HandlerError {
        match self {
            Self::Call(CallError::Status(Code::Unimplemented, _)) => HandlerError::Unimplemented,
            Self::Call(CallError::Status(Code::Unauthenticated, _)) => {
                HandlerError::Unauthenticated
            }
            Self::Call(CallError::Status(Code::PermissionDenied, _)) => {
                HandlerError::PermissionDenied
            }
            Self::Call(CallError::Status(Code::InvalidArgument, message)) => {
                HandlerError::InvalidPayload(message)
            }
            other => other.of_question(),
        }
    }

    /// To the gateway's own questions a status is never an answer, least of all a denial.
    fn of_question(self) -> HandlerError {
        match self {
            Self::NoTurn => HandlerError::Busy,
            Self::Call(error) => match error {
                CallError::Unreached(problem) => HandlerError::Unreachable(problem),
                CallError::Timeout | CallError::Status(Code::DeadlineExceeded, _) => {
                    HandlerError::Timeout
                }
                CallError::Lost(problem) => HandlerError::Lost(problem),
                CallError::Unreadable(problem) => HandlerError::Failed(problem),
                CallError::Status(code, message) => {
                    let status: &str = CallStatus::from(code).into();
                    let answer = format!("it answered {status}: {message}");
                    match code {
                        Code::Unavailable => HandlerError::Unavailable(answer),
                        Code::ResourceExhausted => HandlerError::Exhausted(answer),
                        _ => HandlerError::Failed(answer),
                    }
                }
            },
        }
    }
}
