//! How subscriptions begin that want something of the past: with a replay, or live and told why.

use super::{Session, errors::unavailable_exchange, replay::Replay};
use crate::{
    bus::Whole,
    event::{Exchange, Topic},
    protocol::{ClientError, NotRecovered, Past, Recovered},
    ring::{NoReading, Place},
};

/// How the subscriptions of one message begin.
pub(super) enum Start {
    /// At once. What was missed does not follow, or was not asked for.
    Live(Option<Recovered>),
    Replay(Box<Replay>),
}

impl Session {
    /// How subscriptions to these topics of one exchange begin, where this of the past is wanted.
    pub(super) async fn prepare(
        &self,
        exchange: &Exchange,
        past: Past,
        topics: &[Topic],
    ) -> Result<Start, ClientError> {
        let ring = &self.services.ring;
        let live = |reason| Ok(Start::Live(Some(Recovered::No(reason))));
        if past != Past::Nothing && !topics.is_empty() && !ring.keeps(exchange) {
            return live(NotRecovered::NoLog);
        }
        let gaps = ring.gaps(exchange);
        let replay = |replay| Ok(Start::Replay(Box::new(replay)));
        let behind = |cursor, log| replay(Replay::behind(exchange, gaps, cursor, log));
        // What was published before to a key that was not bound is not in the log.
        let whole = self.services.bindings.whole_since(topics);
        let is_whole_behind = |position| match whole {
            Whole::Always => true,
            Whole::Since(since) => position >= since,
            Whole::Unknown => false,
        };
        match past {
            Past::After(position) if !topics.is_empty() => {
                let Some(position) = position else { return live(NotRecovered::Unknown) };
                if !is_whole_behind(position) {
                    return live(NotRecovered::Expired);
                }
                let patience = self.services.patience;
                match ring.reach(exchange, position, patience).await {
                    Place::Here(cursor) => behind(cursor, None),
                    Place::Before => match ring.read_log(exchange, position, patience).await {
                        Ok((log, cursor)) => behind(cursor, Some(log)),
                        Err(NoReading::NotRecovered(reason)) => live(reason),
                        Err(NoReading::Unavailable) => Err(unavailable_exchange(exchange.as_str())),
                    },
                    Place::Unknown => live(NotRecovered::Unknown),
                    Place::Ahead => Err(unavailable_exchange(exchange.as_str())),
                }
            }
            Past::Last(number) if !topics.is_empty() => {
                let keys: Vec<_> = topics.iter().map(Topic::routing_key).collect();
                match ring.latest(exchange, &keys, number, self.outbox.part()) {
                    Ok(Some(mut span)) => {
                        span.events.retain(|event| is_whole_behind(event.position()));
                        replay(Replay::latest(exchange, gaps, span))
                    }
                    Ok(None) => live(NotRecovered::TooMany),
                    Err(_) => live(NotRecovered::Expired),
                }
            }
            Past::Nothing | Past::After(_) | Past::Last(_) => Ok(Start::Live(None)),
        }
    }
}
