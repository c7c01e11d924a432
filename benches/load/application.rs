//! An application that answers at once, in a thread of its own: it authenticates everybody,
//! lets everybody who is authenticated subscribe, and echoes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::Context;
use myxi::proto::{
    CheckSubscriptionsRequest, CheckSubscriptionsResponse, Decision, Event, HandleActionRequest,
    HandleActionResponse, SessionClosedRequest, SessionClosedResponse, SessionOpenedRequest,
    SessionOpenedResponse, SessionUpdate,
    action_handler_server::{ActionHandler, ActionHandlerServer},
};
use tokio::{net::TcpListener, runtime, sync::oneshot};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use super::{pin_this_thread, usage};

/// Ends on drop.
pub struct Application {
    pub address: SocketAddr,
    thread: u32,
    _running: oneshot::Sender<()>,
}

impl Application {
    /// Starts it on these processors (see [`super::processors`]).
    pub async fn start(processors: &str) -> anyhow::Result<Self> {
        Self::start_with(Answers, processors).await
    }

    /// As [`Self::start`], with another handler.
    pub async fn start_with(handler: impl ActionHandler, processors: &str) -> anyhow::Result<Self> {
        let any_port = (Ipv4Addr::LOCALHOST, 0).into();
        Self::start_at(any_port, handler, processors).await
    }

    /// As [`Self::start_with`], where gateways have been told to find it.
    pub async fn start_at(
        address: SocketAddr,
        handler: impl ActionHandler,
        processors: &str,
    ) -> anyhow::Result<Self> {
        let service = ActionHandlerServer::new(handler).max_decoding_message_size(1 << 20);
        let serve = |incoming| Server::builder().serve_with_incoming(service, incoming);
        Self::serve_at(address, processors, serve).await
    }

    /// Whatever serves what comes in, for servers with a contract of their own.
    pub async fn serve_at<Serving>(
        address: SocketAddr,
        processors: &str,
        serve: impl FnOnce(TcpIncoming) -> Serving + Send + 'static,
    ) -> anyhow::Result<Self>
    where
        Serving: Future<Output = Result<(), tonic::transport::Error>>,
    {
        let (running, stopped) = oneshot::channel::<()>();
        let (started, start) = oneshot::channel();
        let processors = processors.to_owned();
        thread::Builder::new().name("application".into()).spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                pin_this_thread(&processors).expect("pinned");
                let listener = TcpListener::bind(address).await.expect("a free port");
                let address = listener.local_addr().expect("its address");
                let _ = started.send((address, usage::this_thread()));
                let serving = serve(TcpIncoming::from(listener).with_nodelay(Some(true)));
                tokio::select! {
                    served = serving => served.expect("served"),
                    _ = stopped => {}
                }
            });
        })?;
        let (address, thread) = start.await.context("the application starts")?;
        Ok(Self { address, thread, _running: running })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn cpu(&self) -> Duration {
        usage::cpu_of_thread(self.thread)
    }
}

/// Whoever authenticates may subscribe, and is echoed.
pub struct Answers;

#[tonic::async_trait]
impl ActionHandler for Answers {
    async fn handle_action(
        &self,
        request: Request<HandleActionRequest>,
    ) -> Result<Response<HandleActionResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(match request.action.as_str() {
            "Authenticate" => HandleActionResponse {
                session_update: Some(SessionUpdate {
                    set_auth: Some("\"somebody\"".into()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            "Echo" => HandleActionResponse {
                events: vec![Event { event: "Echo".into(), payload: request.payload }],
                ..Default::default()
            },
            other => return Err(Status::unimplemented(format!("no action {other}"))),
        }))
    }

    async fn check_subscriptions(
        &self,
        request: Request<CheckSubscriptionsRequest>,
    ) -> Result<Response<CheckSubscriptionsResponse>, Status> {
        let request = request.get_ref();
        let known = request.session.as_ref().is_some_and(|session| session.auth.is_some());
        let decision = if known { Decision::Allow } else { Decision::Deny };
        let decisions = vec![decision.into(); request.topics.len()];
        Ok(Response::new(CheckSubscriptionsResponse { decisions }))
    }

    async fn session_opened(
        &self,
        _: Request<SessionOpenedRequest>,
    ) -> Result<Response<SessionOpenedResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn session_closed(
        &self,
        _: Request<SessionClosedRequest>,
    ) -> Result<Response<SessionClosedResponse>, Status> {
        Err(Status::unimplemented("not wanted"))
    }
}
