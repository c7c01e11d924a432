//! Feeds an exchange's log from the direct exchange of its name, too, so that publishers can be
//! moved one by one: what is published there to a key that somebody here holds is forwarded.
//!
//! What nobody held is not in the log, and nobody can tell that it is missing. So a log is whole
//! for a key from a marker on that took the same way when the key was bound ([`Keys::prove`]).
//! The bindings outlive connections; a probe shows whether they do, for whoever deletes the
//! exchange takes them with it, and a broker that restarts has forgotten both.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::binder::{Binder, Target};
use crate::{
    bus::{
        Keys,
        rabbitmq::{
            PUBLISH_DEADLINE,
            connection::{BrokerConnection, BrokerError},
            entry,
            message::Message,
            not_published::NotPublished,
            publisher::Publisher,
            supervisor::{Link, NOT_CONNECTED_YET, Problem, backoff},
            topology,
        },
    },
    event::Exchange,
    ids::ReplicaId,
    net::backoff::Backoff,
};

/// How often it is looked whether everything is still bound.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Markers that prove what was bound are so far apart at least.
const PROOF_INTERVAL: Duration = Duration::from_millis(500);

/// What a replica that stops may take to unbind what it has bound.
const LEAVING_MAX: Duration = Duration::from_secs(2);

pub(in crate::bus::rabbitmq) struct Feeder {
    pub exchange: Exchange,
    pub replica: ReplicaId,
    pub link: Link,
    /// For which it is no fault that something is returned.
    pub publisher: Publisher,
    pub keys: Arc<Keys>,
    pub feeding: Feeding,
}

/// What others see of a [`Feeder`].
pub(in crate::bus::rabbitmq) struct Feeding {
    /// Everything was bound once.
    pub begun: AtomicBool,
    pub problem: Problem,
}

impl Feeding {
    pub(in crate::bus::rabbitmq) fn new(exchange: &Exchange) -> Self {
        let problem = Problem::new(format!("exchange {exchange}, feeding"));
        problem.not_yet(NOT_CONNECTED_YET);
        Self { begun: AtomicBool::new(false), problem }
    }
}

impl Feeder {
    pub(in crate::bus::rabbitmq) async fn run(self: Arc<Self>) {
        let (mut link, mut backoff) = (self.link.clone(), backoff());
        let mut anew = true;
        while let Some(connection) = link.connection().await {
            let lost = self.link.lost(&connection);
            // Whoever keeps the connection says why it was lost.
            let error = tokio::select! {
                error = self.feed(&connection, &mut backoff, &mut anew) => error,
                () = lost => {
                    self.feeding.problem.not_yet("the connection to the broker was lost");
                    continue;
                }
            };
            error.show(&self.feeding.problem);
            if matches!(error, BrokerError::Timeout(_)) {
                connection.give_up(error.to_string());
            }
            backoff.wait().await;
        }
    }

    /// Until that fails. `anew`: it is not known that everything is bound.
    async fn feed(
        &self,
        connection: &BrokerConnection,
        backoff: &mut Backoff,
        anew: &mut bool,
    ) -> BrokerError {
        let binder = match self.begin(connection, anew).await {
            Ok(binder) => binder,
            Err(error) => return error,
        };
        backoff.reset();
        self.feeding.problem.set(None);
        tokio::select! {
            error = binder.run() => error,
            error = self.watch(connection, anew) => error,
        }
    }

    /// Binds what is held, unless it is bound already.
    async fn begin(
        &self,
        connection: &BrokerConnection,
        anew: &mut bool,
    ) -> Result<Binder, BrokerError> {
        // Nothing is bound that no probe could follow: an alarm may last, and each attempt costs.
        self.publisher.may_publish(Instant::now() + PUBLISH_DEADLINE).await?;
        topology::ensure_direct(connection, &self.exchange).await?;
        let binder = self.binder(connection).await?;
        *anew = *anew || !self.probe(false).await?;
        if *anew {
            self.keys.begin_anew();
            binder.bind_beside(&self.probe_key()).await?;
            // The rest would lead nowhere either, each time anew.
            if !self.probe(false).await? {
                return Err(leads_nowhere());
            }
        } else {
            self.keys.go_on();
        }
        binder.bind_wanted().await?;
        if *anew {
            // What is missing is told where this marker is read.
            if !self.probe(self.feeding.begun.load(Relaxed)).await? {
                return Err(leads_nowhere());
            }
            self.feeding.begun.store(true, Relaxed);
            *anew = false;
        }
        self.keys.open();
        Ok(binder)
    }

    async fn binder(&self, connection: &BrokerConnection) -> Result<Binder, BrokerError> {
        let target = Target::Log(topology::input_exchange(&self.exchange), self.replica);
        Ok(Binder::new(connection.channel().await?, &self.exchange, target, self.keys.clone()))
    }

    /// Proves what was bound, and returns when the bindings are gone.
    async fn watch(&self, connection: &BrokerConnection, anew: &mut bool) -> BrokerError {
        loop {
            let _ = timeout(PROBE_INTERVAL, self.keys.unproven()).await;
            match self.probe(false).await {
                Ok(true) => {}
                Ok(false) => {
                    // Others may have shared its fate, whatever becomes of the next one.
                    *anew = true;
                    return BrokerError::Unexpected("the exchange was made anew".into());
                }
                // If the exchange is not there, the next one is returned once it is.
                Err(_) => {
                    if let Err(error) = topology::ensure_direct(connection, &self.exchange).await {
                        return error;
                    }
                }
            }
            sleep(PROOF_INTERVAL).await;
        }
    }

    /// Publishes a marker under a key that only this replica has bound. Answers whether the
    /// broker forwards it. `gap`: events may be missing in the log before it.
    async fn probe(&self, gap: bool) -> Result<bool, NotPublished> {
        let (marker, id) = entry::marker(&self.exchange);
        self.keys.prove(&id, gap);
        let exchange = topology::direct_exchange(&self.exchange);
        let routing_key = self.probe_key().into();
        let _ = timeout(PUBLISH_DEADLINE, self.publisher.ready()).await;
        let marker = Message { exchange, routing_key, ..marker };
        let published = self.publisher.publish(marker, Instant::now() + PUBLISH_DEADLINE).await;
        if !matches!(published, Ok(()) | Err(NotPublished::Unconfirmed)) {
            self.keys.take_back(&id);
        }
        match published {
            Ok(()) => Ok(true),
            Err(NotPublished::Unroutable) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// When it runs no more: takes the bindings with it, as many as there is time for.
    pub(in crate::bus::rabbitmq) async fn leave(&self, deadline: Instant) {
        let leaving = async {
            let Some(connection) = self.link.clone().connection().await else { return Ok(false) };
            self.binder(&connection).await?.unbind_all(&self.probe_key()).await.map(|()| true)
        };
        let until = deadline.min(Instant::now() + LEAVING_MAX);
        let left: Result<Result<bool, BrokerError>, _> = timeout_at(until, leaving).await;
        let may_be_bound = self.feeding.begun.load(Relaxed);
        if may_be_bound && !matches!(left, Ok(Ok(true))) {
            let exchange = &self.exchange;
            tracing::warn!(%exchange, "not all bindings could be taken away: some are left behind");
        }
    }

    fn probe_key(&self) -> String {
        format!("myxi.probe.{}", self.replica)
    }
}

fn leads_nowhere() -> BrokerError {
    BrokerError::Unexpected("what is bound leads nowhere".into())
}
