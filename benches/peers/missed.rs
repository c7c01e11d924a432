//! Clients that come back to what they missed, one or many at once, where the server has all of
//! it in memory.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use tokio::time::sleep;

use crate::{
    load::{Pace, Step, ask, step, within},
    peer::{KEY, Keeping},
};

/// That each has missed.
pub const EVENTS: u64 = 1_000;

const DEADLINE: Duration = Duration::from_secs(60);

/// So that what a server does for those before is over.
const PAUSE: Duration = Duration::from_millis(50);

/// A server, and what a client says to it that missed something.
pub struct Missed<'a> {
    keeping: &'a Keeping,
    come_back: Vec<u8>,
}

impl<'a> Missed<'a> {
    /// Returns when the events are there, and one client has received all of them.
    pub async fn prepare(keeping: &'a Keeping) -> anyhow::Result<Self> {
        let (running, address) = (&keeping.running, keeping.running.address);
        let subscribed = ask(address, (running.script)(address, KEY));
        let subscribed = within(DEADLINE, "a client subscribes", subscribed).await?;
        let come_back = (keeping.come_back)(&subscribed)?;
        for _ in 0..EVENTS {
            running.publisher.publish().await?;
        }
        let mut script = (keeping.enter)(address);
        script.push(step(come_back.clone(), &(keeping.all)(EVENTS)));
        within(DEADLINE, "a client receives all that it missed", ask(address, script)).await?;
        Ok(Self { keeping, come_back })
    }

    /// How long so many take who say it at once, again and again for some time; events a second,
    /// and what the server spends on each.
    pub async fn measure(&self, count: usize, time: Duration) -> anyhow::Result<[Option<f64>; 3]> {
        let running = &self.keeping.running;
        let enter: Rc<[Step]> = (self.keeping.enter)(running.address).into();
        let messages = count as u64 * (self.keeping.messages)(EVENTS);
        let (mut times, mut cpu, began) = (Vec::new(), Duration::ZERO, Instant::now());
        while times.is_empty() || began.elapsed() < time {
            // The application, which the gateway asks, has no other processor.
            let clients = running.open(count, Pace::Sparing, |_| enter.clone()).await?;
            sleep(PAUSE).await;
            let (before, said) = (running.cpu(), Instant::now());
            clients.say(&self.come_back)?;
            within(DEADLINE, "what was missed comes", clients.have_received(messages)).await?;
            times.push(said.elapsed());
            cpu += running.cpu() - before;
            ensure!(clients.received() == messages, "more came than was missed");
        }
        times.sort_unstable();
        let middle = times[times.len() / 2].as_secs_f64();
        let events = count as f64 * EVENTS as f64;
        let each = cpu.as_secs_f64() * 1e6 / (events * times.len() as f64);
        Ok([middle * 1e3, events / middle, each].map(Some))
    }
}
