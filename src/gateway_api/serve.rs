//! The listener of the `Gateway` service: its limits, its token, the standard services beside
//! it, and its end.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};
use tonic::{
    codec::CompressionEncoding,
    transport::{Error, Server},
};

use super::{
    GatewayApi, accept,
    callers::Callers,
    connect::Connect,
    http1::Http1,
    load::Load,
    routes::{Access, Routes},
};
use crate::{
    net::{listener::Listener, token::BearerToken},
    proto::{
        DESCRIPTORS, EVENTS_BYTES_MAX,
        gateway_server::{GatewayServer, SERVICE_NAME},
    },
};

const DESCRIPTORS_OF_THE_BUILD: &str = "the descriptors are those of the build";

/// A little more than is allowed, so that a request just too large is told so in words.
pub(super) const MESSAGE_MAX: usize = EVENTS_BYTES_MAX + (256 << 10);

/// What the health check and reflection are asked about is a name.
const NAME_MAX: usize = 4 << 10;

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
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

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
    let callers = Arc::new(Callers::new(token, api.metrics.clone()));
    let load = |calls_max| Load::new(calls_max, CALLS_BYTES_MAX);
    let calls = load(CALLS_MAX);
    let connect = Arc::new(Connect::new(api.clone(), callers.clone(), calls.clone()));
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

    let routes = Routes::new(callers, connect.clone())
        .add(Access::Open, load(STREAMS_MAX), health_server.max_decoding_message_size(NAME_MAX))
        .add(Access::Token, load(STREAMS_MAX), v1.max_decoding_message_size(NAME_MAX))
        .add(Access::Token, load(STREAMS_MAX), v1alpha.max_decoding_message_size(NAME_MAX))
        .add(Access::Token, calls, gateway);
    let (stopping, stopped) = oneshot::channel();
    let (http1, http1_stopping) = watch::channel(());
    let http1 = Arc::new(http1);
    let http1_ended = http1.clone();
    let connections = accept::http2(listener, Http1 { connect, stopping: http1_stopping });
    let server = Server::builder()
        .timeout(REQUEST_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_pending_accept_reset_streams(Some(GIVEN_UP_MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .http2_max_header_list_size(HEADERS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .serve_with_incoming_shutdown(routes.into_service(), connections, async {
            shutdown.await;
            health.set_not_serving::<GatewayServer<GatewayApi>>().await;
            http1.send_replace(());
            // Nobody hears it when the server has ended by itself.
            let _ = stopping.send(());
        });
    let server = async {
        let result = server.await;
        // Also where the server has ended by itself.
        http1_ended.send_replace(());
        http1_ended.closed().await;
        result
    };
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
