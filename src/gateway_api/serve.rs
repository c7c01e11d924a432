//! The listener of the `Gateway` service: its limits, its token, and the standard
//! services beside it.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tokio::{
    sync::{Semaphore, oneshot},
    time::sleep,
};
use tonic::{
    body::Body,
    codec::CompressionEncoding,
    server::NamedService,
    transport::{Error, Server},
};
use tower::{Service, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::{
    GatewayApi,
    callers::Callers,
    connection::Http2Connection,
    load::{Call, Load},
    service::EVENTS_BYTES_MAX,
};
use crate::{
    metrics::CallRefused,
    net::{listener::Listener, token::BearerToken},
    proto::{
        DESCRIPTORS,
        gateway_server::{GatewayServer, SERVICE_NAME},
    },
};

const DESCRIPTORS_OF_THE_BUILD: &str = "the descriptors are those of the build";

/// A little more than is allowed, so that a request just too large is told so in words.
pub(super) const MESSAGE_MAX: usize = EVENTS_BYTES_MAX + (256 << 10);

/// What the health check and reflection are asked about is a name.
const NAME_MAX: usize = 4 << 10;

/// An application has a few; whoever comes beyond these waits to be accepted.
const CONNECTIONS_MAX: usize = 1_000;

/// Beyond these a caller waits for its own earlier calls.
const STREAMS_PER_CONNECTION: u32 = 256;

/// What the calls of a service may hold together. Of those of the gateway, so many that
/// nobody who leaves calls open keeps others out; each costs 8 KiB until it times out.
const CALLS_MAX: usize = 16 << 10;
/// Of the health check and reflection, whose streams may stay for ever.
const STREAMS_MAX: usize = 1_024;
/// Sixteen of the largest requests.
const CALLS_BYTES_MAX: usize = 64 << 20;

/// Calls that a caller may give up before the gateway has seen them: after a pause of the
/// process, all that timed out meanwhile. HTTP/2's guard against floods of such calls ends the
/// connection beyond them, and with it the calls of everybody who shares it.
const GIVEN_UP_MAX: usize = 4 * STREAMS_PER_CONNECTION as usize;

const CONNECTION_WINDOW: u32 = 8 << 20;
const STREAM_WINDOW: u32 = 1 << 20;
const HEADERS_MAX: u32 = 16 << 10;

/// Longer than any wait for a broker's confirm.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A caller that is silent for both together is gone.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// After the shutdown began, calls in flight may finish this long.
const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves until `shutdown`, then finishes what is in flight, boundedly. With a token,
/// everything but the health check asks for it.
pub async fn serve(
    listener: Listener,
    api: GatewayApi,
    token: Option<BearerToken>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let callers = Callers::new(token, api.metrics.clone());
    // The bound is on what a message is when it is decompressed, too.
    let gateway = GatewayServer::new(api)
        .max_decoding_message_size(MESSAGE_MAX)
        .accept_compressed(CompressionEncoding::Gzip);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(SERVICE_NAME)
            .with_service_name(tonic_health::pb::health_server::SERVICE_NAME)
    };
    let v1 = reflection().build_v1().expect(DESCRIPTORS_OF_THE_BUILD);
    // What Python's client and older tools ask for.
    let v1alpha = reflection().build_v1alpha().expect(DESCRIPTORS_OF_THE_BUILD);
    let (health, health_server) = tonic_health::server::health_reporter();
    health.set_serving::<GatewayServer<GatewayApi>>().await;

    let routes = Routes::new(callers)
        .add(Access::Open, STREAMS_MAX, health_server.max_decoding_message_size(NAME_MAX))
        .add(Access::Token, STREAMS_MAX, v1.max_decoding_message_size(NAME_MAX))
        .add(Access::Token, STREAMS_MAX, v1alpha.max_decoding_message_size(NAME_MAX))
        .add(Access::Token, CALLS_MAX, gateway);
    let (stopping, stopped) = oneshot::channel();
    let server = Server::builder()
        .timeout(REQUEST_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_pending_accept_reset_streams(Some(GIVEN_UP_MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .http2_max_header_list_size(HEADERS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .serve_with_incoming_shutdown(routes.into_service(), accept(listener), async {
            shutdown.await;
            health.set_not_serving::<GatewayServer<GatewayApi>>().await;
            // Nobody hears it when the server has ended by itself.
            let _ = stopping.send(());
        });
    let too_late = async {
        match stopped.await {
            Ok(()) => sleep(FINISH_TIMEOUT).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = server => result,
        () = too_late => {
            tracing::warn!("calls to the gateway were cut off: not done within {FINISH_TIMEOUT:?}");
            Ok(())
        }
    }
}

/// Connections for ever, within the bound.
fn accept(listener: Listener) -> impl Stream<Item = io::Result<Http2Connection>> {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    stream::unfold((listener, permits), |(listener, permits)| async {
        let permit = permits.clone().acquire_owned().await.ok()?;
        let connection = Http2Connection::new(listener.accept().await, permit);
        Some((Ok(connection), (listener, permits)))
    })
}

type HttpRequest = http::Request<Body>;
type HttpResponse = http::Response<Body>;
type Route = BoxCloneSyncService<HttpRequest, HttpResponse, Infallible>;

/// Services by the name that stands first in a request's path. (tonic's own router would
/// bring a web framework along.)
struct Routes {
    callers: Callers,
    services: Vec<(&'static str, Access, Load, Route)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    /// Asks for the token, if one is set.
    Token,
}

impl Routes {
    fn new(callers: Callers) -> Self {
        Self { callers, services: Vec::new() }
    }

    fn add<S>(mut self, access: Access, calls_max: usize, service: S) -> Self
    where
        S: Service<HttpRequest, Response = HttpResponse, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let load = Load::new(calls_max, CALLS_BYTES_MAX);
        self.services.push((S::NAME, access, load, Route::new(service)));
        self
    }

    /// Where a request goes and its place there, or why it goes nowhere.
    fn find(&self, request: &HttpRequest) -> Result<(Route, Call), CallRefused> {
        let name = request.uri().path().split('/').nth(1);
        let (_, access, load, route) = self
            .services
            .iter()
            .find(|(service, ..)| name == Some(*service))
            .ok_or(CallRefused::NoService)?;
        if *access == Access::Token {
            self.callers.check(request)?;
        }
        let call = load.admit().ok_or(CallRefused::Overload)?;
        Ok((route.clone(), call))
    }

    fn into_service(
        self,
    ) -> impl Service<HttpRequest, Response = HttpResponse, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static {
        let routes = Arc::new(self);
        service_fn(move |request: HttpRequest| {
            let found =
                routes.find(&request).map_err(|reason| routes.callers.refuse(&request, reason));
            async move {
                match found {
                    Ok((route, call)) => {
                        let request = call.request(request);
                        let response = route.oneshot(request).await?;
                        Ok(response.map(|body| call.response(body)))
                    }
                    Err(status) => Ok(status.into_http()),
                }
            }
        })
    }
}
