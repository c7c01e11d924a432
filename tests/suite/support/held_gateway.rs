//! A `Gateway` service in the gateway's place, whose answers wait until the test lets them go: so
//! whoever pushes is in the middle of it for as long as the test likes.

use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, watch},
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
        PushEventsRequest, PushEventsResponse, SendEventRequest, SendEventResponse,
        gateway_server::{Gateway, GatewayServer},
    },
    within,
};

pub struct HeldGateway {
    pub address: String,
    pushes: Mutex<mpsc::UnboundedReceiver<PushEventRequest>>,
    released: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl HeldGateway {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let (came, pushes) = mpsc::unbounded_channel();
        let (released, wait) = watch::channel(false);
        let service = GatewayServer::new(Service { came, released: wait });
        let serving = Server::builder().serve_with_incoming(service, TcpIncoming::from(listener));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serving.await.expect("served") });
        Self { address, pushes: Mutex::new(pushes), released, _serving: tasks }
    }

    /// The next event that somebody pushes, and then waits.
    pub async fn push(&self) -> PushEventRequest {
        let mut pushes = self.pushes.lock().await;
        within(DEADLINE, "a push", pushes.recv()).await.expect("it serves")
    }

    /// All are answered from now on, and all that wait.
    pub fn release(&self) {
        self.released.send_replace(true);
    }
}

struct Service {
    came: mpsc::UnboundedSender<PushEventRequest>,
    released: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl Gateway for Service {
    async fn push_event(
        &self,
        request: Request<PushEventRequest>,
    ) -> Result<Response<PushEventResponse>, Status> {
        let _ = self.came.send(request.into_inner());
        let _ = self.released.clone().wait_for(|released| *released).await;
        Ok(Response::new(PushEventResponse { event_id: "1".into() }))
    }

    async fn push_events(
        &self,
        _: Request<PushEventsRequest>,
    ) -> Result<Response<PushEventsResponse>, Status> {
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
