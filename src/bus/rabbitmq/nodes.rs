//! Which node of a cluster is connected to next.

use std::{collections::VecDeque, sync::Arc};

use rand::seq::SliceRandom;

use super::url::BrokerUrl;

/// Goes through the nodes in rounds, each once. The first round begins with the first, as
/// whoever wrote the list wanted it; later ones are drawn, so that the replicas of a fleet
/// that lose a node do not all go to the same one.
pub(super) struct Nodes {
    urls: Arc<[BrokerUrl]>,
    /// Of the present round, by index.
    untried: VecDeque<usize>,
    /// The one that was tried last.
    last: usize,
}

impl Nodes {
    /// At least one URL.
    pub(super) fn new(urls: Arc<[BrokerUrl]>) -> Self {
        let mut untried = drawn(1..urls.len());
        untried.push_front(0);
        Self { urls, untried, last: 0 }
    }

    pub(super) fn count(&self) -> usize {
        self.urls.len()
    }

    pub(super) fn next(&mut self) -> BrokerUrl {
        if self.untried.is_empty() {
            self.begin_round();
        }
        self.last = self.untried.pop_front().unwrap_or_default();
        self.urls[self.last].clone()
    }

    /// The last one was connected to, and lost: it comes behind all others.
    pub(super) fn begin_round(&mut self) {
        self.untried = drawn((0..self.urls.len()).filter(|node| *node != self.last));
        self.untried.push_back(self.last);
    }
}

fn drawn(nodes: impl Iterator<Item = usize>) -> VecDeque<usize> {
    let mut nodes: Vec<_> = nodes.collect();
    nodes.shuffle(&mut rand::rng());
    nodes.into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn nodes(count: usize) -> Nodes {
        let url = |n| format!("amqp://node{n}").parse().expect("a URL");
        Nodes::new((0..count).map(url).collect())
    }

    fn round(nodes: &mut Nodes, length: usize) -> Vec<String> {
        (0..length).map(|_| nodes.next().to_string()).collect()
    }

    #[test]
    fn the_first_is_the_first_and_each_comes_once_a_round() {
        let mut nodes = nodes(4);
        let mut last = "amqp://node0:5672".to_owned();
        for n in 0..20 {
            let round = round(&mut nodes, 4);
            assert_eq!(HashSet::<&String>::from_iter(&round).len(), 4, "{round:?}");
            // Then the one that was tried last comes last.
            assert_eq!(if n == 0 { &round[0] } else { &round[3] }, &last, "{round:?}");
            last = round[3].clone();
        }
    }

    #[test]
    fn replicas_that_lose_a_node_spread_over_the_others() {
        let mut taken = HashSet::new();
        for _ in 0..100 {
            let mut nodes = nodes(3);
            nodes.next();
            nodes.begin_round();
            let round = round(&mut nodes, 3);
            assert_eq!(round[2], "amqp://node0:5672", "the one that was lost comes last");
            taken.insert(round[0].clone());
        }
        assert_eq!(taken.len(), 2, "{taken:?}");
    }

    #[test]
    fn a_single_node_is_tried_again_and_again() {
        let mut nodes = nodes(1);
        assert_eq!(round(&mut nodes, 3), ["amqp://node0:5672"; 3]);
    }
}
