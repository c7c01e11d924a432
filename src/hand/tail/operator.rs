//! Events of all keys, as the admin listener keeps them for its console: some of a busy gateway's,
//! and what is not shown is counted.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::{
    End, Printer, Stop,
    shown::{Payload, Shown},
};
use crate::{
    config::hand::AdminAt,
    hand::{
        admin::{self, Unanswered},
        print::say,
    },
    net::backoff::Backoff,
};

/// The console asks as often.
const INTERVAL: Duration = Duration::from_millis(500);

const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Tailed {
    next: u64,
    skipped: u64,
    /// Of a gateway of a build before, never.
    #[serde(default)]
    unwatched: bool,
    events: Vec<Passed>,
}

#[derive(Deserialize)]
struct Passed {
    at_ms: u64,
    exchange: String,
    routing_key: String,
    event: String,
    payload: String,
    bytes: usize,
}

pub(super) async fn run(
    exchange: &str,
    admin: &AdminAt,
    last: usize,
    mut printer: Printer,
    mut stop: Stop,
) -> End {
    let watching = Watching { exchange, admin, after: None, lost: false };
    tokio::select! {
        end = watching.run(last, &mut printer) => end,
        () = stop.next() => End::Asked,
    }
}

struct Watching<'a> {
    exchange: &'a str,
    admin: &'a AdminAt,
    /// Of the last event that was seen. Nothing before the first answer.
    after: Option<u64>,
    lost: bool,
}

impl Watching<'_> {
    async fn run(mut self, last: usize, printer: &mut Printer) -> End {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        loop {
            let asked = match self.ask().await {
                Ok(tailed) => {
                    backoff.reset();
                    self.show(tailed, last, printer).await
                }
                // Before anything came, somebody may have mistaken the address.
                Err(Unanswered::Unreachable(reason)) if self.after.is_some() => {
                    if !self.lost {
                        say("tail", &format!("{reason}; asking again"));
                        self.lost = true;
                    }
                    backoff.wait().await;
                    continue;
                }
                Err(unanswered) => return End::Failed(unanswered.into()),
            };
            if let Err(end) = asked {
                return end;
            }
            sleep(INTERVAL).await;
        }
    }

    async fn ask(&self) -> Result<Tailed, Unanswered> {
        let after = self.after.map_or_else(String::new, |after| format!("?after={after}"));
        let body: Bytes = admin::get(self.admin, &format!("/api/events{after}")).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Unanswered::Refused(format!("{} answers nonsense: {error}", self.admin.remote))
        })
    }

    async fn show(
        &mut self,
        tailed: Tailed,
        last: usize,
        printer: &mut Printer,
    ) -> Result<(), End> {
        let Tailed { next, skipped, unwatched, events } = tailed;
        let mut events: Vec<_> =
            events.into_iter().filter(|passed| passed.exchange == self.exchange).collect();
        match self.after {
            // Kept for somebody else who watches.
            None => drop(events.drain(..events.len().saturating_sub(last))),
            Some(after) if next < after => {
                say("tail", "the gateway is another one: what passed meanwhile is not shown");
            }
            Some(_) if self.lost => say("tail", "the gateway answers again"),
            Some(_) => {}
        }
        self.lost = false;
        if unwatched {
            say("tail", "the gateway was not asked in time: what passed meanwhile is not shown");
        }
        if skipped > 0 {
            let text = format!("{skipped} events (of all exchanges) passed that are not shown");
            say("tail", &text);
        }
        for passed in &events {
            printer.show(&passed.shown()).await?;
        }
        self.after = Some(next);
        Ok(())
    }
}

impl Passed {
    fn shown(&self) -> Shown<'_> {
        let payload = match serde_json::from_str::<&RawValue>(&self.payload) {
            Ok(whole) if self.payload.len() == self.bytes => Payload::Whole(whole),
            _ => Payload::Cut(&self.payload),
        };
        Shown {
            at_ms: self.at_ms,
            exchange: &self.exchange,
            routing_key: &self.routing_key,
            event: &self.event,
            payload,
            position: None,
        }
    }
}
