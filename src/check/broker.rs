//! Whether a broker has what a gateway needs of it: it is there, and lets this user do each thing
//! that the bus does. Only `myxi.check.<random>` is made and removed again, also where a signal ends
//! it; nothing that exists is touched.

mod management;

use tokio::time::Instant;

use super::report::{Face, Finding, Outcome, Report};
use crate::{
    bus::rabbitmq::{Barrier, BrokerUrl, NotConnected, NotDone, Trial, product},
    config::BrokerToCheck,
    signals::StopSignals,
};

const AWAY: &str = "nothing at once: it stays connected, pushes fail with UNAVAILABLE, and /health/ready \
                    says degraded (at a start: not ready)";

/// What docs/deploy.md has for a user that is nobody but myxi's.
const RIGHTS: &str = "rabbitmqctl set_permissions -p VHOST USER '^myxi\\.' '^myxi\\.' '^myxi\\.' (with a \
                      direct exchange widgets: '^(myxi\\.|widgets$)')";

/// `None` where a signal came before the end.
pub(super) async fn check(
    wanted: &BrokerToCheck,
    report: &mut Report,
    stop: &mut StopSignals,
) -> Option<()> {
    for url in &wanted.urls {
        node(url, wanted, report, stop).await?;
    }
    stop.before(management::check(wanted, report)).await
}

async fn node(
    url: &BrokerUrl,
    wanted: &BrokerToCheck,
    report: &mut Report,
    stop: &mut StopSignals,
) -> Option<()> {
    let Some(trial) = stop.before(reach(url, report)).await? else { return Some(()) };
    let trying = async {
        report.add(version(product(url).await));
        let existing = existing(&trial, wanted, report).await;
        rights(&trial, existing, report).await;
    };
    let whole = stop.before(trying).await;
    let asked = format!("whether anything of {} is left", trial.name());
    report.add(match stop.before(trial.tidy()).await {
        None => found("tidied", Outcome::Warning, asked, "not seen: another signal came"),
        Some(left) if left.is_empty() => found("tidied", Outcome::Ok, asked, "nothing"),
        Some(left) => found("tidied", Outcome::Warning, asked, left.join(", "))
            .advice("remove it: rabbitmqctl delete_queue, or by the management page"),
    });
    whole
}

async fn reach(url: &BrokerUrl, report: &mut Report) -> Option<Trial> {
    let (asked, begun) = (format!("a connection to {url}"), Instant::now());
    match Trial::open(url).await {
        Ok(trial) => {
            let came = format!("it lets us in after {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
            report.add(found("reachable", Outcome::Ok, asked, came));
            Some(trial)
        }
        Err(NotConnected { barrier, why }) => {
            let found = found("reachable", Outcome::Failed, asked, why).client(AWAY);
            report.add(found.advice(way_past(barrier)));
            report.add(found_not("everything-else", "everything else", "see above"));
            None
        }
    }
}

fn way_past(barrier: Barrier) -> &'static str {
    match barrier {
        Barrier::Credentials => {
            "correct the user or the password; what is special in them must be percent-encoded"
        }
        Barrier::VirtualHost => {
            "create the virtual host, let the user into it, or correct it in the URL: %2f, or none, \
             is /"
        }
        Barrier::Other => {
            "start it, or correct the host and the port; amqps:// where it expects TLS"
        }
    }
}

fn version(product: Option<String>) -> Finding {
    let asked = "what it is";
    match product {
        None => found("version", Outcome::NotChecked, asked, "it does not say, or expects TLS"),
        Some(product) => {
            let number = product.split_once(' ').map_or("", |(_, number)| number);
            let mut parts = number.split('.').map_while(|part| part.parse::<u32>().ok());
            let old = (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (3, 10);
            match old {
                false => found("version", Outcome::Ok, asked, product),
                true => found("version", Outcome::Warning, asked, product)
                    .advice("myxi is tried on RabbitMQ 3.10 and later"),
            }
        }
    }
}

/// Whether everything of the configured exchanges is there; unknown where none is told.
async fn existing(trial: &Trial, wanted: &BrokerToCheck, report: &mut Report) -> Option<bool> {
    if wanted.exchanges.is_empty() {
        let came = "no --exchange (MYXI_EXCHANGES) names one";
        report.add(found_not("exchanges", "what there is of the gateway's exchanges", came));
        return None;
    }
    let mut all = true;
    for exchange in &wanted.exchanges {
        let asked = format!("what there is of {}", exchange.name);
        match trial.missing(exchange).await {
            Ok(missing) if missing.is_empty() => {
                report.add(found("exchanges", Outcome::Ok, asked, "everything is there"));
            }
            Ok(missing) => {
                all = false;
                let came = format!("{} is not there yet: a gateway makes it", missing.join(", "));
                report.add(found("exchanges", Outcome::Ok, asked, came));
            }
            Err(NotDone { why, .. }) => {
                all = false;
                report.add(found_not("exchanges", asked, why));
            }
        }
    }
    Some(all)
}

/// One by one; what another needs that was refused cannot be checked.
async fn rights(trial: &Trial, existing: Option<bool>, report: &mut Report) {
    let name = trial.name();
    let mut tell = |check: &str, asked: String, done: Result<(), NotDone>| {
        let ok = done.is_ok();
        report.add(match done {
            Ok(()) => found(check, Outcome::Ok, asked, "done"),
            Err(not_done) => refused(check, asked, not_done, existing),
        });
        ok
    };
    let exchange = trial.declare_exchange().await;
    let exchange = tell("configure", format!("declare the exchange {name}"), exchange);
    let stream = trial.declare_stream().await;
    let stream = tell("streams", format!("declare the stream {name}.log"), stream);
    let mut there = exchange && stream;
    let mut not_tried = Vec::new();
    for (check, asked) in [
        ("bind", format!("bind {name}.log to {name}")),
        ("write", format!("publish to {name}, mandatory and with a confirm")),
        ("read", format!("read it back from {name}.log")),
    ] {
        if !there {
            not_tried.push(found_not(check, asked, "what it needs was refused: see above"));
            continue;
        }
        let done = match check {
            "bind" => trial.bind_stream().await,
            "write" => trial.publish().await,
            _ => trial.read_stream().await,
        };
        there = tell(check, asked, done);
    }
    let direct = trial.exclusive_queue().await;
    let asked = format!("declare {name}.direct and an exclusive queue, bind, publish and read");
    tell("direct", asked, direct);
    not_tried.into_iter().for_each(|finding| report.add(finding));
}

fn refused(check: &str, asked: String, not_done: NotDone, existing: Option<bool>) -> Finding {
    let NotDone { forbidden, why } = not_done;
    let advice = match (forbidden, check) {
        (true, _) => RIGHTS,
        (false, "streams") => {
            "streams are needed for every exchange that is not kind=direct: enable the feature \
             flag stream_queue (rabbitmqctl enable_feature_flag all), or use another broker"
        }
        _ => "look at the broker's log; a memory or disk alarm holds publishers back",
    };
    match (forbidden, existing) {
        // A user with fewer rights is enough where somebody else has made everything.
        (true, Some(true)) => found(check, Outcome::Warning, asked, why).advice(format!(
            "the exchanges are there, so the fewer rights of docs/deploy.md may be enough: configure \
             ^myxi\\.replica\\., write ^myxi\\.(in\\.|replica), read ^myxi\\.(log\\.|replica). To \
             have it checked, and to make what is new: {RIGHTS}"
        )),
        _ => found(check, Outcome::Failed, asked, why).client(AWAY).advice(advice),
    }
}

fn found(
    name: &str,
    outcome: Outcome,
    asked: impl Into<String>,
    came: impl Into<String>,
) -> Finding {
    Finding::new(Face::Broker, name, outcome, asked, came)
}

fn found_not(name: &str, asked: impl Into<String>, came: impl Into<String>) -> Finding {
    found(name, Outcome::NotChecked, asked, came)
}
