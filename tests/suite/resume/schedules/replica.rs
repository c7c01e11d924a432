//! A replica, as far as a log, a hub and its clients make one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::{BoxFuture, poll_immediate};
use myxi::internals::{
    application::{
        Action, ActionReply, Admission, Application, ApplicationError, CheckReason, Decision,
        SessionSnapshot,
    },
    bus::{LogEntry, LogReading, NotRead, SharedLog},
    event::{Entry, Exchange, Position, RawBody, RawEvent, Topic},
    hub::{Delivery, Hub, Interest},
    metrics::Metrics,
    protocol::{Close, ErrorCode},
    ring::Ring,
    session::Services,
};
use rand::{Rng, rngs::SmallRng};
use tokio::time::sleep;

use super::{Item, Log, OUTBOX};

/// How long a client waits for a replica that is behind.
const PATIENCE: Duration = Duration::from_millis(50);

pub struct Replica {
    exchange: Exchange,
    log: Arc<Mutex<Log>>,
    /// So many entries of it are in the ring, and were looked at for the hub.
    appended: usize,
    read: usize,
    interest: Arc<Interest>,
    ring: Arc<Ring>,
    _shared: Arc<dyn SharedLog>,
    hub: Arc<Hub>,
    /// What waits for the hub, and what it does.
    queue: VecDeque<Notice>,
    doing: Option<BoxFuture<'static, ()>>,
    pub services: Arc<Services>,
}

enum Notice {
    Events(Vec<Delivery>, Position),
    Gap(Position),
}

impl Replica {
    pub fn new(log: &Arc<Mutex<Log>>, ring: usize) -> Self {
        let exchange = Exchange::new("widgets").expect("valid");
        let interest = Interest::new([exchange.clone()]);
        let metrics = Arc::new(Metrics::new(ErrorCode::NAMES));
        let hub = Arc::new(Hub::new(interest.clone(), OUTBOX, metrics.clone()));
        let ring = Arc::new(Ring::new([exchange.clone()], ring));
        let shared: Arc<dyn SharedLog> = Arc::new(Shared(log.clone()));
        ring.share(&shared);
        let services = Services {
            hub: hub.clone(),
            ring: ring.clone(),
            bindings: Default::default(),
            patience: PATIENCE,
            application: Arc::new(Willing),
            max_subscriptions: 10,
            max_event_size: OUTBOX / 4,
            complaints: Default::default(),
            metrics,
        };
        let first = log.lock().unwrap().items[0].entry;
        ring.append(&exchange, first, &[]);
        let at = Some(Position::end_of(first));
        interest.begin(&exchange, at);
        hub.attached(&exchange, at);
        Self {
            exchange,
            log: log.clone(),
            appended: 1,
            read: 1,
            interest,
            ring,
            _shared: shared,
            hub,
            queue: VecDeque::new(),
            doing: None,
            services: Arc::new(services),
        }
    }

    /// One of the two steps in which an entry is taken.
    pub fn read(&mut self) {
        let entry = |at| self.log.lock().unwrap().items.get(at).cloned();
        if self.appended == self.read {
            let Some(Item { entry, events }) = entry(self.appended) else { return };
            self.appended += 1;
            return self.ring.append(&self.exchange, entry, &raw(entry, &events, &bodies(&events)));
        }
        let Item { entry, events } = entry(self.read).expect("it was there");
        self.read += 1;
        let bodies = bodies(&events);
        let mut raw = raw(entry, &events, &bodies);
        let up_to = Position::end_of(entry);
        if self.interest.pass(&self.exchange, up_to, &mut raw, false) {
            let read = |raw: &RawEvent<'_>| raw.read(&self.exchange).expect("an event");
            let deliveries = raw.iter().map(|raw| Delivery::new(read(raw))).collect();
            self.queue.push_back(Notice::Events(deliveries, up_to));
        }
    }

    /// The hub has its turn at what waits longest.
    pub async fn deliver(&mut self) {
        if self.doing.is_none() {
            let (hub, exchange) = (self.hub.clone(), self.exchange.clone());
            self.doing = self.queue.pop_front().map(|notice| {
                Box::pin(async move {
                    match notice {
                        Notice::Events(deliveries, up_to) => {
                            hub.deliver(&exchange, &deliveries, Some(up_to)).await;
                        }
                        Notice::Gap(from) => hub.gap(&exchange, Some(from)).await,
                    }
                }) as _
            });
        }
        if let Some(doing) = &mut self.doing
            && poll_immediate(doing).await.is_some()
        {
            self.doing = None;
        }
    }

    /// Some entries are lost to it.
    pub fn miss(&mut self, rng: &mut SmallRng) {
        if self.appended > self.read {
            return;
        }
        let missed = self.read + rng.random_range(0..4);
        let next = self.log.lock().unwrap().items.get(missed).map(|item| item.entry);
        let Some(next) = next else { return };
        (self.appended, self.read) = (missed, missed);
        let from = Position::before(next);
        self.interest.interrupt(&self.exchange, Some(from));
        self.ring.interrupt(&self.exchange, Some(from));
        self.queue.push_back(Notice::Gap(from));
    }

    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.doing.is_none()
            && self.read == self.log.lock().unwrap().items.len()
    }
}

fn bodies(events: &[(&'static str, u64, usize)]) -> Vec<String> {
    let body = |(_, number, size): &(_, u64, usize)| {
        format!(r#"{{"event":"Event","payload":[{number},"{}"]}}"#, "x".repeat(*size))
    };
    events.iter().map(body).collect()
}

fn raw<'a>(
    entry: Entry,
    events: &[(&'static str, u64, usize)],
    bodies: &'a [String],
) -> Vec<RawEvent<'a>> {
    let raw = |((place, (key, ..)), body): ((u16, &(&'static str, u64, usize)), &'a String)| {
        let (position, body) = (Position::behind(entry, place), RawBody::Json(body.as_bytes()));
        RawEvent::new(key.as_bytes(), body, position, None, OUTBOX).expect("an event")
    };
    (0..).zip(events).zip(bodies).map(raw).collect()
}

/// Writes where all replicas read.
struct Shared(Arc<Mutex<Log>>);

#[async_trait]
impl SharedLog for Shared {
    async fn mark(&self, _: &Exchange) -> Option<u64> {
        let hash = rand::random();
        self.0.lock().unwrap().append(hash, Vec::new(), 1);
        Some(hash)
    }

    async fn read(&self, _: &Exchange, offset: u64) -> Result<Box<dyn LogReading>, NotRead> {
        let from = |item: &Item| item.entry.offset + 10 < offset;
        let mut log = self.0.lock().unwrap();
        let next = log.items.partition_point(from);
        let behind = log.items.partition_point(|item| item.entry.offset <= offset);
        let ends_at = log.breaks.as_mut().map(|rng| behind + rng.random_range(0..10));
        Ok(Box::new(Reading { log: self.0.clone(), next, ends_at, bodies: Vec::new() }))
    }
}

struct Reading {
    log: Arc<Mutex<Log>>,
    next: usize,
    /// There it breaks off.
    ends_at: Option<usize>,
    /// Of the entry that was read last.
    bodies: Vec<String>,
}

#[async_trait]
impl LogReading for Reading {
    async fn next(&mut self) -> Result<LogEntry<'_>, NotRead> {
        loop {
            if self.ends_at == Some(self.next) {
                return Err(NotRead::Unavailable);
            }
            let item = self.log.lock().unwrap().items.get(self.next).cloned();
            if let Some(Item { entry, events }) = item {
                self.next += 1;
                self.bodies = bodies(&events);
                let events = raw(entry, &events, &self.bodies);
                return Ok(LogEntry { id: entry, events, repeated: 0 });
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn close(self: Box<Self>) {}
}

/// An application that allows everything.
struct Willing;

#[async_trait]
impl Application for Willing {
    async fn handle_action(
        &self,
        _: &SessionSnapshot,
        _: Action<'_>,
    ) -> Result<ActionReply, ApplicationError> {
        Err(ApplicationError::Unimplemented)
    }

    async fn check_subscriptions(
        &self,
        _: &SessionSnapshot,
        topics: &[Topic],
        _: CheckReason,
    ) -> Result<Vec<Decision>, ApplicationError> {
        Ok(vec![Decision::Allow; topics.len()])
    }

    async fn session_opened(&self, _: &SessionSnapshot) -> Result<Admission, ApplicationError> {
        Err(ApplicationError::Unimplemented)
    }

    async fn session_closed(&self, _: &SessionSnapshot, _: &Close, _: Duration) {}
}
