//! A gateway of the test's own: in the test's process here, a process of its own in
//! [`super::process`]. Both have [`Addresses`], where everything is asked of them.

use std::{net::SocketAddr, ops::Deref, time::Duration};

use myxi::{config::Config, server::Server};
use serde_json::Value;
use tokio::time::sleep;
use tonic::{Code, Status, transport::Channel};

use super::{
    DEADLINE,
    client::Client,
    handler::{
        TestHandler,
        proto::{
            DisconnectSessionRequest, PushEventRequest, PushEventsRequest, SendEventRequest,
            gateway_client::GatewayClient,
        },
    },
    within,
};

/// How often health is asked for what must come.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// So many large ones fit a call.
const EVENTS_PER_CALL: usize = 200;

/// Where a running gateway listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub clients: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
}

pub struct Gateway {
    server: Server,
    addresses: Addresses,
}

impl Deref for Gateway {
    type Target = Addresses;

    fn deref(&self) -> &Addresses {
        &self.addresses
    }
}

/// Free ports, one thread and time for a machine that has other things to do, where these flags say
/// nothing else.
pub fn with_defaults<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let defaults = [
        "--listen=127.0.0.1:0",
        "--grpc-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--worker-threads=1",
        "--action-timeout=10s",
    ];
    let name = |flag: &str| flag.split('=').next().map(str::to_owned);
    let given: Vec<_> = flags.iter().map(|flag| name(flag)).collect();
    let missing = defaults.into_iter().filter(|flag| !given.contains(&name(flag)));
    missing.chain(flags.iter().copied()).collect()
}

impl Gateway {
    /// On the memory bus, with the exchange `widgets`.
    pub async fn start(app: &TestHandler) -> Self {
        Self::with(app, &["--exchange=widgets"]).await
    }

    /// With further flags.
    pub async fn with(app: &TestHandler, flags: &[&str]) -> Self {
        let gateway = Self::unready(app, flags).await;
        gateway.ready().await;
        gateway
    }

    /// With further flags; neither a broker nor the application need be there.
    pub async fn unready(app: &TestHandler, flags: &[&str]) -> Self {
        let handler = format!("--action-handler={}", app.endpoint());
        let flags = with_defaults(flags).into_iter().chain([handler.as_str()]);
        let config = Config::from_flags(flags).expect("a valid configuration");
        let server = Server::start(config).await.expect("a gateway");
        let Server { clients, grpc, admin, .. } = server;
        Self { server, addresses: Addresses { clients, grpc, admin } }
    }

    pub async fn drain(self) {
        within(DEADLINE, "a drain", self.server.drain()).await;
    }
}

impl Addresses {
    pub fn clients(&self) -> SocketAddr {
        self.clients
    }

    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.clients).await
    }

    /// So many clients that are subscribed to one topic.
    pub async fn subscribers(&self, count: usize, exchange: &str, key: &str) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let mut client = self.client().await;
            client.subscribe(exchange, key).await;
            clients.push(client);
        }
        clients
    }

    pub async fn api(&self) -> GatewayClient<Channel> {
        let url = format!("http://{}", self.grpc);
        within(DEADLINE, "the Gateway service", GatewayClient::connect(url))
            .await
            .expect("a channel")
    }

    /// Pushes an event, and is refused nothing.
    pub async fn push(&self, exchange: &str, routing_key: &str, event: &str, payload: Value) {
        let status = self.try_push(exchange, routing_key, event, payload).await;
        assert_eq!(status, Code::Ok);
    }

    /// Pushes events of one name, in order, and is refused none.
    pub async fn push_many(
        &self,
        exchange: &str,
        event: &str,
        events: impl Iterator<Item = (&str, Value)>,
    ) {
        let mut api = self.api().await;
        let events = events.map(|(key, payload)| push_request(exchange, key, event, &payload));
        for events in events.collect::<Vec<_>>().chunks(EVENTS_PER_CALL) {
            let request = PushEventsRequest { events: events.to_vec() };
            let results = api.push_events(request).await.expect("pushed").into_inner().results;
            assert!(results.iter().all(|result| result.code == 0), "{results:?}");
        }
    }

    pub async fn try_push(
        &self,
        exchange: &str,
        routing_key: &str,
        event: &str,
        payload: Value,
    ) -> Code {
        let request = push_request(exchange, routing_key, event, &payload);
        let pushed = self.api().await.push_event(request).await;
        pushed.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    /// Sends an event to one session, wherever it is.
    pub async fn send_event(&self, session: &str, event: &str) -> Code {
        let sent = self.try_send_event(session, event).await;
        sent.map_or_else(|status| status.code(), |()| Code::Ok)
    }

    pub async fn try_send_event(&self, session: &str, event: &str) -> Result<(), Status> {
        let request = SendEventRequest {
            session_id: session.into(),
            event: event.into(),
            payload: String::new(),
        };
        self.api().await.send_event(request).await.map(drop)
    }

    /// Closes one session, wherever it is.
    pub async fn disconnect(&self, session: &str, code: u32, reason: &str) -> Code {
        let request =
            DisconnectSessionRequest { session_id: session.into(), code, reason: reason.into() };
        let closed = self.api().await.disconnect_session(request).await;
        closed.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    /// Waits until every exchange is attached.
    pub async fn ready(&self) {
        self.health_becomes("ready").await;
    }

    /// Waits for this status, and answers the HTTP status and the body that it came with.
    pub async fn health_becomes(&self, status: &str) -> (u16, Value) {
        within(DEADLINE, status, async {
            loop {
                let (http, body) = self.health().await;
                if body["status"] == status {
                    return (http, body);
                }
                sleep(PROBE_INTERVAL).await;
            }
        })
        .await
    }

    /// The status and the body of `/health/ready`.
    pub async fn health(&self) -> (u16, Value) {
        let (status, body) = super::http::get(self.admin, "/health/ready", "localhost").await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

pub fn push_request(
    exchange: &str,
    routing_key: &str,
    event: &str,
    payload: &Value,
) -> PushEventRequest {
    PushEventRequest {
        exchange: exchange.into(),
        routing_key: routing_key.into(),
        event: event.into(),
        payload: payload.to_string(),
        event_id: None,
    }
}
