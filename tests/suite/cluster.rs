//! Three replicas, each at a node of its own of a cluster: nodes go away, are cut off and come
//! back, and what is taken meanwhile reaches every client in order, once, without a gap.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;
use tonic::Code;

use crate::support::{
    client::Client,
    cluster::{Cluster, OnPartition},
    fleet::Fleet,
    gateway::push_request,
    within,
};

/// For a replica to find out that its node is of no use and to read at another, or for a node
/// to come back.
const PATIENCE: Duration = Duration::from_secs(120);

/// So many events show that pushing goes on: more than were under way.
const SOME: usize = 20;

#[tokio::test]
async fn confirmed_events_survive_the_loss_of_a_leader_and_of_a_follower() {
    let mut cluster = Cluster::exclusive().await;
    let fleet = Fleet::on_cluster(&cluster).await;
    pushing_meanwhile(&fleet, async |pushers, _| {
        pushers.go_on(&[0, 1, 2]).await;
        let leader = cluster.leader(&fleet.log()).await;
        cluster[leader].kill().await;
        pushers.go_on(&[0, 1, 2]).await;
        cluster.restart_all().await;
        let follower = cluster.other_than(cluster.leader(&fleet.log()).await);
        cluster[follower].kill().await;
        pushers.go_on(&[0, 1, 2]).await;
        cluster.restart_all().await;
        pushers.go_on(&[0, 1, 2]).await;
    })
    .await;
}

/// The broker tells a reader neither that its copy is gone nor that it is given another.
#[tokio::test]
async fn a_reader_whose_copy_of_the_log_is_taken_away_and_given_back_reads_on() {
    let cluster = Cluster::exclusive().await;
    let fleet = Fleet::on_cluster(&cluster).await;
    let log = fleet.log();
    let bereft = cluster.other_than(cluster.leader(&log).await);
    pushing_meanwhile(&fleet, async |pushers, listeners| {
        pushers.go_on(&[0, 1, 2]).await;
        cluster.delete_replica(&log, bereft).await;
        assert!(!cluster.members(&log).await.contains(&bereft), "it has none");
        pushers.go_on(&[0, 1, 2]).await;
        listeners[bereft].hears_what_was_taken(pushers).await;
        cluster.add_replica(&log, bereft).await;
        pushers.go_on(&[0, 1, 2]).await;
        listeners[bereft].hears_what_was_taken(pushers).await;
    })
    .await;
}

#[tokio::test]
async fn a_replica_at_a_node_that_is_cut_off_goes_over_to_another() {
    let mut cluster = Cluster::exclusive().await;
    let fleet = Fleet::on_cluster(&cluster).await;
    let minority = cluster.other_than(cluster.leader(&fleet.log()).await);
    pushing_meanwhile(&fleet, async |pushers, listeners| {
        pushers.go_on(&[0, 1, 2]).await;
        cluster.cut_off(minority).await;
        pushers.go_on(&[0, 1, 2]).await;
        listeners[minority].hears_what_was_taken(pushers).await;
        cluster.join_up().await;
        pushers.go_on(&[0, 1, 2]).await;
    })
    .await;
}

#[tokio::test]
async fn a_partition_that_heals_costs_no_event() {
    partition_that_heals(OnPartition::Ignore).await;
}

#[tokio::test]
async fn a_partition_that_pauses_a_node_costs_no_event() {
    partition_that_heals(OnPartition::PauseMinority).await;
}

async fn partition_that_heals(handling: OnPartition) {
    let mut cluster = Cluster::exclusive().await;
    cluster.on_partition(handling).await;
    let fleet = Fleet::on_cluster(&cluster).await;
    let minority = cluster.other_than(cluster.leader(&fleet.log()).await);
    let majority: Vec<_> = (0..cluster.size()).filter(|node| *node != minority).collect();
    pushing_meanwhile(&fleet, async |pushers, _| {
        pushers.go_on(&[0, 1, 2]).await;
        cluster.cut_off(minority).await;
        pushers.go_on(&majority).await;
        cluster.join_up().await;
        pushers.go_on(&[0, 1, 2]).await;
    })
    .await;
}

#[tokio::test]
async fn a_session_is_reached_while_the_node_of_its_replica_is_down() {
    all_are_reached_without_a_node(async |cluster, lost| cluster[lost].kill().await).await;
}

/// That node serves the queue of its replica as ever, and the others do not know of it.
#[tokio::test]
async fn a_session_is_reached_while_the_node_of_its_replica_is_cut_off() {
    all_are_reached_without_a_node(async |cluster, lost| cluster.cut_off(lost).await).await;
}

/// Whoever asks, and whoever holds the session, whichever of them was at that node.
async fn all_are_reached_without_a_node(lose: impl AsyncFnOnce(&mut Cluster, usize)) {
    let mut cluster = Cluster::exclusive().await;
    let fleet = Fleet::on_cluster(&cluster).await;
    let mut clients = Vec::new();
    for replica in &fleet.replicas {
        clients.push(replica.client().await);
    }
    let lost = 2;
    lose(&mut cluster, lost).await;
    for (asked, held) in [(0, lost), (1, lost), (lost, 0), (lost, 1), (0, 1)] {
        let (id, event) = (clients[held].id.clone(), format!("From{asked}"));
        let reached = async {
            loop {
                match fleet[asked].send_event(&id, &event).await {
                    Code::Ok => return,
                    Code::Unavailable | Code::Unknown => sleep(Duration::from_millis(50)).await,
                    code => panic!("{asked} asks {held}, and is told {code:?}"),
                }
            }
        };
        within(PATIENCE, &format!("{asked} reaches {held}"), reached).await;
        clients[held].event(&event).await;
    }
    assert_eq!(fleet[0].disconnect(&clients[lost].id, 4000, "over").await, Code::Ok);
    assert_eq!(clients[lost].closed().await.code, 4000);
}

/// While this goes on, events are pushed through every replica, and a client of each hears
/// all that were taken, in order, once.
async fn pushing_meanwhile(fleet: &Fleet, meanwhile: impl AsyncFnOnce(&Pushers, &[Listener])) {
    let (pushers, mut clients) = (Pushers::new(fleet), Vec::new());
    for replica in &fleet.replicas {
        let mut client = replica.subscribers(1, &fleet.exchange, "1").await.remove(0);
        client.patience = PATIENCE;
        clients.push(client);
    }
    let listeners: Vec<_> =
        (0..clients.len()).map(|at| Listener { at, heard: Mutex::default() }).collect();
    let interrupting = async {
        meanwhile(&pushers, &listeners).await;
        pushers.over.store(true, Ordering::Relaxed);
    };
    let pushing = async {
        let taken = pushers.push().await;
        for listener in &listeners {
            listener.hears_what_was_taken(&pushers).await;
        }
        fleet[0].push(&fleet.exchange, "1", "Last", json!({})).await;
        taken
    };
    let listening = listeners.iter().zip(&mut clients);
    let listening = join_all(listening.map(|(listener, client)| listener.listen(client)));
    let ((), taken, _) = tokio::join!(interrupting, pushing, listening);
    for Listener { at, heard } in listeners {
        let heard = heard.into_inner().unwrap();
        for (from, taken) in taken.iter().enumerate() {
            let heard = heard.iter().filter(|heard| heard.0 == from).map(|heard| heard.1);
            judge(&heard.collect::<Vec<_>>(), taken, &format!("of {from}, at {at}"));
        }
    }
}

/// What was refused may have come all the same, and late; but nothing comes twice.
fn judge(heard: &[usize], taken: &[usize], whose: &str) {
    let mut once = HashSet::new();
    let twice: Vec<_> = heard.iter().filter(|n| !once.insert(**n)).collect();
    assert!(twice.is_empty(), "twice {whose}: {twice:?}");
    let lost: Vec<_> = taken.iter().filter(|n| !once.contains(n)).collect();
    assert!(lost.is_empty(), "taken and lost {whose}: {lost:?}");
    let order: Vec<_> = heard.iter().filter(|n| taken.binary_search(n).is_ok()).collect();
    assert!(order.is_sorted(), "out of order {whose}: {order:?}");
}

/// One at every replica, and what it was told is taken.
struct Pushers<'a> {
    fleet: &'a Fleet,
    taken: Vec<Mutex<Vec<usize>>>,
    over: AtomicBool,
}

impl<'a> Pushers<'a> {
    fn new(fleet: &'a Fleet) -> Self {
        let taken = fleet.replicas.iter().map(|_| Mutex::default()).collect();
        Self { fleet, taken, over: AtomicBool::new(false) }
    }

    /// Until it is over.
    async fn push(&self) -> Vec<Vec<usize>> {
        join_all((0..self.taken.len()).map(|replica| self.push_through(replica))).await;
        self.taken.iter().map(|taken| taken.lock().unwrap().clone()).collect()
    }

    async fn push_through(&self, replica: usize) {
        let mut api = self.fleet[replica].api().await;
        for n in 1.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let payload = json!({"from": replica, "n": n});
            let request = push_request(&self.fleet.exchange, "1", "Event", &payload);
            match api.push_event(request).await.map_err(|status| status.code()) {
                Ok(_) => self.taken[replica].lock().unwrap().push(n),
                Err(Code::Unavailable | Code::Unknown | Code::ResourceExhausted) => {}
                Err(code) => panic!("{code:?}"),
            }
            // What is to be seen is an order, not a load.
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until each of these replicas has taken some more.
    async fn go_on(&self, replicas: &[usize]) {
        for &replica in replicas {
            let taken = || self.taken[replica].lock().unwrap().len();
            let enough = taken() + SOME;
            until(&format!("events are taken by {replica}"), || taken() >= enough).await;
        }
    }
}

struct Listener {
    at: usize,
    /// (through which replica, number)
    heard: Mutex<Vec<(usize, usize)>>,
}

impl Listener {
    async fn listen(&self, client: &mut Client) {
        loop {
            let message = client.next().await;
            if message["event"] == "Last" {
                return;
            }
            // Nothing was lost: a gap would be a lie.
            assert_eq!(message["event"], "Event", "{message}");
            let number = |name: &str| message["payload"][name].as_u64().expect("a number") as usize;
            self.heard.lock().unwrap().push((number("from"), number("n")));
        }
    }

    /// Waits until it has heard what was taken by now.
    async fn hears_what_was_taken(&self, pushers: &Pushers<'_>) {
        for (from, taken) in pushers.taken.iter().enumerate() {
            let last = taken.lock().unwrap().last().copied();
            if let Some(last) = last {
                let heard = || self.heard.lock().unwrap().contains(&(from, last));
                until(&format!("event {last} of {from} is heard by {}", self.at), heard).await;
            }
        }
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    within(PATIENCE, what, waiting).await;
}
