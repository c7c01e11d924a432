//! The chat of ../README.md on tonic.

mod chat;
#[cfg(test)]
mod tests;

/// The stubs, which `build.rs` has made: more than the chat uses.
#[allow(dead_code, unreachable_pub, unused_qualifications)]
mod v1 {
    tonic::include_proto!("myxi.v1");
}

use std::{env, error::Error, fs, io, time::Duration};

use serde_json::Value;
use subtle::ConstantTimeEq;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::timeout,
};
use tokio_stream::{
    Stream,
    wrappers::{TcpListenerStream, UnixListenerStream},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint, Server, server::Connected},
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
    let address = variable("LISTEN").unwrap_or_else(|| "127.0.0.1:50051".into());
    match address.strip_prefix("unix:") {
        Some(path) => {
            // Who was killed has left it.
            let _ = fs::remove_file(path);
            serve(UnixListenerStream::new(UnixListener::bind(path)?)).await
        }
        None => serve(TcpListenerStream::new(TcpListener::bind(address).await?)).await,
    }
}

async fn serve<IO>(
    connections: impl Stream<Item = io::Result<IO>> + Send + 'static,
) -> Result<(), Failure>
where
    IO: AsyncRead + AsyncWrite + Connected<ConnectInfo: Sync> + Unpin + Send + 'static,
{
    let chat = Chat(Gateway::from_environment()?);
    let token = variable("MYXI_ACTION_HANDLER_TOKEN");
    let service = ActionHandlerServer::with_interceptor(chat, only_with(token));
    let (stop, stopped) = oneshot::channel();
    let stopping = async { stopped.await.unwrap_or_default() };
    let serving = Server::builder().serve_with_incoming_shutdown(service, connections, stopping);
    let mut serving = tokio::spawn(serving);
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        served = &mut serving => return Ok(served??),
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    let _ = stop.send(());
    if let Ok(served) = timeout(GRACE, serving).await {
        served??;
    }
    Ok(())
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
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

impl Gateway {
    fn from_environment() -> Result<Self, Failure> {
        let address = variable("MYXI_GATEWAY").unwrap_or_else(|| "127.0.0.1:5006".into());
        let channel = Endpoint::try_from(format!("http://{address}"))?.connect_lazy();
        let token = variable("MYXI_GRPC_TOKEN").map(|token| format!("Bearer {token}").parse());
        Ok(Self { channel, token: token.transpose()? })
    }
}

#[tonic::async_trait]
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
        let pushed = GatewayClient::new(self.channel.clone()).push_event(request).await;
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
