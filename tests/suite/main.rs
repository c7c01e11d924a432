//! Everything is tested from outside, over real sockets: one binary, one module for each
//! area, and in `support` what they share.

mod admin;
mod books;
mod broker;
mod bursts;
mod bus;
mod closing;
mod config;
mod conformance;
mod delivery;
mod demo;
mod drain;
mod failures;
mod fleet;
mod fuzz_corpus;
mod gateway_api;
mod handler;
mod handshake;
mod health;
mod hostile;
mod hostile_sessions;
mod library;
mod limits;
mod logs;
mod memory;
mod metrics;
mod process;
mod readme;
mod rechecks;
mod sessions;
mod sessions_by_id;
mod subscriptions;
mod support;
mod tls;
mod wire;
mod workers;
