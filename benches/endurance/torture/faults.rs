//! The faults, and in which order they befall the fleet: one of the broker and one of replicas in
//! turn, and now and then one of the handler besides; of each of them every kind once before any
//! comes again; alone and several at once in turn. Where and for how long is drawn before a fault
//! begins, so that a seed plays the same run again.

mod broker;
mod entries;
mod log;
mod operator;
mod parts;
mod processes;

pub use self::operator::as_operator;

use std::time::Duration;

use rand::{Rng, rngs::SmallRng, seq::SliceRandom};
use tokio::time::{Instant, sleep};

use super::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    BrokerKilled,
    BrokerStopped,
    BrokerFrozen,
    MemoryAlarm,
    ConnectionsClosed,
    ReplicaQueueDeleted,
    ReplicasExchangeDeleted,
    LogDeleted,
    InputDeleted,
    BindingDeleted,
    StrangeEntries,
    EntryOfAnotherType,
    NoAmqp,
    HeadCut,
    HeadCutUnderReaders,
    HeadCutByPolicy,
    Burst,
    BurstOfMany,
    ReplicaKilled,
    ReplicaFrozen,
    ReplicaDrained,
    ReplicaStumbles,
    FleetRolled,
    HandlerKilled,
    HandlerFrozen,
    LeaderKilled,
    FollowerKilled,
    LeaderFrozen,
    MajorityLost,
    ClusterRolled,
    Partitioned,
    PartitionedAndPaused,
    LogCopyMoved,
}

/// Whom a fault befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Broker,
    Replicas,
    Handler,
}

impl Victim {
    pub fn name(self) -> &'static str {
        match self {
            Self::Broker => "of the broker",
            Self::Replicas => "of replicas",
            Self::Handler => "of the handler",
        }
    }
}

impl Kind {
    /// The broker's, whatever it is.
    const OF_ANY_BROKER: &[Self] = &[
        Self::MemoryAlarm,
        Self::ConnectionsClosed,
        Self::ReplicaQueueDeleted,
        Self::ReplicasExchangeDeleted,
        Self::LogDeleted,
        Self::InputDeleted,
        Self::BindingDeleted,
        Self::StrangeEntries,
        Self::EntryOfAnotherType,
        Self::NoAmqp,
        Self::HeadCut,
        Self::HeadCutUnderReaders,
        Self::HeadCutByPolicy,
        Self::Burst,
        Self::BurstOfMany,
    ];

    const OF_REPLICAS: &[Self] = &[
        Self::ReplicaKilled,
        Self::ReplicaFrozen,
        Self::ReplicaDrained,
        Self::ReplicaStumbles,
        Self::FleetRolled,
    ];

    const OF_HANDLER: &[Self] = &[Self::HandlerKilled, Self::HandlerFrozen];

    /// Where the broker is one node.
    const OF_ONE_NODE: &[Self] = &[Self::BrokerKilled, Self::BrokerStopped, Self::BrokerFrozen];

    /// Where it is a cluster.
    const OF_THREE_NODES: &[Self] = &[
        Self::LeaderKilled,
        Self::FollowerKilled,
        Self::LeaderFrozen,
        Self::MajorityLost,
        Self::ClusterRolled,
        Self::Partitioned,
        Self::PartitionedAndPaused,
        Self::LogCopyMoved,
    ];

    fn victim(self) -> Victim {
        match self {
            kind if Self::OF_REPLICAS.contains(&kind) => Victim::Replicas,
            kind if Self::OF_HANDLER.contains(&kind) => Victim::Handler,
            _ => Victim::Broker,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::BrokerKilled => "the broker killed",
            Self::BrokerStopped => "the broker stopped",
            Self::BrokerFrozen => "the broker frozen",
            Self::MemoryAlarm => "the memory alarm",
            Self::ConnectionsClosed => "all connections closed",
            Self::ReplicaQueueDeleted => "a replica's queue deleted",
            Self::ReplicasExchangeDeleted => "the replicas' exchange deleted",
            Self::LogDeleted => "a log deleted",
            Self::InputDeleted => "an exchange deleted",
            Self::BindingDeleted => "a binding deleted",
            Self::StrangeEntries => "strange entries written",
            Self::EntryOfAnotherType => "an entry of a newer replica",
            Self::NoAmqp => "an entry that is no AMQP 1.0",
            Self::HeadCut => "a log's head cut past a frozen replica",
            Self::HeadCutUnderReaders => "a log's head cut under its readers",
            Self::HeadCutByPolicy => "a log's head cut by a policy past a frozen replica",
            Self::Burst => "a burst of large events",
            Self::BurstOfMany => "a burst of many events",
            Self::ReplicaKilled => "a replica killed",
            Self::ReplicaFrozen => "a replica frozen",
            Self::ReplicaDrained => "a replica drained",
            Self::ReplicaStumbles => "a replica frozen again and again",
            Self::FleetRolled => "all replicas drained in turn",
            Self::HandlerKilled => "the handler killed",
            Self::HandlerFrozen => "the handler frozen",
            Self::LeaderKilled => "the leader of a log killed",
            Self::FollowerKilled => "a follower of a log killed",
            Self::LeaderFrozen => "the leader of a log frozen",
            Self::MajorityLost => "most nodes killed",
            Self::ClusterRolled => "the cluster rolled",
            Self::Partitioned => "a node cut off, and restarted by hand",
            Self::PartitionedAndPaused => "a node cut off, which pauses",
            Self::LogCopyMoved => "a copy of a log deleted and added",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// Since the round began.
    after: Duration,
    lasts: Duration,
    /// Whom it befalls, where it befalls a replica, an exchange or a topic.
    which: usize,
    /// No other befalls the fleet meanwhile.
    alone: bool,
}

impl Fault {
    pub fn name(self) -> &'static str {
        self.kind.name()
    }

    pub fn victim(self) -> Victim {
        self.kind.victim()
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What is drawn from.
pub struct Deck {
    dice: SmallRng,
    broker: Pile,
    replicas: Pile,
    handler: Pile,
    overlap: usize,
    rounds: usize,
}

struct Pile {
    kinds: Vec<Kind>,
    left: Vec<Kind>,
    drawn: usize,
}

impl Pile {
    fn new(kinds: &[Kind]) -> Self {
        Self { kinds: kinds.into(), left: Vec::new(), drawn: 0 }
    }

    fn draw(&mut self, dice: &mut SmallRng) -> Kind {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
            self.left.shuffle(dice);
        }
        self.drawn += 1;
        self.left.pop().expect("it was filled")
    }
}

/// Beside so many others.
const ONE_OF_HANDLER_IN: usize = 6;

const BETWEEN_OVERLAPPING: std::ops::Range<f64> = 0.0..3.0;
const LASTS: std::ops::Range<f64> = 0.5..9.0;

impl Deck {
    pub fn new(dice: SmallRng, cluster: bool, overlap: usize) -> Self {
        let nodes = if cluster { Kind::OF_THREE_NODES } else { Kind::OF_ONE_NODE };
        let broker = Pile::new(&[Kind::OF_ANY_BROKER, nodes].concat());
        let (replicas, handler) = (Pile::new(Kind::OF_REPLICAS), Pile::new(Kind::OF_HANDLER));
        Self { dice, broker, replicas, handler, overlap: overlap.max(1), rounds: 0 }
    }

    /// So many faults, those of the handler not counted.
    pub fn rounds(&mut self, faults: usize) -> impl Iterator<Item = Vec<Fault>> + '_ {
        let mut left = faults;
        std::iter::from_fn(move || {
            let goes_on = left > 0 || self.handler_is_due();
            let round = goes_on.then(|| self.round(left))?;
            left -= round.iter().filter(|fault| fault.victim() != Victim::Handler).count();
            Some(round)
        })
    }

    /// The next ones, which overlap where there are several; at most so many.
    fn round(&mut self, at_most: usize) -> Vec<Fault> {
        self.rounds += 1;
        // In turn at first, so that what a fault does alone is known.
        let several = self.overlap > 1 && self.rounds.is_multiple_of(2);
        let count = if several { self.dice.random_range(2..=self.overlap) } else { 1 };
        let count = count.min(at_most);
        let of_handler = self.handler_is_due();
        let mut round = Vec::new();
        if of_handler {
            let kind = self.handler.draw(&mut self.dice);
            round.push(self.fault(kind, !several));
        }
        if !of_handler || several {
            for _ in 0..count {
                let of_broker = self.drawn().is_multiple_of(2);
                let pile = if of_broker { &mut self.broker } else { &mut self.replicas };
                let kind = pile.draw(&mut self.dice);
                round.push(self.fault(kind, count == 1 && !of_handler));
            }
        }
        round
    }

    fn handler_is_due(&self) -> bool {
        self.drawn() / ONE_OF_HANDLER_IN > self.handler.drawn
    }

    /// Without those of the handler.
    fn drawn(&self) -> usize {
        self.broker.drawn + self.replicas.drawn
    }

    fn fault(&mut self, kind: Kind, alone: bool) -> Fault {
        let mut seconds = |range| Duration::from_secs_f64(self.dice.random_range(range));
        let after = if alone { Duration::ZERO } else { seconds(BETWEEN_OVERLAPPING) };
        Fault { kind, after, lasts: seconds(LASTS), which: self.dice.random_range(0..1000), alone }
    }
}

/// Comes back when it is over, which does not mean that everything is well again.
pub async fn inflict(world: &World, fault: Fault) -> anyhow::Result<()> {
    sleep(fault.after).await;
    let (at, began) = (world.clock(), Instant::now());
    let what = match fault.kind {
        Kind::MemoryAlarm
        | Kind::ConnectionsClosed
        | Kind::ReplicaQueueDeleted
        | Kind::ReplicasExchangeDeleted => parts::disturb(world, fault).await,
        Kind::LogDeleted | Kind::InputDeleted | Kind::BindingDeleted => {
            log::delete(world, fault).await
        }
        Kind::StrangeEntries | Kind::EntryOfAnotherType | Kind::NoAmqp => {
            entries::write(world, fault).await
        }
        Kind::HeadCut | Kind::HeadCutByPolicy => log::cut(world, fault).await,
        Kind::HeadCutUnderReaders => log::cut_under_readers(world, fault).await,
        Kind::Burst | Kind::BurstOfMany => log::burst(world, fault).await,
        Kind::ReplicaKilled
        | Kind::ReplicaFrozen
        | Kind::ReplicaDrained
        | Kind::ReplicaStumbles => processes::befall_replica(world, fault).await,
        Kind::FleetRolled => processes::roll(world, fault).await,
        Kind::HandlerKilled | Kind::HandlerFrozen => processes::befall_handler(world, fault).await,
        _ => broker::befall(world, fault).await,
    }?;
    let kind = (fault.victim().name(), fault.name());
    *world.books.borrow_mut().faults.entry(kind).or_default() += 1;
    let seconds = began.elapsed().as_secs_f64();
    println!("  {at} {fault}{what}, for {seconds:.1} s");
    Ok(())
}
