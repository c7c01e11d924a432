//! What an application may ask of the gateway: to push events, and to reach single sessions.
//! It asks over gRPC ([`service`]) or with plain HTTP ([`connect`]), an operator in the console;
//! they put into their own words what is decided here.
//!
//! It knows the bus and the peers only: even a single replica publishes through the bus,
//! so that there is one path for every event.

mod accept;
mod callers;
mod command;
mod connect;
mod connection;
mod http1;
mod load;
pub(crate) mod peers;
mod push;
mod routes;
mod serve;
mod service;

use std::sync::Arc;

use self::peers::Peers;
pub use self::serve::serve;
pub(crate) use self::{
    command::CommandError,
    push::{NewEvent, PushError},
};
use crate::{bus::EventBus, metrics::Metrics};

#[derive(Clone)]
pub struct GatewayApi {
    pub bus: Arc<dyn EventBus>,
    pub peers: Peers,
    /// Of an event's JSON, in bytes.
    pub max_event_size: usize,
    pub metrics: Arc<Metrics>,
}
