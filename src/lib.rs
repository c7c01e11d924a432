//! myxi, a WebSocket gateway that an application controls over gRPC.
//!
//! Each room, and all that it imports: only what stands above it. `tests/suite/house.rs` holds
//! the table to the code.
//!
//! | room | what lives there | imports |
//! |---|---|---|
//! | `text` | what others wrote, made to fit | – |
//! | `time` | Unix time | – |
//! | `ids` | the addresses of replicas and sessions, and random names | – |
//! | `signals` | what asks a process to end | – |
//! | `problem` | why a part does not work now, said when it changes | text |
//! | `complaints` | what others can cause as often as they like, said within bounds | text ids |
//! | `logging` | the log, and one that nobody reads | – |
//! | `proto` | the types generated from `proto/` | – |
//! | `net` | connections, listeners, hosts, origins, tokens, pauses, for whoever needs them | – |
//! | `event` | topics and the events pushed to them: checked values | time |
//! | `metrics` | everything that is counted | text time |
//! | `protocol` | the wire: what clients may say and what they are told | time ids event metrics |
//! | `application` | the application as the gateway sees it; `grpc` asks a real one | ids problem complaints proto net event metrics protocol |
//! | `bus` | how an event reaches all replicas, and one replica another | ids problem proto net event |
//! | `health` | whether this replica should get clients | application bus |
//! | `ring` | the latest of each exchange's log, for clients that come back | time event protocol bus |
//! | `hub` | who is subscribed to what, and each session's outbox | ids event metrics protocol |
//! | `session` | one client: what it holds, what its messages mean, the task it lives in | time ids complaints event metrics protocol application bus ring hub |
//! | `edge` | the clients' listener: handshakes and the WebSocket | complaints net metrics protocol application health session |
//! | `gateway_api` | the `Gateway` service: pushing, and sessions by their ids | text ids complaints proto net event metrics protocol bus session |
//! | `workers` | the runtimes that sessions live on, and what the bus tells them | net event metrics application bus ring hub session edge |
//! | `admin` | the operator's listener: console, metrics, health | text time ids complaints logging net event metrics bus health ring hub session gateway_api workers |
//! | `config` | flags and environment, checked | logging net event protocol application bus edge |
//! | `check` | whether a handler, a broker or a configuration is as a gateway needs it | text ids signals net event metrics protocol application bus session config |
//! | `server` | puts the parts together, and takes them down | ids signals complaints net event metrics protocol application bus health ring hub session edge gateway_api workers admin config |
//! | `hand` | what is done by hand against a gateway that runs: `myxi push`, `tail` and the like | text ids time signals proto net event config |
//! | `demo` | a gateway with an application and a page | signals proto net config server |
//!
//! Three walks:
//! - an action: `edge` (a connection becomes a WebSocket) → `session/driver.rs` (read, queued) →
//!   `protocol/client.rs` → `session/actions.rs` → `application` → `hub/outbox.rs` → the driver
//!   writes
//! - a subscription: … → `session/subscribe.rs` → `application` (decision) → `hub.rs`
//!   (acknowledged and registered in one step)
//! - a pushed event: `gateway_api/push.rs` → `bus` → each replica's reader → `workers.rs` →
//!   `hub.rs` → `hub/outbox.rs` → the driver writes
//!
//! And one back, of a client that was away: … → `session/subscribe.rs` → `session/resume.rs` → `ring`
//! (or the log behind it) → `session/replay.rs` → `hub/outbox.rs`, part by part, until it joins in
//! `hub/joining.rs`
//!
//! Where to begin:
//! - why was this handshake refused: `edge/handshake.rs`; by its origin: `net/origin.rs`
//! - how a page of the Ruby original is spoken with: `protocol/dialect.rs`
//! - who decides that a client is slow: `hub/outbox.rs` (too much waits for it) and
//!   `session/driver/keepalive.rs` (it reads nothing)
//! - what a failed call means to the client: `session/errors.rs`; to the gateway:
//!   `application/grpc/failure.rs`; how it failed: `application/grpc/call.rs`
//! - what a replica does after the broker came back: `bus/rabbitmq/stream.rs`, reading
//!   (`bus/rabbitmq/direct.rs` where there is no log);
//!   `bus/rabbitmq/publisher/driver.rs`, publishing; who connects: `bus/rabbitmq/supervisor.rs`
//! - what a client that comes back receives: `session/replay.rs`; from where: `ring.rs`, and
//!   `ring/log.rs` for what is not in memory any more
//! - why a push by HTTP was refused: `gateway_api/connect/guard.rs` (a page), `connect/json.rs` (its
//!   words)
//! - what a drain does, in order: `server/drain.rs`
//! - what `myxi check` asks: `check/handler.rs`, `check/broker.rs`
//! - what a flag becomes: `config/flags.rs` → `config/check.rs` → `server/parts.rs`
//!
//! No lock is held across an await. Every queue, wait and retried call has a bound; only a
//! lost broker or application is looked for as long as the process runs.

// What is generated from `proto/` names this crate, whoever includes it.
extern crate self as myxi;

mod admin;
mod application;
mod bus;
pub mod check;
mod complaints;
pub mod config;
pub mod demo;
mod edge;
mod event;
mod gateway_api;
pub mod hand;
mod health;
mod hub;
mod ids;
#[doc(hidden)]
pub mod internals;
pub mod logging;
mod metrics;
mod net;
mod problem;
pub mod proto;
mod protocol;
mod ring;
pub mod server;
mod session;
mod signals;
mod text;
mod time;
mod workers;
