//! The chat of ../README.md on tonic.

mod chat;
#[cfg(test)]
mod tests;

/// The stubs, which `build.rs` has made: more than the chat uses. (The lints are the gateway's, which
/// builds this, too.)
#[allow(dead_code, unreachable_pub, unused_qualifications)]
mod v1 {
    tonic::include_proto!("myxi.v1");
}

use std::{env, error::Error, fs, time::Duration};

use serde_json::Value;
use subtle::ConstantTimeEq;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::{
        ctrl_c,
        unix::{SignalKind, signal},
    },
    time::sleep,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};

use crate::{
    chat::{Chat, Push},
    v1::{
        PushEventRequest, action_handler_server::ActionHandlerServer, gateway_client::GatewayClient,
    },
};

/// The gateway answers within 5 s.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// For what is under way at a stop.
const GRACE: Duration = Duration::from_secs(10);

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    tokio::select! {
        served = serve() => served,
        () = async { stopped().await; sleep(GRACE).await } => Ok(()),
    }
}

/// Until it is stopped and what was under way is finished.
async fn serve() -> Result<(), Failure> {
    let chat = Chat(Gateway::from_environment()?);
    let token = variable("MYXI_ACTION_HANDLER_TOKEN");
    let service = ActionHandlerServer::with_interceptor(chat, only_with(token));
    let server = Server::builder();
    let address = variable("LISTEN").unwrap_or_else(|| "127.0.0.1:50051".into());
    if let Some(path) = address.strip_prefix("unix:") {
        let _ = fs::remove_file(path); // Who was killed has left it.
        let incoming = UnixListenerStream::new(UnixListener::bind(path)?);
        server.serve_with_incoming_shutdown(service, incoming, stopped()).await?;
    } else {
        let incoming = TcpIncoming::from(TcpListener::bind(address).await?);
        let incoming = incoming.with_nodelay(Some(true));
        server.serve_with_incoming_shutdown(service, incoming, stopped()).await?;
    }
    Ok(())
}

/// Until `SIGTERM` or `SIGINT`.
async fn stopped() {
    let mut terminated = signal(SignalKind::terminate()).expect("signals can be heard");
    tokio::select! {
        _ = terminated.recv() => {}
        _ = ctrl_c() => {}
    }
}

/// Whoever can call this service speaks in the name of any user.
fn only_with(
    token: Option<String>,
) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone {
    let expected = token.map(|token| format!("Bearer {token}"));
    move |request| {
        let given =
            request.metadata().get("authorization").map_or(&[][..], |value| value.as_bytes());
        match &expected {
            Some(expected) if !bool::from(expected.as_bytes().ct_eq(given)) => {
                Err(Status::unauthenticated("wrong token"))
            }
            _ => Ok(request),
        }
    }
}

struct Gateway {
    client: GatewayClient<Channel>,
    token: Option<MetadataValue<Ascii>>,
}

impl Gateway {
    fn from_environment() -> Result<Self, Failure> {
        let address = variable("MYXI_GATEWAY").unwrap_or_else(|| "127.0.0.1:5006".into());
        let endpoint = Endpoint::try_from(format!("http://{address}"))?;
        let client = GatewayClient::new(endpoint.connect_timeout(PUSH_TIMEOUT).connect_lazy());
        let token = variable("MYXI_GRPC_TOKEN").map(|token| format!("Bearer {token}").parse());
        Ok(Self { client, token: token.transpose()? })
    }
}

impl Push for Gateway {
    async fn push(&self, room: &str, event: &str, payload: Value) -> Result<(), Status> {
        let mut request = Request::new(PushEventRequest {
            exchange: "rooms".into(),
            routing_key: room.into(),
            event: event.into(),
            payload: payload.to_string(),
            event_id: None,
        });
        request.set_timeout(PUSH_TIMEOUT);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        let pushed = self.client.clone().push_event(request).await;
        pushed.map(drop).map_err(|status| {
            // As it is, it would be passed on as this handler's own answer.
            eprintln!("{event} was not pushed to {room}: {status}");
            Status::unknown("not pushed")
        })
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
