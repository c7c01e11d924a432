//! A `Gateway` service that answers `PushEvents` as the test says: what a real one says of a broker
//! that is away or silent, at once.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use super::{
    DEADLINE,
    handler::proto::{
        DisconnectSessionRequest, DisconnectSessionResponse, PushEventRequest, PushEventResponse,
        PushEventsRequest, PushEventsResponse, PushResult, SendEventRequest, SendEventResponse,
        gateway_server::{Gateway, GatewayServer},
    },
    within,
};

pub struct ScriptedGateway {
    pub address: SocketAddr,
    answers: Answers,
    came: Arc<Semaphore>,
    _serving: JoinSet<()>,
}

type Answers = Arc<Mutex<VecDeque<Vec<PushResult>>>>;

pub fn result(event_id: &str, code: i32, message: &str) -> PushResult {
    PushResult { event_id: event_id.into(), code, message: message.into() }
}

impl ScriptedGateway {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (answers, came) = (Answers::default(), Arc::new(Semaphore::new(0)));
        let service = GatewayServer::new(Service { answers: answers.clone(), came: came.clone() });
        let serving = Server::builder().serve_with_incoming(service, TcpIncoming::from(listener));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serving.await.expect("served") });
        Self { address, answers, came, _serving: tasks }
    }

    /// To the next call; one that nothing is said of is not answered.
    pub fn answers(&self, results: Vec<PushResult>) {
        self.answers.lock().unwrap().push_back(results);
    }

    /// A call has come that is not answered.
    pub async fn is_asked(&self) {
        within(DEADLINE, "a call", self.came.acquire()).await.expect("it serves").forget();
    }
}

struct Service {
    answers: Answers,
    came: Arc<Semaphore>,
}

#[tonic::async_trait]
impl Gateway for Service {
    async fn push_events(
        &self,
        _: Request<PushEventsRequest>,
    ) -> Result<Response<PushEventsResponse>, Status> {
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(results) => Ok(Response::new(PushEventsResponse { results })),
            None => {
                self.came.add_permits(1);
                std::future::pending().await
            }
        }
    }

    async fn push_event(
        &self,
        _: Request<PushEventRequest>,
    ) -> Result<Response<PushEventResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn send_event(
        &self,
        _: Request<SendEventRequest>,
    ) -> Result<Response<SendEventResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn disconnect_session(
        &self,
        _: Request<DisconnectSessionRequest>,
    ) -> Result<Response<DisconnectSessionResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}
