//! Whether it is there, takes this for its gateway, and how fast it is.

use std::time::Duration;

use tokio::time::Instant;

use super::{Outcome, Run, found, words};
use crate::{application::grpc::Endpoint, metrics::CallStatus, net::host};

/// Calls whose median is told, in a time that nobody minds.
const SAMPLES: usize = 20;
const SAMPLING: Duration = Duration::from_secs(2);

const QUESTION: &str = "CheckSubscriptions of no topics, as the gateway asks on each connection";

impl Run<'_> {
    /// Whether there is somebody to be asked more.
    pub(super) async fn reach(&mut self) -> bool {
        let endpoint = self.wanted.application.endpoint.clone();
        let (begun, asked) = (Instant::now(), format!("an HTTP/2 connection to {endpoint}"));
        match self.probe.connected(self.wanted.wait).await {
            Ok(()) => {
                let came = format!("it greets after {}", words::millis(begun.elapsed()));
                self.add("reachable", Outcome::Ok, asked, came);
            }
            Err(why) => {
                let found = found("reachable", Outcome::Failed, asked, why)
                    .client("ApplicationUnavailable, retryable, for every action and subscription")
                    .advice("start it, or correct --action-handler; --wait gives it more time");
                self.report.add(found);
                return false;
            }
        }
        self.open_to_anybody(&endpoint);
        if !self.question().await {
            return false;
        }
        self.samples().await;
        true
    }

    fn open_to_anybody(&mut self, endpoint: &Endpoint) {
        let local = match endpoint {
            Endpoint::Unix(_) => true,
            Endpoint::Http(authority) => {
                let host = host::without_brackets(authority.host());
                host == "localhost"
                    || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            }
        };
        if !local && self.wanted.application.token.is_none() {
            let asked = format!("{endpoint}, without --action-handler-token");
            let came = "other machines reach it, and it asks nobody who they are";
            let found = found("open-to-anybody", Outcome::Warning, asked, came)
                .client("whoever reaches that port speaks in the name of any user")
                .advice("listen on loopback or a unix socket, or have a token and check it");
            self.report.add(found);
        }
    }

    /// What the gateway asks by itself; without an answer to it nothing else is told well.
    async fn question(&mut self) -> bool {
        let answer = self.probe.nobody_asks().await;
        self.note("CheckSubscriptions", &answer, "the first call");
        let mut came = words::came(&answer);
        let (outcome, client, advice) = match answer.status {
            CallStatus::Ok if answer.read.is_ok() => (Outcome::Ok, None, None),
            CallStatus::Ok => {
                came = format!("decisions, where none was asked for ({came})");
                (Outcome::Warning, None, Some("answer one decision for each topic: here none"))
            }
            CallStatus::Unimplemented => (
                Outcome::Failed,
                Some("ApplicationUnavailable, also for actions that are UNIMPLEMENTED"),
                Some(
                    "implement CheckSubscriptions and register myxi.v1.ActionHandler with the \
                     server; or the port is another service's",
                ),
            ),
            CallStatus::Unauthenticated => (
                Outcome::Failed,
                Some("ApplicationUnavailable for every subscription"),
                Some(
                    "give the token that it expects (MYXI_ACTION_HANDLER_TOKEN); it must not \
                     answer UNAUTHENTICATED here for another reason, as no user is asked about",
                ),
            ),
            _ if answer.is_silence() || answer.broken().is_some() => (
                Outcome::Failed,
                Some("ApplicationUnavailable, or ActionTimeout"),
                Some("answer it: the session has the id 0000000000000000 and nothing else"),
            ),
            _ => (
                Outcome::Warning,
                None,
                Some("answer OK with no decisions; the session has an id and nothing else"),
            ),
        };
        let mut found = found("gateways-own-question", outcome, QUESTION, came);
        found.client = client.map(Into::into);
        found.advice = advice.map(Into::into);
        self.report.add(found);
        answer.status != CallStatus::Unauthenticated
    }

    async fn samples(&mut self) {
        let begun = Instant::now();
        for _ in 0..SAMPLES {
            let answer = self.probe.nobody_asks().await;
            self.note("CheckSubscriptions", &answer, "CheckSubscriptions of no topics");
            if begun.elapsed() > SAMPLING {
                break;
            }
        }
    }

    /// Of all that was asked, at the end.
    pub(super) fn speed(&mut self) {
        let Some((first, _)) = self.times.first().cloned() else { return };
        let mut times = std::mem::take(&mut self.times);
        times.sort();
        let (median, (slowest, what)) = (times[times.len() / 2].0, times[times.len() - 1].clone());
        let timeout = self.wanted.application.timeout;
        let (calls, silences) = (times.len() + self.silences, self.silences);
        let asked = format!("{calls} calls, of which each may take {timeout:?}");
        let mut came = format!(
            "the first after {}, half of all within {}, the slowest after {} ({what})",
            words::millis(first),
            words::millis(median),
            words::millis(slowest),
        );
        if silences > 0 {
            came.push_str(&format!("; {silences} had no answer"));
        }
        let found = match slowest > timeout / 2 || silences > 0 {
            false => found("speed", Outcome::Ok, asked, came),
            true => found("speed", Outcome::Warning, asked, came)
                .client("ActionTimeout, outcome unknown, as soon as it is a little slower")
                .advice("answer in less than half of --action-timeout, or give it more"),
        };
        self.report.add(found);
    }

    /// What was heard of each RPC, at the end.
    pub(super) fn rpcs(&mut self) {
        let of = |rpc: &str| {
            let mut heard =
                self.heard.iter().filter(|(of, _)| *of == rpc).map(|(_, status)| status);
            let all: Vec<_> = heard.by_ref().collect();
            match all[..] {
                [] => format!("{rpc} was not asked"),
                _ if all.iter().any(|status| **status == CallStatus::Ok) => {
                    format!("{rpc} is there")
                }
                _ if all.iter().all(|status| **status == CallStatus::Unimplemented) => {
                    format!("{rpc} is always UNIMPLEMENTED")
                }
                _ => format!("{rpc} answers"),
            }
        };
        let all = ["HandleAction", "CheckSubscriptions", "SessionOpened", "SessionClosed"].map(of);
        self.add(
            "rpcs",
            Outcome::Ok,
            "which RPCs of myxi.v1.ActionHandler are there",
            all.join(", "),
        );
    }
}
