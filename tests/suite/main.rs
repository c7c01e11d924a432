//! Everything is tested from outside, over real sockets: one binary, one module for each
//! area, and in `support` what they share.

mod bus;
mod config;
mod gateway_api;
mod handler;
mod support;
mod wire;
