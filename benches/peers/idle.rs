//! Thousands of clients with a key each: how fast they get in, and what they weigh.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    load::{Pace, Step, step, text, usage, within},
    peer::Running,
};

const CLIENTS: usize = 5_000;

/// Large messages on their way at once.
const LARGE_AT_ONCE: usize = 16;
const LARGE_BYTES: usize = 60_000;
const LARGE_DEADLINE: Duration = Duration::from_secs(60);

/// Before memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);

/// Per client.
pub struct Measured {
    pub per_second: f64,
    /// In microseconds.
    pub server_cpu: f64,
    pub handler_cpu: Option<f64>,
    /// In KiB.
    pub idle: f64,
    /// In KiB, after each has sent and received a large message.
    pub after_large: Option<f64>,
}

pub async fn measure(running: &Running, pace: Pace) -> anyhow::Result<Measured> {
    let scripts: Vec<_> =
        (0..CLIENTS).map(|n| (running.script)(running.address, &format!("key-{n}"))).collect();
    let memory = usage::memory(running.process);
    let each = |total: f64| total / CLIENTS as f64;
    let weight = || each(usage::memory(running.process).saturating_sub(memory) as f64);
    let handler_cpu = || running.application.as_ref().map(|application| application.cpu());

    let (cpu, handler, began) = (running.cpu(), handler_cpu(), Instant::now());
    let clients = running.open(CLIENTS, pace, |number| scripts[number].clone()).await?;
    let elapsed = began.elapsed();
    let (cpu, handler) = (running.cpu() - cpu, handler_cpu().zip(handler).map(|(b, a)| b - a));

    sleep(SETTLE).await;
    let idle = weight();
    let after_large = match running.application {
        Some(_) => {
            let message = large_message();
            let playing = clients.play(LARGE_AT_ONCE, &message);
            within(LARGE_DEADLINE, "large messages come back", playing).await?;
            sleep(SETTLE).await;
            Some(weight())
        }
        None => None,
    };
    clients.none_lost()?;
    Ok(Measured {
        per_second: CLIENTS as f64 / elapsed.as_secs_f64(),
        server_cpu: each(cpu.as_secs_f64() * 1e6),
        handler_cpu: handler.map(|cpu| each(cpu.as_secs_f64() * 1e6)),
        idle,
        after_large,
    })
}

fn large_message() -> Rc<[Step]> {
    let action = |payload: &str| format!(r#"{{"action":"Echo","tag":1,"payload":"{payload}"}}"#);
    let payload = "x".repeat(LARGE_BYTES - action("").len());
    Rc::new([step(text(action(&payload).as_bytes()), r#""Echo""#)])
}
