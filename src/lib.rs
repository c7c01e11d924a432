//! myxi, a WebSocket gateway that an application controls over gRPC.
//!
//! Three walks through the code:
//! - an action: `http` → `session` → `protocol` → `actions` → `action_handler` → `outbox` → socket
//! - a subscription: … → `actions` → `action_handler` (decision) → `hub` (acknowledged and
//!   registered in one step)
//! - a pushed event: `gateway_api` → `bus` → each replica's reader → `hub` → `outbox` → socket
//!
//! Imports run one way: `event → protocol → outbox → hub → actions → session → http → server`;
//! `bus`, `action_handler` and `gateway_api` are side branches that only `server` joins.
//! No lock is held across an await. Every queue, wait and retried call has a bound; only a
//! lost broker or application is looked for as long as the process runs.

pub mod admin;
pub mod application;
pub mod bus;
pub mod complaints;
pub mod config;
pub mod demo;
pub mod edge;
pub mod event;
pub mod gateway_api;
pub mod health;
pub mod hub;
pub mod ids;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod problem;
pub mod proto;
pub mod protocol;
pub mod server;
pub mod session;
pub mod text;
pub mod time;
pub mod workers;
