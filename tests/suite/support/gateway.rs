//! A gateway of the test's own, in the test's process, on ports of its own.

use std::net::SocketAddr;

use myxi::{config::Config, server::Server};
use serde_json::Value;
use tonic::{Code, transport::Channel};

use super::{
    DEADLINE,
    client::Client,
    handler::{
        TestHandler,
        proto::{PushEventRequest, gateway_client::GatewayClient},
    },
    rabbitmq::RabbitMq,
    within,
};

pub struct Gateway {
    server: Server,
}

impl Gateway {
    /// On the memory bus, with the exchange `widgets`.
    pub async fn start(app: &TestHandler) -> Self {
        Self::with(app, &["--exchange=widgets"]).await
    }

    /// On a broker, with these exchanges.
    pub async fn on(broker: &RabbitMq, app: &TestHandler, exchange: &str) -> Self {
        let url = format!("--rabbitmq-url={}", broker.url());
        let exchange = format!("--exchange={exchange}");
        Self::with(app, &[&url, &exchange]).await
    }

    /// With further flags.
    pub async fn with(app: &TestHandler, flags: &[&str]) -> Self {
        let gateway = Self::unready(app, flags).await;
        gateway.ready().await;
        gateway
    }

    /// With further flags; its exchanges need not be attached.
    pub async fn unready(app: &TestHandler, flags: &[&str]) -> Self {
        let handler = format!("--action-handler={}", app.endpoint());
        let own = [
            handler.as_str(),
            "--listen=127.0.0.1:0",
            "--grpc-listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
        ];
        let threads = flags.iter().any(|flag| flag.starts_with("--worker-threads"));
        let usual = (!threads).then_some("--worker-threads=1");
        let flags = own.into_iter().chain(usual).chain(flags.iter().copied());
        let config = Config::from_flags(flags).expect("a valid configuration");
        let server = Server::start(config).await.expect("a gateway");
        Self { server }
    }

    pub fn clients(&self) -> SocketAddr {
        self.server.clients
    }

    pub fn grpc(&self) -> SocketAddr {
        self.server.grpc
    }

    pub fn admin(&self) -> SocketAddr {
        self.server.admin
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.clients()).await
    }

    pub async fn api(&self) -> GatewayClient<Channel> {
        let url = format!("http://{}", self.grpc());
        within(DEADLINE, "the Gateway service", GatewayClient::connect(url))
            .await
            .expect("a channel")
    }

    /// Pushes an event, and is refused nothing.
    pub async fn push(&self, exchange: &str, routing_key: &str, event: &str, payload: Value) {
        let status = self.try_push(exchange, routing_key, event, payload).await;
        assert_eq!(status, Code::Ok);
    }

    pub async fn try_push(
        &self,
        exchange: &str,
        routing_key: &str,
        event: &str,
        payload: Value,
    ) -> Code {
        let request = PushEventRequest {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            event: event.into(),
            payload: payload.to_string(),
            event_id: None,
        };
        let pushed = self.api().await.push_event(request).await;
        pushed.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    /// Waits until every exchange is attached.
    pub async fn ready(&self) {
        within(DEADLINE, "a ready gateway", async {
            while self.health().await.0 != 200 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// The status and the body of `/health/ready`.
    pub async fn health(&self) -> (u16, Value) {
        let (status, body) = super::http::get(self.admin(), "/health/ready", "localhost").await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    pub async fn drain(self) {
        within(DEADLINE, "a drain", self.server.drain()).await;
    }
}
