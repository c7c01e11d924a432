//! One open channel: writes what has gathered when it is time, settles what the broker
//! answers, and finds out when the channel is to be left.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::poll_immediate, stream::FuturesUnordered};
use lapin::Channel;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{
    driver::{CONNECTION_LOST, Driver, Left, STALLED},
    publication::Publication,
    unsettled::{Unsettled, Writing, Written},
};
use crate::bus::rabbitmq::{
    connection::{BrokerConnection, BrokerError},
    not_published::NotPublished,
    window::Permits,
};

/// How long a broken channel may take to say what became of its messages.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);

/// See the top of this file.
pub(super) struct Sending<'a> {
    driver: &'a mut Driver,
    connection: &'a Arc<BrokerConnection>,
    channel: &'a Channel,
    unsettled: Unsettled,
    in_flight: FuturesUnordered<Writing>,
    leaving: Option<Left>,
    leave_by: Instant,
    /// For how many seconds messages have waited without a confirm. Counted, not looked up on
    /// a clock: if this process was stopped, that is not the broker's fault.
    stalled: u64,
}

impl<'a> Sending<'a> {
    pub(super) fn new(
        driver: &'a mut Driver,
        connection: &'a Arc<BrokerConnection>,
        channel: &'a Channel,
    ) -> Self {
        let (unsettled, in_flight, leaving, stalled) = Default::default();
        let leave_by = Instant::now();
        Self { driver, connection, channel, unsettled, in_flight, leaving, leave_by, stalled }
    }

    /// Returns why the channel is left. What has gathered by then is the driver's matter.
    pub(super) async fn run(mut self) -> Left {
        let (link, quota) = (self.driver.link.clone(), self.driver.quota.clone());
        let mut lost = pin!(link.lost(self.connection));
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.in_flight.is_empty()
                && let Some(left) = self.leaving
            {
                return self.unsettled.give_up_lost().map_or(left, Left::Refused);
            }
            let next = self.next_size();
            tokio::select! {
                biased;
                Some(first) = self.in_flight.next() => self.answered(first).await,
                () = &mut lost, if self.leaving.is_none() => self.leave(CONNECTION_LOST),
                () = sleep_until(self.leave_by), if self.leaving.is_some() => {
                    return self.leaving.unwrap_or(CONNECTION_LOST);
                }
                // Before anything is written: who comes together goes together.
                call = self.driver.queue.recv(), if self.leaving.is_none() => match call {
                    Some(call) => self.driver.gather(call),
                    None => self.leave(Left::Closed),
                },
                permits = quota.may_write(next.unwrap_or_default()), if next.is_some() => {
                    self.write(permits).await;
                }
                _ = seconds.tick(), if self.leaving.is_none() => {
                    // Their callers have been told already.
                    drop(self.driver.gatherer.take_late(Instant::now()));
                    if let Some(left) = self.look_after_confirms() {
                        return left;
                    }
                }
            }
        }
    }

    /// The size of the next message, if one may be written now.
    fn next_size(&self) -> Option<usize> {
        // The first one goes alone. If the broker refuses it, it certainly was not published,
        // and neither was any behind it.
        let in_flight = if self.unsettled.any_answered() { self.driver.pace.in_flight } else { 1 };
        // What is written to a blocked connection is neither taken nor refused.
        let waits = self.leaving.is_some()
            || self.in_flight.len() >= in_flight
            || self.connection.is_blocked();
        if waits { None } else { self.driver.gatherer.next_size() }
    }

    async fn write(&mut self, permits: Permits) {
        let Some(publication) = Publication::of(self.driver.gatherer.next(), permits) else {
            return;
        };
        if self.in_flight.is_empty() {
            self.stalled = 0;
        }
        self.hand_over(publication).await;
        if let Some(marker) = self.driver.marker_due() {
            self.hand_over(marker).await;
        }
    }

    async fn hand_over(&mut self, publication: Publication) {
        let writing = self.unsettled.hand_over(self.channel, publication).await;
        self.in_flight.push(writing);
    }

    /// One of the messages has come to its end, and others may have too.
    async fn answered(&mut self, first: (u64, Written)) {
        let mut written = vec![first];
        while let Some(Some(more)) = poll_immediate(self.in_flight.next()).await {
            written.push(more);
        }
        if written.iter().any(|(_, one)| one.is_ack()) {
            self.stalled = 0;
            // A node that is cut off from its cluster confirms what its own queues take.
            if self.driver.log().is_some() {
                self.connection.has_confirmed();
            }
        }
        if let Some(left) = self.settle(written) {
            self.leave(left);
        }
    }

    /// Writes nothing more, and waits for what is under way. The first reason is the one.
    fn leave(&mut self, why: Left) {
        if self.leaving.is_none() {
            self.leaving = Some(why);
            self.leave_by = Instant::now() + LEAVE_DEADLINE;
        }
    }

    /// Settles what can be settled; returns why the channel is to be left, if so.
    fn settle(&mut self, written: Vec<(u64, Written)>) -> Option<Left> {
        let (mut confirms, mut left) = (Vec::with_capacity(written.len()), None);
        for (sequence, written) in written {
            match written {
                Written::Confirmed { acked: true, carried } => confirms.push((sequence, carried)),
                Written::Confirmed { acked: false, carried } => {
                    self.unsettled.nack(sequence, carried);
                }
                Written::Lost(e) => {
                    left.get_or_insert(left_for(&e));
                    self.unsettled.lose(sequence, &e);
                }
                Written::No(e) => {
                    left.get_or_insert(left_for(&e));
                    self.unsettled.not_written(sequence, &e);
                }
            }
        }
        // A return is how the broker tells of a replica out of reach, and no fault; but an
        // exchange should always lead to its log.
        if self.driver.log().is_some() && confirms.iter().any(|(_, carried)| carried.is_some()) {
            left.get_or_insert_with(|| {
                Left::Refused("the broker returns what is published".into())
            });
        }
        let mut taken = Vec::with_capacity(confirms.len());
        for (waiting, published) in self.unsettled.confirm(&confirms) {
            let outcome = if published { Ok(()) } else { Err(NotPublished::Unroutable) };
            taken.extend(published.then_some(waiting.events));
            waiting.settle(&outcome);
        }
        self.driver.taken(&taken);
        if !taken.is_empty() && left.is_none() {
            self.driver.is_well();
        }
        left
    }

    /// Once a second; returns why the channel is left at once, if so.
    fn look_after_confirms(&mut self) -> Option<Left> {
        let waiting = !self.in_flight.is_empty() && !self.connection.is_blocked();
        self.stalled = if waiting { self.stalled + 1 } else { 0 };
        if self.stalled <= STALLED.as_secs() {
            return None;
        }
        if self.connection.confirmed_within(STALLED) {
            // Other exchanges are well there.
            return Some(Left::Broken("the broker confirms nothing".into()));
        }
        self.connection.give_up(format!("it confirmed nothing for {} s", STALLED.as_secs()));
        None
    }
}

fn left_for(error: &BrokerError) -> Left {
    match error.is_of_the_connection() {
        true => CONNECTION_LOST,
        false => Left::Broken(error.to_string()),
    }
}
