//! How subscriptions begin that want something of the past: with a replay, or live and told why.

use super::{Services, Session, errors::unavailable_exchange, replay::Replay};
use crate::{
    event::{Exchange, Position, Topic},
    metrics::{Asked, Raised, Resumed},
    protocol::{ClientError, NotRecovered, Past, Recovered},
    ring::{Cursor, LogReader, NoReading, Place},
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
        let asked = match past {
            Past::After(_) if !topics.is_empty() => Asked::After,
            Past::Last(_) if !topics.is_empty() => Asked::Last,
            Past::Nothing | Past::After(_) | Past::Last(_) => return Ok(Start::Live(None)),
        };
        let mut resume = self.metrics().resumes.begin(asked);
        let mut start = self.look_up(exchange, past, topics).await;
        match &mut start {
            Ok(Start::Replay(replay)) => replay.count_as(resume),
            Ok(Start::Live(Some(Recovered::No(why)))) => resume.ended((*why).into()),
            Ok(Start::Live(Some(Recovered::Yes) | None)) => {}
            Err(_) => resume.ended(Resumed::Unavailable),
        }
        start
    }

    async fn look_up(
        &self,
        exchange: &Exchange,
        past: Past,
        topics: &[Topic],
    ) -> Result<Start, ClientError> {
        let ring = &self.services.ring;
        let live = |reason| Ok(Start::Live(Some(Recovered::No(reason))));
        let gaps = ring.gaps(exchange);
        let replay = |replay| Ok(Start::Replay(Box::new(replay)));
        let behind = |cursor, log| replay(Replay::behind(exchange, gaps, cursor, log));
        match past {
            Past::After(position) => {
                let Some(position) = position else { return live(NotRecovered::Unknown) };
                match ring.reach(exchange, position, self.services.patience).await {
                    Place::Here(cursor) => behind(cursor, None),
                    Place::Before => match self.read_log(exchange, position).await {
                        Ok((log, cursor)) => behind(cursor, Some(log)),
                        Err(NoReading::NotRecovered(reason)) => live(reason),
                        Err(NoReading::Unavailable) => Err(unavailable_exchange(exchange.as_str())),
                    },
                    Place::Unknown => live(NotRecovered::Unknown),
                    Place::Ahead => Err(unavailable_exchange(exchange.as_str())),
                }
            }
            Past::Last(number) => {
                let keys: Vec<_> = topics.iter().map(Topic::routing_key).collect();
                match ring.latest(exchange, &keys, number, self.outbox.part()) {
                    Ok(Some(span)) => replay(Replay::latest(exchange, gaps, span)),
                    Ok(None) => live(NotRecovered::TooMany),
                    Err(_) => live(NotRecovered::Expired),
                }
            }
            Past::Nothing => Ok(Start::Live(None)),
        }
    }

    /// Where what stands behind the position is in the log alone; there may be others to wait for.
    pub(super) async fn read_log(
        &self,
        exchange: &Exchange,
        position: Position,
    ) -> Result<(LogReader, Cursor), NoReading> {
        let Services { ring, patience, metrics, .. } = &*self.services;
        let _waiting = Raised::on(&metrics.resumes.log_waiting);
        let found = ring.read_log(exchange, position, *patience).await;
        if let Err(NoReading::NotRecovered(NotRecovered::TooMany)) = found {
            metrics.resumes.log_refused.inc();
        }
        found
    }
}
