//! The table of topics, over the hubs of all runtimes.

use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    answer::{Refusal, holds},
    query::Query,
};
use crate::{
    event::{Exchange, Topic},
    hub::Hub,
};

/// A table serves everybody who asks for so long: however many consoles are open, and
/// however many topics there are, it is not made more often.
const FRESH: Duration = Duration::from_millis(500);

/// For whoever wants no more than their number.
const FRESH_COUNT: Duration = Duration::from_secs(5);

/// Of one hub. While its topics are looked at it delivers nothing: beyond some milliseconds
/// a part of them must do.
const KEYS_MAX: usize = 20_000;

pub(crate) struct Topics {
    hubs: Vec<Arc<Hub>>,
    last: Mutex<Option<(Instant, Arc<Table>)>>,
}

struct Table {
    rows: Vec<Row>,
    /// At the least: see `sampled`.
    total: usize,
    /// A hub has too many topics; the rows are a part of them.
    sampled: bool,
}

struct Row {
    exchange: Exchange,
    routing_key: Arc<str>,
    subscribers: usize,
}

impl Topics {
    pub(crate) fn new(hubs: Vec<Arc<Hub>>) -> Self {
        Self { hubs, last: Mutex::default() }
    }

    /// How many sessions of this replica are subscribed to one topic.
    pub(crate) fn subscribers(&self, topic: &Topic) -> usize {
        self.hubs.iter().map(|hub| hub.subscribers(topic)).sum()
    }

    /// How many topics there are.
    pub(crate) fn count(&self) -> usize {
        match &self.hubs[..] {
            [only] => only.topic_count(),
            _ => self.table(FRESH_COUNT).total,
        }
    }

    /// One page of them as JSON, the most wanted first.
    pub(crate) fn list(&self, query: &Query<'_>) -> Result<List, Refusal> {
        let (search, page) = (query.needle("search")?, query.page()?);
        let table = self.table(FRESH);
        let matches =
            |row: &&Row| holds(row.exchange.as_str(), &search) || holds(&row.routing_key, &search);
        let mut found: Vec<&Row> = table.rows.iter().filter(matches).collect();
        let matching = if search.is_empty() { table.total } else { found.len() };
        let order = |row: &Row| Reverse(row.subscribers);
        let rows = page.of(&mut found, |one, other| {
            order(one)
                .cmp(&order(other))
                .then_with(|| one.exchange.cmp(&other.exchange))
                .then_with(|| one.routing_key.cmp(&other.routing_key))
        });
        let topics = rows.into_iter().map(Listed::from).collect();
        Ok(List { total: table.total, matching, sampled: table.sampled, topics })
    }

    fn table(&self, fresh: Duration) -> Arc<Table> {
        let mut last = self.last.lock();
        match &*last {
            Some((taken, table)) if taken.elapsed() < fresh => table.clone(),
            _ => {
                let table = Arc::new(Table::of(&self.hubs, KEYS_MAX));
                *last = Some((Instant::now(), table.clone()));
                table
            }
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct List {
    /// At the least, where `sampled`.
    total: usize,
    matching: usize,
    /// There are too many: what is searched and sorted is a part of them.
    sampled: bool,
    topics: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    exchange: String,
    routing_key: String,
    subscribers: usize,
}

impl Table {
    /// At most `max` topics of each hub.
    fn of(hubs: &[Arc<Hub>], max: usize) -> Self {
        let mut sums: HashMap<(Exchange, Arc<str>), usize> = HashMap::new();
        let mut most = 0;
        for hub in hubs {
            most = most.max(hub.topic_count());
            for (exchange, key, subscribers) in hub.topics(max) {
                *sums.entry((exchange, key)).or_default() += subscribers;
            }
        }
        let rows: Vec<_> = sums
            .into_iter()
            .map(|((exchange, routing_key), subscribers)| Row {
                exchange,
                routing_key,
                subscribers,
            })
            .collect();
        Self { total: most.max(rows.len()), rows, sampled: most > max }
    }
}

impl From<&Row> for Listed {
    fn from(row: &Row) -> Self {
        Self {
            exchange: row.exchange.to_string(),
            routing_key: row.routing_key.to_string(),
            subscribers: row.subscribers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::{Interest, outbox::Outbox},
        ids::{ReplicaId, SessionIds},
        metrics::Metrics,
        protocol::KeyForm,
    };

    const OUTBOX: usize = 1 << 20;

    fn hub(keys: std::ops::Range<u32>) -> Arc<Hub> {
        let exchange = Exchange::new("widgets").expect("valid");
        let interest = Interest::new([exchange.clone()]);
        let hub = Hub::new(interest, OUTBOX, Arc::new(Metrics::new(&[])));
        let session = SessionIds::new(ReplicaId::random()).next();
        let outbox = Outbox::new(session, OUTBOX);
        for key in keys {
            let topic = Topic::new(exchange.clone(), &key.to_string()).expect("valid");
            hub.subscribe(&topic, KeyForm::String, &outbox, None, None);
        }
        Arc::new(hub)
    }

    #[test]
    fn a_table_of_a_part_says_so() {
        let table = |hubs: &[Arc<Hub>], max| {
            let Table { rows, total, sampled } = Table::of(hubs, max);
            (rows.len(), total, sampled)
        };
        assert_eq!(table(&[hub(0..3)], 3), (3, 3, false));
        assert_eq!(table(&[hub(0..4)], 3), (3, 4, true));
        assert_eq!(table(&[hub(0..3), hub(2..5)], 3), (5, 5, false));
        assert_eq!(table(&[hub(0..4), hub(10..14)], 3), (6, 6, true));
    }
}
