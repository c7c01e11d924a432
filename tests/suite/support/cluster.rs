//! A RabbitMQ cluster of three nodes on loopback, which can be stopped one by one and cut off
//! from each other, and whose streams' copies can be moved.
//!
//! It takes 15 seconds to start and 400 MB of memory: there is one for all tests, and one test
//! at a time has it.

use std::{
    ops::{Deref, DerefMut, Index, IndexMut},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{Mutex, MutexGuard, OnceCell},
    time::sleep,
};

use super::{
    rabbitmq::{Home, RabbitMq},
    within,
};

const NODES: usize = 3;

/// For all nodes to be one cluster again, on a machine that has other things to do.
const WHOLE_DEADLINE: Duration = Duration::from_secs(120);

/// What a node does that has lost sight of most others; RabbitMQ's `cluster_partition_handling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPartition {
    /// Goes on. RabbitMQ's default.
    Ignore,
    /// Closes its connections, and waits.
    PauseMinority,
}

pub struct Cluster {
    nodes: Vec<RabbitMq>,
    /// Cut off from all others.
    cut_off: Option<usize>,
    handling: OnPartition,
}

impl Cluster {
    /// The cluster of all tests: whole, with the broker's defaults.
    pub async fn exclusive() -> Exclusive {
        static EXCLUSIVE: OnceCell<Mutex<Cluster>> = OnceCell::const_new();
        let cell = EXCLUSIVE.get_or_init(async || Mutex::new(Self::start().await)).await;
        let mut cluster = Exclusive(cell.lock().await);
        cluster.heal().await;
        cluster
    }

    async fn start() -> Self {
        let names: Vec<_> = (1..=NODES).map(|n| format!("n{n}")).collect();
        let mut config = "cluster_formation.peer_discovery_backend = classic_config\n".to_owned();
        for (n, name) in names.iter().enumerate() {
            let peer = format!("cluster_formation.classic_config.nodes.{}", n + 1);
            config += &format!("{peer} = {name}@localhost\n");
        }
        let home = Arc::new(Home::new());
        let node = |name: &String| RabbitMq::new(home.clone(), name, &config);
        let mut cluster = Self {
            nodes: names.iter().map(node).collect(),
            cut_off: None,
            handling: OnPartition::Ignore,
        };
        cluster.restart_all().await;
        cluster
    }

    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The URLs of all nodes, for `--rabbitmq-url`, beginning with this one's.
    pub fn urls_from(&self, first: usize) -> String {
        let nodes = (0..NODES).map(|n| self[(first + n) % NODES].url());
        nodes.collect::<Vec<_>>().join(",")
    }

    /// Starts all that are stopped, at once: some wait for the one that stopped last.
    pub async fn restart_all(&mut self) {
        let stopped = self.nodes.iter_mut().filter(|node| !node.is_started());
        join_all(stopped.map(RabbitMq::restart)).await;
        self.whole().await;
    }

    /// Takes a node off the others' network, and the others off its own. Clients reach all.
    pub async fn cut_off(&mut self, node: usize) {
        assert!(self.cut_off.replace(node).is_none(), "one node at a time");
        // Who has another cookie is not let in, and does not let in.
        let others = self.others(node);
        let cut = format!("[{{erlang:set_cookie(N, cut), disconnect_node(N)}} || N <- {others}].");
        self[node].eval(&cut).await;
    }

    /// Undoes [`Self::cut_off`], and comes back when the nodes see each other. With
    /// [`OnPartition::Ignore`], what each took for true meanwhile stays.
    pub async fn join_up(&mut self) {
        if let Some(node) = self.cut_off.take() {
            let (cookie, others) = ("erlang:get_cookie()", self.others(node));
            let join = format!("[erlang:set_cookie(N, {cookie}) || N <- {others}].");
            self[node].eval(&join).await;
        }
        self.whole().await;
    }

    pub async fn on_partition(&mut self, handling: OnPartition) {
        self.handling = handling;
        let handling = match handling {
            OnPartition::Ignore => "ignore",
            OnPartition::PauseMinority => "pause_minority",
        };
        let set = format!("application:set_env(rabbit, cluster_partition_handling, {handling}).");
        join_all(self.nodes.iter().map(|node| node.eval(&set))).await;
    }

    /// The node through which this stream is written.
    pub async fn leader(&self, stream: &str) -> usize {
        self.of_stream(stream, "leader").await[0]
    }

    /// The nodes that have a copy of it, its leader among them.
    pub async fn members(&self, stream: &str) -> Vec<usize> {
        self.of_stream(stream, "members").await
    }

    pub fn other_than(&self, node: usize) -> usize {
        (node + 1) % NODES
    }

    pub async fn add_replica(&self, stream: &str, node: usize) {
        let name = self[node].name();
        self.some_node().tool("rabbitmq-streams", &["add_replica", stream, name]).await;
    }

    /// Takes its copy away from a node. Who reads it there is told nothing.
    pub async fn delete_replica(&self, stream: &str, node: usize) {
        let name = self[node].name();
        self.some_node().tool("rabbitmq-streams", &["delete_replica", stream, name]).await;
    }

    async fn heal(&mut self) {
        if self.cut_off.is_some_and(|node| self[node].is_running()) {
            self.join_up().await;
        }
        self.cut_off = None;
        join_all(self.nodes.iter_mut().map(RabbitMq::heal)).await;
        self.whole().await;
        if self.handling != OnPartition::Ignore {
            self.on_partition(OnPartition::Ignore).await;
        }
        // Nodes that went on by themselves join by giving up what they did.
        let mut joined = false;
        for node in &mut self.nodes[1..] {
            if node.eval("rabbit_node_monitor:partitions() =/= [].").await == "true" {
                node.stop().await;
                node.restart().await;
                joined = true;
            }
        }
        if joined {
            join_all(self.nodes.iter_mut().map(RabbitMq::heal)).await;
            self.whole().await;
        }
    }

    /// Waits until every node runs and sees every other.
    async fn whole(&self) {
        let sees_all = format!("rabbit:is_running() andalso length(nodes()) =:= {}.", NODES - 1);
        let whole = join_all(self.nodes.iter().map(async |node| {
            while node.eval(&sees_all).await != "true" {
                sleep(Duration::from_millis(100)).await;
            }
        }));
        within(WHOLE_DEADLINE, "the nodes are one cluster", whole).await;
    }

    /// As a list in Erlang.
    fn others(&self, node: usize) -> String {
        let others =
            self.nodes.iter().map(RabbitMq::name).filter(|name| *name != self[node].name());
        format!("[{}]", others.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(","))
    }

    async fn of_stream(&self, stream: &str, what: &str) -> Vec<usize> {
        let listed = self.some_node().ctl(&["list_queues", "--silent", "name", what]).await;
        let line = listed.lines().find_map(|line| line.strip_prefix(stream)).expect("a stream");
        (0..NODES).filter(|node| line.contains(self[*node].name())).collect()
    }

    /// One that can be asked.
    fn some_node(&self) -> &RabbitMq {
        let mut nodes = self.nodes.iter().enumerate();
        let fits = |&(n, node): &(usize, &RabbitMq)| node.is_running() && self.cut_off != Some(n);
        nodes.find(fits).expect("a node that runs").1
    }
}

impl Index<usize> for Cluster {
    type Output = RabbitMq;

    fn index(&self, node: usize) -> &RabbitMq {
        &self.nodes[node]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, node: usize) -> &mut RabbitMq {
        &mut self.nodes[node]
    }
}

/// See [`Cluster::exclusive`].
pub struct Exclusive(MutexGuard<'static, Cluster>);

impl Deref for Exclusive {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl DerefMut for Exclusive {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.0
    }
}
