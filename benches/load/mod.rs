//! What the benchmarks share: server processes, the application, clients that cost little,
//! and what the operating system counted meanwhile.
//!
//! The load side is one thread: a tokio current-thread runtime with publishers as its
//! tasks, and all clients as one further task over an epoll of their own ([`Clients`]).
//! The application is a thread of its own ([`Application`]), the gateway a process.

// Each benchmark uses a part of it.
#![allow(dead_code, unused_imports)]

mod application;
mod clients;
pub mod frames;
mod gateway;
mod processors;
mod rabbitmq;
mod script;
mod server_process;
pub mod usage;

use std::{future::Future, time::Duration};

use anyhow::Context;

pub use self::{
    application::{Answers, Application},
    clients::{Clients, Pace, Tally, Unit},
    gateway::{
        Addresses, EVENT_BYTES, EXCHANGE, Gateway, event, myxi_entry, myxi_script, payload,
        position_in, subscribe,
    },
    processors::{available, pin_this_thread},
    rabbitmq::RabbitMq,
    script::{Step, ask, binary, step, text, upgrade},
    server_process::{Scratch, ServerProcess, free_ports, listening},
};

/// Awaits with a deadline: a benchmark that hangs says where.
pub async fn within<T>(
    deadline: Duration,
    what: &str,
    future: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let done = tokio::time::timeout(deadline, future).await;
    done.with_context(|| format!("{what}: not within {deadline:?}"))?
        .with_context(|| what.to_owned())
}

/// Runs a benchmark on the thread that calls: the load side.
pub fn run(benchmark: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, benchmark)
}
