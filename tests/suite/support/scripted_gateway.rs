//! A `Gateway` service in the gateway's place. `PushEvents` it answers as the test says: what a real
//! one says of a broker that is away or silent, at once. The answers to `PushEvent` wait until the
//! test lets them go, but for one that it refuses: so whoever pushes is in the middle of it for as
//! long as the test likes.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    net::TcpListener,
    sync::{Mutex as AsyncMutex, Semaphore, mpsc, watch},
    task::JoinSet,
};
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
    refusal: Refusal,
    came: Arc<Semaphore>,
    pushes: AsyncMutex<mpsc::UnboundedReceiver<PushEventRequest>>,
    released: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

/// Of the next event that is pushed alone.
type Refusal = Arc<Mutex<Option<Status>>>;
type Answers = Arc<Mutex<VecDeque<Vec<PushResult>>>>;

pub fn result(event_id: &str, code: i32, message: &str) -> PushResult {
    PushResult { event_id: event_id.into(), code, message: message.into() }
}

impl ScriptedGateway {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (answers, came) = (Answers::default(), Arc::new(Semaphore::new(0)));
        let (pushed, pushes) = mpsc::unbounded_channel();
        let (released, wait) = watch::channel(false);
        let refusal = Refusal::default();
        let service = GatewayServer::new(Service {
            answers: answers.clone(),
            refusal: refusal.clone(),
            came: came.clone(),
            pushed,
            released: wait,
        });
        let serving = Server::builder().serve_with_incoming(service, TcpIncoming::from(listener));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serving.await.expect("served") });
        let pushes = AsyncMutex::new(pushes);
        Self { address, answers, refusal, came, pushes, released, _serving: tasks }
    }

    /// The next event that somebody pushes alone, and then waits.
    pub async fn push(&self) -> PushEventRequest {
        let mut pushes = self.pushes.lock().await;
        within(DEADLINE, "a push", pushes.recv()).await.expect("it serves")
    }

    /// All that are pushed alone are answered from now on, and all that wait.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// The next that is pushed alone, at once.
    pub fn refuses_one(&self, status: Status) {
        *self.refusal.lock().unwrap() = Some(status);
    }

    /// To the next call of several; one that nothing is said of is not answered.
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
    refusal: Refusal,
    came: Arc<Semaphore>,
    pushed: mpsc::UnboundedSender<PushEventRequest>,
    released: watch::Receiver<bool>,
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
        request: Request<PushEventRequest>,
    ) -> Result<Response<PushEventResponse>, Status> {
        if let Some(status) = self.refusal.lock().unwrap().take() {
            return Err(status);
        }
        let _ = self.pushed.send(request.into_inner());
        let _ = self.released.clone().wait_for(|released| *released).await;
        Ok(Response::new(PushEventResponse { event_id: "1".into() }))
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
