//! Everything is tested from outside, over real sockets: one binary, one module for each
//! area, and in `support` what they share.

mod bus;
mod closing;
mod config;
mod delivery;
mod failures;
mod gateway_api;
mod handler;
mod handshake;
mod hostile;
mod limits;
mod rechecks;
mod sessions;
mod subscriptions;
mod support;
mod wire;
