//! A torture: three replicas on one RabbitMQ, or on a cluster of three; clients that stay, that
//! come and go, and, most of them, that are cut off again and again and come back to any replica
//! for what they missed; numbered events one by one and in bulk, events to single sessions and
//! actions; and faults of everything that can have one, in turn and overlapping, half of them the
//! broker's and half of them the replicas'. What must hold is counted from the outside, and
//! what has a verdict must be zero.
//!
//! An event is *taken* when its push was answered with OK. It is *behind* another one when its
//! push began after that one's was answered with OK, or when both were taken by one call and
//! it stands later in it: in no other case do the promises say which comes first. A
//! subscription begins with `Subscribed` and ends with its session or when its client says
//! that it wants no more; a new session begins anew. Where its client comes back it lasts from
//! session to session, on whichever replica: what was missed in between is owed like anything
//! else. It is *told* that something may be missing by `Gap`, or by `recovered: false` when it
//! comes back.
//!
//! - **Lost in silence**, counted for each subscription: an event that was taken, whose push
//!   began after `Subscribed` had come, and which the subscription did not hear, though it heard
//!   one that is behind it, and it was not told between the last event heard that it is behind
//!   and the first one heard that is behind it. What a subscription heard nothing behind is
//!   explained by its end. Where nothing has ended it, the last events are heard (see *deaf*).
//! - **Duplicated**: an event heard twice by one subscription.
//! - **Reordered**: an event heard later than one that is behind it. Also what is heard in
//!   two orders by two subscriptions: there is one log.
//! - **Told**: how often, what was said and why; no verdict. Of these *without need*: nothing
//!   that was pushed there was missed; or what was missed was in the log, which could not be
//!   read for a reason that is known: it had no marker before the place where the client stood,
//!   or as many readings were under way as may be.
//! - **Told without a cause**: by no fault's doing. A log that was deleted is a cause, and so is
//!   an entry that nobody here can read; a head that was cut away is one for a `Gap` on the replica
//!   that stood still meanwhile (on all, where other faults overlapped): it cannot know what it
//!   missed, not even that it was nothing. Who comes back and is `expired` is right where the log
//!   began behind its place, or its first marker did: that is asked of the broker, at once. A taken
//!   event that nobody ever heard is a cause, too: the log has lost it. A broker that is killed,
//!   stopped, frozen or in alarm, closed connections, a deleted queue, exchange or binding, and
//!   whatever befalls replicas and the handler is none.
//! - **Refused and heard**: the gateway said that an event was certainly not pushed, and it was.
//! - **Wrong `NOT_FOUND`**: for a session that said something after that answer and was answered.
//! - **OK that nobody heard and nobody was told of**: a taken event that some subscription
//!   should have heard (as above), that none heard, and none was told a gap around.
//! - **OK in vain**: `SendEvent` was answered with OK, then the session said something, was
//!   answered, and never heard the event; or `DisconnectSession` was, and the session went on.
//! - **Cut off while reading**: a session closed with 3008. A thread of its own reads all the
//!   time what comes for any client.
//! - **Ended without a cause**: a session that neither its client nor the end of its replica ended.
//! - **Unanswered**: a tagged action behind which a later one of the session was answered.
//! - **Deaf**: after each round of faults everything must be well again, and each replica take
//!   an event for each topic; a subscription that then does not hear the last one within two
//!   minutes, nor is told of a gap.
//! - **Surprises**: whatever else must not be, such as an event of a topic that was not
//!   subscribed to, one that stands at two positions, a `Replayed` that counts otherwise than
//!   its client, or a replica that is not ready by then.
//!
//! Of each count the first is named with its client and subscription, the event, and what was
//! heard around it, with each event's place in the log.
//!
//! A frozen replica's clients are quiet meanwhile; they are owed everything afterwards.

mod books;
mod broker;
mod clients;
mod connections;
mod faults;
mod fleet;
pub mod handler;
mod heads;
mod judge;
mod positions;
mod publishers;
mod settle;
mod topics;

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use rand::{SeedableRng, rngs::SmallRng};
use tokio::{
    sync::{RwLock, watch},
    task::JoinSet,
    time::sleep,
};

use self::{
    books::{Books, Excuse, Round},
    broker::Broker,
    connections::Connections,
    faults::{Deck, Fault},
    fleet::Replica,
    handler::HandlerProcess,
    heads::Heads,
};
use crate::{
    Processors, args,
    load::{self, within},
    verdict::Verdicts,
};

const REPLICAS: usize = 3;
const STAY: usize = 4;
const COME_AND_GO: usize = 5;
const COME_BACK: usize = 16;
const BULK_PUBLISHERS: usize = 2;
const SENDERS: usize = 6;

/// For everything that is expected to happen soon.
const DEADLINE: Duration = Duration::from_secs(60);

pub async fn run(
    args: &args::Torture,
    processors: &Processors,
    verdicts: &mut Verdicts,
) -> anyhow::Result<()> {
    judge::rehearse()?;
    // Nobody is measured.
    load::pin_this_thread(&processors.all)?;
    let seed = args.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let cluster = if args.cluster { " --cluster" } else { "" };
    let batch = &args.batch;
    let (faults, overlap) = (args.faults, args.overlap);
    println!(
        "\ntorture --faults {faults} --overlap {overlap} --seed {seed}{cluster} --batch {batch}"
    );
    let mut deck = Deck::new(dice(seed, 0), args.cluster, args.overlap);
    if args.plan {
        deck.rounds(args.faults).for_each(|round| println!("  {}", names(&round)));
        return Ok(());
    }
    let world = Rc::new(World::start(seed, args, processors).await?);
    let (stop_others, others_stopped) = watch::channel(false);
    let (stop_stayers, stayers_stopped) = watch::channel(false);
    let mut others = JoinSet::new();
    let mut stayers = JoinSet::new();
    let kinds = [
        (STAY, clients::Kind::Stays),
        (COME_BACK, clients::Kind::ComesBack),
        (COME_AND_GO, clients::Kind::ComesAndGoes),
    ];
    let kinds = kinds.into_iter().flat_map(|(count, kind)| std::iter::repeat_n(kind, count));
    for (number, kind) in kinds.enumerate() {
        let (tasks, stopped) = match kind {
            clients::Kind::ComesAndGoes => (&mut others, &others_stopped),
            clients::Kind::Stays | clients::Kind::ComesBack => (&mut stayers, &stayers_stopped),
        };
        tasks.spawn_local(clients::live(world.clone(), number, kind, stopped.clone()));
    }
    let publishers = (0..REPLICAS).map(publishers::Kind::Single);
    let publishers = publishers.chain((0..BULK_PUBLISHERS).map(|_| publishers::Kind::Bulk));
    let publishers = publishers.chain((0..SENDERS).map(|_| publishers::Kind::ToSessions));
    for (number, kind) in publishers.enumerate() {
        let dice = world.dice(100 + number as u64);
        others.spawn_local(publishers::publish(world.clone(), kind, dice, others_stopped.clone()));
    }
    settle::well(&world).await;

    if let Err(error) = befall(&world, &mut deck, args.faults).await {
        world.books.borrow_mut().surprise(format!("a fault could not be done: {error:#}"));
    }

    stop_others.send_replace(true);
    within(DEADLINE, "publishers and passers-by end", all_end(&mut others)).await?;
    settle::well(&world).await;
    everybody_is_answered(&world).await;
    stop_stayers.send_replace(true);
    within(DEADLINE, "those who stayed leave", all_end(&mut stayers)).await?;
    heads::all_known(&world).await;
    judge::judge(&world.books.borrow(), world.began, verdicts);
    Ok(())
}

/// In turn and overlapping.
async fn befall(world: &World, deck: &mut Deck, faults: usize) -> anyhow::Result<()> {
    for round in deck.rounds(faults) {
        let from = Instant::now();
        try_join_all(round.iter().map(|fault| faults::inflict(world, *fault))).await?;
        let well = settle::well(world).await;
        println!("    all is well {:.1} s later; {}", well.as_secs_f64(), world.progress());
        world.round_ends(names(&round), from);
    }
    Ok(())
}

fn names(round: &[Fault]) -> String {
    round.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ")
}

async fn all_end(tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
    while tasks.join_next().await.transpose()?.is_some() {}
    Ok(())
}

/// Each session has said something since, and was answered.
async fn everybody_is_answered(world: &World) {
    let now = Instant::now();
    loop {
        let silent: Vec<_> = {
            let books = world.books.borrow();
            let sessions = books.living().iter().map(|session| &books.sessions[*session]);
            sessions.filter(|session| session.alive < now).map(|one| one.id.clone()).collect()
        };
        if silent.is_empty() {
            return;
        }
        if now.elapsed() > DEADLINE {
            let unanswered = silent.into_iter().map(|id| (now, format!("{id}: no answer at all")));
            world.books.borrow_mut().unanswered.extend(unanswered);
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What all tasks share.
struct World {
    began: Instant,
    seed: u64,
    books: RefCell<Books>,
    heads: Heads,
    connections: Connections,
    fleet: Vec<Replica>,
    handler: HandlerProcess,
    /// Whoever stops it has it alone.
    broker: RwLock<Broker>,
}

impl World {
    async fn start(
        seed: u64,
        args: &args::Torture,
        processors: &Processors,
    ) -> anyhow::Result<Self> {
        let broker = Broker::start(args.cluster).await;
        let handler = HandlerProcess::start(&processors.all).await?;
        let flags = |replica| {
            [
                format!("--rabbitmq-url={}", broker.urls(replica)),
                format!("--exchange={}", topics::exchanges(&args.batch)),
                format!("--log={},myxi::server=info", args.log),
                "--drain-time=1s".into(),
                "--worker-threads=1".into(),
            ]
        };
        let mut fleet = Vec::new();
        for number in 0..REPLICAS {
            let (url, processors) = (handler.url(), processors.all.clone());
            fleet.push(Replica::start(number, flags(number).to_vec(), url, processors).await?);
        }
        Ok(Self {
            began: Instant::now(),
            seed,
            books: RefCell::new(Books::new()),
            heads: Heads::default(),
            connections: Connections::start()?,
            fleet,
            handler,
            broker: RwLock::new(broker),
        })
    }

    fn dice(&self, stream: u64) -> SmallRng {
        dice(self.seed, stream)
    }

    fn clock(&self) -> String {
        clock(self.began, Instant::now())
    }

    fn excuse(&self, fault: Fault, exchange: &'static str, replica: Option<usize>, of_log: bool) {
        let (cause, from) = (fault.name(), Instant::now());
        let excuse = Excuse { cause, exchange, replica, of_log, from, to: None };
        self.books.borrow_mut().excuses.push(excuse);
    }

    fn round_ends(&self, faults: String, from: Instant) {
        let (mut books, to) = (self.books.borrow_mut(), Instant::now());
        for excuse in &mut books.excuses {
            excuse.to.get_or_insert(to);
        }
        books.rounds.push(Round { faults, from, to });
    }

    fn progress(&self) -> String {
        let books = self.books.borrow();
        let (events, sessions) = (books.events.len(), books.sessions.len());
        let resumed: usize = books.resumes.values().sum();
        format!("{events} events pushed, {sessions} sessions, {resumed} resumes")
    }
}

/// Whoever draws from them has dice of its own.
fn dice(seed: u64, stream: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(stream))
}

fn clock(began: Instant, at: Instant) -> String {
    let seconds = at.duration_since(began).as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
