//! The client of the application's `ActionHandler` service: what its answers and its
//! failures mean.
//!
//! A call takes its turn ([`CallLimit`]), then has its whole deadline: waiting for a
//! connection if need be, sending, waiting for the reply. It is sent a second time only if it
//! certainly never reached the application.

mod call;
mod complaint;
mod connection;
mod convert;
mod endpoint;
mod failure;
mod limit;
mod message;
mod probe;
mod remarks;
mod service;
mod state;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::uri::Authority;
use parking_lot::Mutex;
use prost::Message;
use tokio::{task::JoinSet, time::Instant};
use tonic::Code;

use self::{
    call::{CallError, Caller, Method},
    complaint::{Asked, Ended},
    connection::{Connector, Settings},
    failure::CallFailure,
    limit::Urgency,
    service::{Prober, Service},
};
pub(crate) use self::{
    endpoint::{Endpoint, InvalidEndpoint},
    probe::{Answer, Probe},
};
pub use self::{limit::CallLimit, state::ApplicationState};
use super::{
    Action, ActionReply, Admission, Application, ApplicationError, CheckReason, Decision,
    SessionSnapshot,
};
use crate::{
    complaints::Complaints,
    event::Topic,
    metrics::{CallStatus, Metrics, Rpc},
    net::token::BearerToken,
    proto,
    protocol::Close,
};

/// What one `CheckSubscriptions` may ask, as its proto file promises.
const TOPICS_PER_CHECK: usize = 1_000;

/// How long an application that has no `SessionClosed` is not asked again.
const SESSION_CLOSED_UNWANTED: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct GrpcConfig {
    pub endpoint: Endpoint,
    pub token: Option<BearerToken>,
    /// The deadline of each call.
    pub timeout: Duration,
    /// Of one reply, in bytes.
    pub max_reply_size: usize,
    /// The gateway's own listeners and their flags: not to be taken for the application.
    pub own_ports: Arc<[(SocketAddr, &'static str)]>,
}

/// What all handlers of one gateway share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub calls: Arc<CallLimit>,
    pub state: Arc<ApplicationState>,
    pub complaints: Complaints,
    pub metrics: Arc<Metrics>,
}

/// Asks the application over gRPC, over a connection of its own.
#[derive(Debug)]
pub struct GrpcApplication {
    caller: Arc<Caller>,
    service: Arc<Service>,
    /// The deadline of each call.
    timeout: Duration,
    calls: Arc<CallLimit>,
    methods: Methods,
    session_closed_unwanted_until: Mutex<Option<Instant>>,
    complaints: Complaints,
    metrics: Arc<Metrics>,
    /// Ends with this client.
    _prober: JoinSet<()>,
}

#[derive(Debug, Clone)]
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

impl GrpcApplication {
    /// Begins to connect, on the runtime that this is called in. `number` is this client's
    /// place in the shared state.
    pub fn start(config: GrpcConfig, shared: Shared, number: usize) -> Self {
        let GrpcConfig { endpoint, token, timeout, max_reply_size, own_ports } = config;
        let Shared { calls, state, complaints, metrics } = shared;
        let methods = Methods::of(&endpoint.authority());
        let settings = Settings::new(endpoint, own_ports, timeout, max_reply_size);
        let connector = Connector::start(settings, state.clone());
        let caller = Arc::new(Caller::new(connector, timeout, max_reply_size, token.as_ref()));
        let service = Arc::new(Service::new(token.is_some()));
        let prober = Prober {
            caller: caller.clone(),
            check_subscriptions: methods.check_subscriptions.clone(),
            service: service.clone(),
            state,
            number,
        };
        Self {
            caller,
            service,
            timeout,
            calls,
            methods,
            session_closed_unwanted_until: Mutex::new(None),
            complaints,
            metrics,
            _prober: [prober.run()].into_iter().collect(),
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
        self.learn(method, &reply);
        counted.ended(reply.as_ref().map_or_else(CallError::status, |_| CallStatus::Ok));
        reply.map_err(CallFailure::Call)
    }

    fn learn<Reply>(&self, method: &Method, reply: &Result<Reply, CallError>) {
        match method.rpc {
            Rpc::CheckSubscriptions => self.service.checked(reply),
            Rpc::SessionClosed => self.service.closed(reply),
            Rpc::HandleAction | Rpc::SessionOpened if reply.is_ok() => self.service.worked(),
            Rpc::HandleAction | Rpc::SessionOpened => {}
        }
    }

    /// Makes one call for what its reply is read as, and tells the operator where that fails;
    /// the client is not told why.
    async fn ask<Reply: Message + Default, T>(
        &self,
        asked: Asked<'_>,
        urgency: Urgency,
        request: &impl Message,
        read: impl FnOnce(Reply) -> Result<T, ApplicationError>,
    ) -> Result<T, ApplicationError> {
        let reply = self.call(asked.method, urgency, request).await;
        let ended = Ended::of(&reply);
        let answer = match reply {
            Ok(reply) => read(reply),
            Err(failure) => Err(self.meaning(asked.method.rpc, failure).await),
        };
        if let Err(error) = &answer
            && let Some(complaint) = asked.complaint(ended, error)
        {
            self.complaints.hear(complaint);
        }
        answer
    }

    /// A status of `HandleAction` is for the client, unless this is not the right application,
    /// or does not take this for its gateway.
    async fn meaning(&self, rpc: Rpc, failure: CallFailure) -> ApplicationError {
        match (rpc, failure.code()) {
            (Rpc::HandleAction, Some(code @ (Code::Unimplemented | Code::Unauthenticated))) => {
                match self.service.explains(code, self.timeout).await {
                    Some(why) => ApplicationError::Unavailable(why.to_string()),
                    None => failure.of_action(),
                }
            }
            (Rpc::HandleAction, _) => failure.of_action(),
            (Rpc::SessionClosed, Some(Code::Unimplemented)) => ApplicationError::Unimplemented,
            _ => failure.of_question(),
        }
    }

    fn wants_session_closed(&self) -> bool {
        self.session_closed_unwanted_until.lock().is_none_or(|until| Instant::now() >= until)
    }
}

#[async_trait]
impl Application for GrpcApplication {
    async fn handle_action(
        &self,
        session: &SessionSnapshot,
        action: Action<'_>,
    ) -> Result<ActionReply, ApplicationError> {
        let method = &self.methods.handle_action;
        let request = convert::action(session, action);
        let asked = Asked { method, session, action: Some(action.name) };
        self.ask(asked, Urgency::Client, &request, convert::reply).await
    }

    async fn check_subscriptions(
        &self,
        session: &SessionSnapshot,
        topics: &[Topic],
        reason: CheckReason,
    ) -> Result<Vec<Decision>, ApplicationError> {
        let method = &self.methods.check_subscriptions;
        let urgency = match reason {
            CheckReason::Subscribe => Urgency::Client,
            CheckReason::Recheck => Urgency::Background,
            // After a restart all come back at once, and none is helped by asking again.
            CheckReason::Resume => Urgency::Patient(self.timeout),
        };
        let mut decisions = Vec::with_capacity(topics.len());
        for topics in topics.chunks(TOPICS_PER_CHECK) {
            let request = convert::check(session, topics, reason);
            let asked = Asked { method, session, action: None };
            let read = |reply: proto::CheckSubscriptionsResponse| {
                convert::decisions(&reply.decisions, topics.len())
            };
            decisions.extend(self.ask(asked, urgency, &request, read).await?);
        }
        Ok(decisions)
    }

    async fn session_opened(
        &self,
        session: &SessionSnapshot,
    ) -> Result<Admission, ApplicationError> {
        let method = &self.methods.session_opened;
        let request = proto::SessionOpenedRequest { session: Some(convert::session(session)) };
        let asked = Asked { method, session, action: None };
        self.ask(asked, Urgency::Client, &request, convert::admission).await
    }

    async fn session_closed(&self, session: &SessionSnapshot, reason: &Close, lived: Duration) {
        if !self.wants_session_closed() {
            return;
        }
        let method = &self.methods.session_closed;
        let request = convert::closed(session, reason, lived);
        let asked = Asked { method, session, action: None };
        let read = |proto::SessionClosedResponse {}| Ok(());
        if let Err(ApplicationError::Unimplemented) =
            self.ask(asked, Urgency::Background, &request, read).await
        {
            let until = Instant::now() + SESSION_CLOSED_UNWANTED;
            *self.session_closed_unwanted_until.lock() = Some(until);
        }
    }
}
