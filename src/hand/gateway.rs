//! Calling the `Gateway` service.

use std::{error::Error, io, time::Duration};

use http::{Uri, header};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::{
    Code, Request, Response, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::service_fn;

use super::Failure;
use crate::{
    config::hand::GatewayAt,
    net::{
        remote::{HTTP2, Remote},
        token::BearerToken,
    },
    proto::gateway_client::GatewayClient,
};

/// The gateway answers within 5 s, whatever the broker does.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// For the connection, and its first answer.
const GREETING_TIMEOUT: Duration = Duration::from_secs(6);

pub(super) struct Gateway {
    pub client: GatewayClient<Channel>,
    remote: Remote,
    token: Option<BearerToken>,
}

/// A call that was not answered as it should be.
#[derive(Debug)]
pub(super) struct Refused {
    pub reason: String,
    pub fate: Fate,
}

/// Whether what was asked was done all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    NotDone,
    Unknown,
    /// The reason says it, if the gateway gave it and no proxy.
    AsTold,
}

impl Gateway {
    pub(super) async fn connect(at: GatewayAt) -> Result<Self, Failure> {
        let GatewayAt { remote, token } = at;
        let channel = timeout(GREETING_TIMEOUT, channel(&remote)).await;
        let channel =
            channel.unwrap_or_else(|_| Err(format!("no gRPC within {GREETING_TIMEOUT:?}")));
        let channel = channel.map_err(|reason| {
            Failure(format!(
                "the gateway is not reachable at {remote} ({reason}): does it run? --gateway \
                 (MYXI_GATEWAY) says where its --grpc-listen is"
            ))
        })?;
        Ok(Self { client: GatewayClient::new(channel), remote, token })
    }

    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = self.token.as_ref().map(BearerToken::header);
        let token = token.and_then(|token| MetadataValue::try_from(token.as_bytes()).ok());
        if let Some(token) = token {
            request.metadata_mut().insert(header::AUTHORIZATION.as_str(), token);
        }
        request
    }

    /// What a call answered, or what is known of one that was not.
    pub(super) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Refused> {
        match timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.refused(&status)),
            Err(_) => {
                let reason = format!("{} did not answer within {CALL_TIMEOUT:?}", self.remote);
                Err(Refused { reason, fate: Fate::Unknown })
            }
        }
    }

    /// Only what the gateway says before it does anything proves that nothing was done; a status
    /// that is made on the way, here or by a proxy, proves nothing.
    fn refused(&self, status: &Status) -> Refused {
        let remote = &self.remote;
        if let Some(Unreached(error)) = cause(status) {
            let reason = format!("the gateway is not reachable any more at {remote} ({error})");
            return Refused { reason, fate: Fate::NotDone };
        }
        let fate = match status.code() {
            _ if status.source().is_some() => Fate::Unknown,
            Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Unauthenticated
            | Code::Unimplemented => Fate::NotDone,
            _ => Fate::AsTold,
        };
        let reason = match status.code() {
            Code::Unauthenticated => {
                format!(
                    "{remote} asks for a token, and this one is missing or wrong; set MYXI_GRPC_TOKEN"
                )
            }
            Code::Unimplemented => format!("{remote} has no Gateway service; is it --grpc-listen?"),
            _ if status.source().is_some() => {
                format!("the connection to {remote} was lost ({})", innermost(status))
            }
            _ => status.message().to_owned(),
        };
        Refused { reason, fate }
    }
}

/// There was no connection to call on.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unreached(io::Error);

/// Among the causes of a status.
fn cause(status: &Status) -> Option<&Unreached> {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(unreached) = error.downcast_ref() {
            return Some(unreached);
        }
        cause = error.source();
    }
    None
}

async fn channel(remote: &Remote) -> Result<Channel, String> {
    let scheme = remote.scheme();
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", remote.authority()));
    let endpoint = endpoint.map_err(|error| error.to_string())?;
    let connecting = remote.clone();
    let connector = service_fn(move |_: Uri| {
        let remote = connecting.clone();
        async move { remote.connect(HTTP2).await.map(TokioIo::new).map_err(Unreached) }
    });
    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|error| innermost(&error))?;
    greet(channel.clone()).await?;
    Ok(channel)
}

/// Whoever answers this, in whatever way, speaks gRPC; of a call to somebody who does not, nobody
/// would know what became of it.
async fn greet(channel: Channel) -> Result<(), String> {
    let request = HealthCheckRequest { service: String::new() };
    match HealthClient::new(channel).check(request).await {
        Err(status) if status.source().is_some() => Err(format!("no gRPC: {}", innermost(&status))),
        _ => Ok(()),
    }
}

/// What really happened: the errors around it say where it was noticed.
fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused.fate {
            Fate::Unknown => {
                Self(format!("{}; it may have been done all the same", refused.reason))
            }
            Fate::NotDone | Fate::AsTold => Self(refused.reason),
        }
    }
}
