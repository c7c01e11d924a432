//! The table of topics, over the hubs of all runtimes.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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

/// Of one hub. While its topics are looked at it delivers nothing: beyond some milliseconds
/// a part of them must do.
const KEYS_MAX: usize = 20_000;

pub struct Topics {
    hubs: Vec<Arc<Hub>>,
    last: Mutex<Option<(Instant, Arc<Table>)>>,
}

struct Table {
    rows: Vec<Row>,
    /// Of which the rows may be a part.
    total: usize,
}

struct Row {
    exchange: Exchange,
    routing_key: Arc<str>,
    subscribers: usize,
}

impl Topics {
    pub fn new(hubs: Vec<Arc<Hub>>) -> Self {
        Self { hubs, last: Mutex::default() }
    }

    /// How many sessions of this replica are subscribed to one topic.
    pub fn subscribers(&self, topic: &Topic) -> usize {
        self.hubs.iter().map(|hub| hub.subscribers(topic)).sum()
    }

    /// How many topics there are.
    pub fn count(&self) -> usize {
        match &self.hubs[..] {
            [only] => only.topic_count(),
            _ => self.table().total,
        }
    }

    /// One page of them as JSON, the most wanted first.
    pub fn list(&self, query: &Query<'_>) -> Result<List, Refusal> {
        let (search, page) = (query.needle("search")?, query.page()?);
        let table = self.table();
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
        Ok(List { total: table.total, matching, sampled: table.is_sampled(), topics })
    }

    fn table(&self) -> Arc<Table> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((taken, table)) if taken.elapsed() < FRESH => table.clone(),
            _ => {
                let table = Arc::new(Table::of(&self.hubs));
                *last = Some((Instant::now(), table.clone()));
                table
            }
        }
    }
}

#[derive(Debug, Serialize)]
pub struct List {
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
    fn of(hubs: &[Arc<Hub>]) -> Self {
        let mut sums: HashMap<(Exchange, Arc<str>), usize> = HashMap::new();
        let mut of_one = 0;
        for hub in hubs {
            of_one = of_one.max(hub.topic_count());
            for (exchange, key, subscribers) in hub.topics(KEYS_MAX) {
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
        Self { total: of_one.max(rows.len()), rows }
    }

    fn is_sampled(&self) -> bool {
        self.rows.len() < self.total
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
