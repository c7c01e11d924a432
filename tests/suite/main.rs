//! Everything is tested from outside, over real sockets: one binary, one module for each
//! area, and in `support` what they share.

// A program of its own: nobody reaches anything in it.
#![allow(unreachable_pub)]

mod addresses;
mod admin;
mod batches;
mod books;
mod broker;
mod broker_facts;
mod broker_rights;
mod broker_says;
mod bursts;
mod bus;
mod closing;
mod cluster;
mod compatibility;
mod complaints;
mod config;
mod conformance;
mod connect;
mod delivery;
mod demo;
mod deployment;
mod direct;
mod drain;
mod examples;
mod failures;
mod fleet;
mod from_myxi;
mod from_the_log;
mod fuzz_corpus;
mod gateway_api;
mod gateway_clients;
mod group_commit;
mod hand;
mod handler;
mod handshake;
mod health;
mod hostile;
mod hostile_sessions;
mod house;
mod inherited;
mod library;
mod limits;
mod log;
mod logs;
mod memory;
mod metrics;
mod packaging;
mod process;
mod proxies;
mod pushed_again;
mod readme;
mod rechecks;
mod resume;
mod runtimes;
mod sessions;
mod sessions_by_id;
mod subscriptions;
mod support;
mod tls;
mod useless_connections;
mod wire;
mod workers;
